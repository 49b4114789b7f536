"""Members of kind `trees` whose trees a user's function fits, by CatBoost, LightGBM, XGBoost or scikit-learn.

Helper modules:
    fitter: calls the user's function, and checks the model that it returns.
    rows: the rows that the function receives.
    library: the module that reads a model.
    catboost, lightgbm, scikit_learn, xgboost: read the models of one library.
    reading: the parts that they share.
    forest: fitted trees as arrays.
    walk: the arrays as TensorFlow operations.
"""
