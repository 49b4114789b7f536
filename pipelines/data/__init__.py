"""Data before and at the start of a pipeline: sources, spans and the first nodes."""
