"""From a config or a TFX pipeline to compiled files."""
