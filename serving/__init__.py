"""Everything after the push: versions, promotion, ensembles, the model server, deployment. It runs without TFX."""

if __name__ == "serving":  # started in a clone's root: two copies of a module must not be loaded
    raise ImportError("Benison's `serving` is `benison.serving`; in your own code write `from benison import …`")
