"""The nodes that TFX has no component for, in one package per group of nodes; each package lists its nodes."""

if __name__ == "components":  # a clone's root is on the import path, and two copies of a module must not be loaded
    raise ImportError(
        "import benison.components; a compiled file that names components is an earlier release's: compile again"
    )
