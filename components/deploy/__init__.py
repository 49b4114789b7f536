"""Nodes that try a candidate on a model server and push it.

Nodes:
    serving_validator: ServingValidator, tries the candidate on a model server.
    tflite_converter: TFLiteConverter, converts the candidate to TensorFlow Lite and measures its loss.
    pusher: Pusher, publishes the ensemble as a new version and promotes it.

Helper modules:
    serving_trial: the checks of a candidate on a model server.
    serving_costs: the costs of a candidate, and their budget.
    candidate_server: a temporary model server for candidates.
    background_sample: the rows of `train` that a version keeps, to explain its answers.
    boundary_rows: rows with edge values.
    trial_rows: the rows of a trial in the forms of all paths.
    push_manifest: the manifest of a pushed version.
    tflite_model: converts a SavedModel to TensorFlow Lite.
    warmup_requests: the warm-up requests of a pushed version.
"""
