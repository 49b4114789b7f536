"""Pushed versions: on disk, as sets with their members, and in an object store."""
