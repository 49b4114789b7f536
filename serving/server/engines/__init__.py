"""Engines: load a version from its folder, warm it up and run its signatures."""
