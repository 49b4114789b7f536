"""Connects nodes and runs them: config, graph, compilation, runners, command line."""

if __name__ == "pipelines":  # started in a clone's root: two copies of a module must not be loaded
    raise ImportError("Benison's `pipelines` is `benison.pipelines`; in your own code write `from benison import …`")
