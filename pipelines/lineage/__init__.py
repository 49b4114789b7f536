"""Lineage: what a version, a run, an artifact or a file was made from, and what was made from it."""
