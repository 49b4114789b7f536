"""How nodes are joined and run: config, graph, compilation, runners, command line."""

if __name__ == "pipelines":  # a clone's root is on the import path, and two copies of a module must not be loaded
    raise ImportError(
        "import benison.pipelines; a compiled file that names pipelines is an earlier release's: compile again"
    )
