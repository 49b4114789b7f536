"""The run_fn of TFX's Trainer: fits a member on `train` with early stopping on `valid`, and exports it."""

from __future__ import annotations

from typing import Any

from benison.components.train import answers, kinds, member, signatures
from benison.components.train.fitting import Task
from benison.components.train.rows import FileRows


def run_fn(fn_args: Any) -> None:
    """Train one member; TFX's contract for Trainer(run_fn=…).

    Args:
        fn_args: TFX's FnArgs; `custom_config` holds `recipe` (see `member.Recipe`) and `label`.
    """
    import keras_tuner
    import tensorflow_transform as tft

    recipe = member.Recipe(**fn_args.custom_config["recipe"])
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    tuned = fn_args.hyperparameters
    hp = keras_tuner.HyperParameters.from_config(tuned) if tuned else fixed_hyperparameters(recipe)
    print("hyperparameters:", hp.values)

    classes = len(member.class_names(transform))
    task = Task(recipe, hp, member.feature_spec(transform), classes, logs=fn_args.model_run_dir)
    learn, stop = FileRows(fn_args.train_files, transform), FileRows(fn_args.eval_files, transform)
    fitted = kinds.fitter(task).fit(learn, stop)
    if (rows := stop.first()) is not None:
        answers.check_trained(fitted.predict, rows, answers.Promise(recipe.problem, classes), recipe.function)
    signatures.export(
        fn_args.serving_model_dir,
        transform,
        fn_args.custom_config["label"],
        predict=fitted.predict,
        tracked=fitted.tracked,
    )


def fixed_hyperparameters(recipe: member.Recipe) -> Any:
    """Return KerasTuner's HyperParameters with the fixed values of a member."""
    import keras_tuner

    hp = keras_tuner.HyperParameters()
    for name, value in recipe.hyperparameters.items():
        hp.Fixed(name, value)
    return hp
