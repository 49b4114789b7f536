"""The nodes that TFX has no component for, in one package per group of nodes; each package lists its nodes."""

if __name__ == "components":  # started in a clone's root: two copies of a module must not be loaded
    raise ImportError("Benison's `components` is `benison.components`; in your own code write `from benison import …`")
