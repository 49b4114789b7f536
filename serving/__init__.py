"""What happens after the push: versions, promotion, ensembles, the model server, deployment. It runs without TFX."""

if __name__ == "serving":  # a clone's root is on the import path, and two copies of a module must not be loaded
    raise ImportError(
        "import benison.serving; a compiled file that names serving is an earlier release's: compile again"
    )
