"""Features and members for a pipeline without Python of its own: `benison init` writes its YAML, `eject` its Python."""
