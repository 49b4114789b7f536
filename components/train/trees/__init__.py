"""Members of kind `trees`: gradient-boosted symmetric trees by CatBoost, served as a few TensorFlow operations.

All nodes on one level of a symmetric tree have the same condition, so a row's leaf is a number whose bits are the
conditions. No library is needed to serve them.

Helper modules:
    fitter: fits the trees of a member by CatBoost.
    settings: their hyperparameters.
    columns: the features as tables of numbers and of ids.
    target_statistics: numbers in place of the ids of a category with many values.
    symmetric: a fitted model as arrays.
    in_graph: the arrays as TensorFlow operations.
"""
