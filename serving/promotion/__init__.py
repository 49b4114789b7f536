"""Changing which pushed versions are served."""
