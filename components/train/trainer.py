"""The run_fn of TFX's Trainer: builds a member, fits it on `train` with early stopping on `valid`, and exports it."""

from __future__ import annotations

from typing import Any

from benison.components.train import member, signatures


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
    model = member.build_model(recipe, hp, transform, target)
    balance = member.class_balance(fn_args.train_files, transform, recipe)
    stop = keras.callbacks.EarlyStopping(patience=recipe.patience, restore_best_weights=True)
    history = model.fit(
        member.dataset(fn_args.train_files, transform, recipe, balance, learn=True),
        validation_data=member.dataset(fn_args.eval_files, transform, recipe, balance, learn=False),
        epochs=recipe.epochs,
        callbacks=[stop, keras.callbacks.TensorBoard(fn_args.model_run_dir)],
        verbose=2,
    )
    print(f"{len(history.epoch)} epochs; best loss on valid {min(history.history['val_loss']):.4f}")
    signatures.export(
        fn_args.serving_model_dir,
        transform,
        fn_args.custom_config["label"],
        predict=lambda transformed: balance.correct(model(transformed)),
        tracked=[model],
    )


def fixed_hyperparameters(recipe: member.Recipe) -> Any:
    """Return KerasTuner's HyperParameters with the fixed values of a member."""
    import keras_tuner

    hp = keras_tuner.HyperParameters()
    for name, value in recipe.hyperparameters.items():
        hp.Fixed(name, value)
    return hp
