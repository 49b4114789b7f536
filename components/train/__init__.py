"""Code that TFX's Trainer runs for each member of the ensemble; the Tuner uses it too (`benison.components.tuning`).

TFX's Transform, whose preprocessing_fn is in `benison.components.transform`, runs before them.

Nodes:
    trainer: `run_fn` of TFX's Trainer, fits and exports one member.

Helper modules:
    kinds: the kinds of members, by name.
    fitting: the interface of all kinds of members.
    recorded: hyperparameters that record which of them a function reads.
    parameters: hyperparameters of the kinds that Benison fits itself: names, defaults and ranges.
    search_space: the hyperparameters of a member: fixed values, and the search space of the Tuner.
    tree_curves: the losses by tree that a fitted model has recorded.
    tree_cost: the cost of a member of trees in a served graph.
    history: the losses of a training, for the report and TensorBoard.
    keras_member: the kind `keras`.
    keras_loop: trains a Keras model on rows in memory.
    distributed: trains a Keras model data-parallel in several processes.
    label_scale: the scale on which the label of a regression is learnt.
    out_of_fold: answers to rows that a member did not learn from.
    rows: the labelled rows that a member learns from.
    member: the dataset and the Keras model of a member.
    answers: checks what a member answers, before and after training.
    divergence: stops a training whose loss is not finite.
    dry_run: tries the user's code without data.
    imbalance: class weights and undersampling for rare classes.
    signatures: the signatures of an exported model.
    linear/: linear and logistic regression, solved exactly.
    trees/: gradient-boosted trees as TensorFlow operations.
    foreign/: members that were trained elsewhere.
    own_trees/: trees of a user's function as TensorFlow operations.
"""
