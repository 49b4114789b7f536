"""Generic features and members, for a pipeline without Python of its own; `benison eject` copies them for editing."""
