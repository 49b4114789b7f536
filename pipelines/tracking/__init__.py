"""Trackers of runs: TensorBoard, MLflow and Weights & Biases.

Modules:
    sending: tells MLflow and Weights & Biases about runs and promotions, through the outbox.
    sender: the process that sends what waits in the outbox.
    outbox: the events that a tracker has not taken yet.
    events: a run or a promotion as plain data.
    mlflow_tracker, wandb_tracker: the trackers.
    mlflow_model: a version as a model that MLflow can load; it runs without Benison.
    reachable: whether a tracker answers at all.
    refusal: an event that a tracker refused; a library that is missing.
    event_folders: the event files of trainers and trials, under readable names for TensorBoard.
"""
