"""The run_fn of TFX's Trainer: builds a member, fits it on `train` with early stopping on `valid`, and exports it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benison.components.train import answers, member, signatures
from benison.components.train.divergence import stop_if_not_finite


def run_fn(fn_args: Any) -> None:
    """Train one member; TFX's contract for Trainer(run_fn=…).

    Args:
        fn_args: TFX's FnArgs; `custom_config` holds `recipe` (see `member.Recipe`) and `label`.
    """
    import keras
    import keras_tuner
    import tensorflow_transform as tft

    recipe = member.Recipe(**fn_args.custom_config["recipe"])
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    tuned = fn_args.hyperparameters
    hp = keras_tuner.HyperParameters.from_config(tuned) if tuned else fixed_hyperparameters(recipe)
    print("hyperparameters:", hp.values)

    keras.utils.set_random_seed(recipe.seed)
    target = member.target_scale(fn_args.train_files, transform, recipe)
    model = member.build_checked(recipe, hp, transform, fn_args.train_files, target)
    balance = member.class_balance(fn_args.train_files, transform, recipe)
    stop = keras.callbacks.EarlyStopping(patience=recipe.patience, restore_best_weights=True)
    train = member.dataset(fn_args.train_files, transform, recipe, balance, learn=True)
    valid = member.dataset(fn_args.eval_files, transform, recipe, balance, learn=False)
    history = model.fit(
        train,
        validation_data=valid,
        epochs=recipe.epochs,
        callbacks=[
            stop_if_not_finite(recipe.name or recipe.function, {"train": train, "valid": valid}),
            stop,
            keras.callbacks.TensorBoard(fn_args.model_run_dir),
        ],
        verbose=2,
    )
    print(f"{len(history.epoch)} epochs; best loss on valid {min(history.history['val_loss']):.4f}")

    def predict(transformed: Mapping[str, Any]) -> Any:
        return balance.correct(answers.as_promised(model(transformed), recipe.problem))

    if (rows := member.first_rows(fn_args.eval_files, transform)) is not None:
        promise = answers.Promise(recipe.problem, len(member.class_names(transform)))
        answers.check_trained(predict, rows, promise, recipe.function)
    signatures.export(
        fn_args.serving_model_dir, transform, fn_args.custom_config["label"], predict=predict, tracked=[model]
    )


def fixed_hyperparameters(recipe: member.Recipe) -> Any:
    """Return KerasTuner's HyperParameters with the fixed values of a member."""
    import keras_tuner

    hp = keras_tuner.HyperParameters()
    for name, value in recipe.hyperparameters.items():
        hp.Fixed(name, value)
    return hp
