"""What a node does, where TFX has no component for it: one room per group of nodes."""

if __name__ == "components":  # a clone's root is on the import path, and two copies of a module must not be loaded
    raise ImportError(
        "import benison.components; a compiled file that names components is an earlier release's: compile again"
    )
