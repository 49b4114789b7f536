"""A model server with TensorFlow Serving's flags, folder layout, REST and gRPC; see docs/model-server.md.

One request goes down this path:

    http                 reads requests from connections and writes responses
    rest, grpc_api       convert requests to calls and outputs to answers; rest.inline_predict answers on the event loop
    service              what both protocols share: deadlines, counts, the permission to reload
    lifecycle            which versions are loaded; a request leases one
    batching             the queues of a version, the route of each signature, shared runs
    engines              load a version and run it in TensorFlow; `engine` is their interface

Beside the path:

    codec                JSON, protos and numpy arrays; `inference` makes calls from them
    graphs               what a graph says before a run: whether rows are independent, and whether it writes
    pages                the pages for people and the OpenAPI document
    observing            request logs, traces and other observers of requests
    main, flags, settings, model_config, version_folders, text_protos
                         start the server and read its configuration and folders
    metrics, status      metrics, and errors in TF Serving's form
"""
