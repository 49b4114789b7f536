"""The Tuner: searches the hyperparameters of one member, in one process or in several.

Nodes:
    node: Tuner, a child of TFX's.

Helper modules:
    processes: the processes of a search: a chief and its workers.
    mailbox: KerasTuner's protocol by files, for workers on other machines.
    search: what a search is made of: its oracle, its tuner and its rows.
    oracles: KerasTuner's oracles, which choose the values of the next trial.
    keras_trials: the trials of a Keras member.
    table_trials: the trials of a member that learns from rows in memory, such as trees.
    own_tuner: the trials of a user's own tuner class.
    goal: what a trial is judged by: the loss, or the metric of the pipeline.
    finished_trials: the trials that a search has finished, on disk, so that no process repeats them.
    results: the outputs of the node: the best hyperparameters, and the trials as a table.
"""
