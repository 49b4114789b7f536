"""The run_fn of TFX's Trainer: fits a member, and exports it.

It learns from `train` with early stopping on `valid`. If Transform wrote `blend` too, because the table is small, it
learns from all three, and its out-of-fold predictions are beside the model, for the combiner (see `out_of_fold`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benison.components import feature_groups
from benison.components.train import answers, kinds, label_scale, member, out_of_fold, signatures
from benison.components.train.fitting import Task
from benison.components.train.history import FILE
from benison.components.train.rows import FileRows
from benison.components.train.search_space import fixed_hyperparameters, with_batch_size
from benison.components.train.tree_cost import TreeCost

STRUCTURE = "structure.npz"  # beside the model: the numbers that it consists of, if its kind gives them
IMPORTANCES = "importances.json"  # beside the model: the share of each column in what a member has learnt


def run_fn(fn_args: Any) -> None:
    """Train one member; TFX's contract for Trainer(run_fn=…).

    Args:
        fn_args: TFX's FnArgs; `custom_config` holds `recipe` (see `member.Recipe`), `label`, `folds`, the number
            of folds (0: by the number of rows), and with `target: auto` also `label_scale`: {absolute}.
    """
    import keras_tuner
    import tensorflow as tf
    import tensorflow_transform as tft

    recipe = member.Recipe(**fn_args.custom_config["recipe"])
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    tuned = fn_args.hyperparameters
    hp = keras_tuner.HyperParameters.from_config(tuned) if tuned else fixed_hyperparameters(recipe)
    print("hyperparameters:", hp.values)
    recipe = with_batch_size(recipe, hp)

    classes, group = len(member.class_names(transform)), kinds.GROUPS[recipe.kind]
    names = feature_groups.read_names(group, fn_args.transform_graph_path)
    task = Task(recipe, hp, member.feature_spec(transform, group), classes, fn_args.model_run_dir, names)
    learn, stop = FileRows(fn_args.train_files, transform, group), FileRows(fn_args.eval_files, transform, group)
    blend = [file.replace("Split-train", "Split-blend") for file in fn_args.train_files]
    fitter = kinds.fitter(task)
    if any(tf.io.gfile.glob(pattern) for pattern in blend):
        rows = FileRows([*fn_args.train_files, *fn_args.eval_files, *blend], transform, group).arrays()
        folds = fn_args.custom_config.get("folds") or out_of_fold.number_of_folds(len(rows))
        options = (fitter, rows, folds, recipe.seed, recipe.name or recipe.function)
        if of_label := fn_args.custom_config.get("label_scale"):
            predictions, fitted = label_scale.fit(*options, absolute=of_label["absolute"])
        else:
            predictions, rounds = out_of_fold.fit(*options)
            fitted = fitter.fit(rows, rounds)
        predictions.save(Path(fn_args.serving_model_dir).parent)
        folds = predictions.histories
    else:
        if "label_scale" in fn_args.custom_config:
            print("target: auto: no rows are learnt in folds, so the label is learnt as it is")
        fitted, folds = fitter.fit(learn, stop), ()
    if (few := stop.first()) is not None:
        answers.check_trained(fitted.predict, few, answers.Promise(recipe.problem, classes), recipe.function)
    signatures.export(
        fn_args.serving_model_dir,
        transform,
        fn_args.custom_config["label"],
        predict=lambda transformed: fitted.predict(feature_groups.select(group, transformed)),
        tracked=fitted.tracked,
    )
    if fitted.history is not None:
        history = fitted.history.with_folds(folds)
        history.save(Path(fn_args.serving_model_dir).with_name(FILE))
        history.write_events(Path(fn_args.model_run_dir))
    if fitted.size is not None and few is not None:
        cost = TreeCost.measure(fitted, fitted.size, few)
        print(cost.text)
        cost.save(Path(fn_args.serving_model_dir).parent)
    if fitted.structure is not None:
        np.savez_compressed(Path(fn_args.serving_model_dir).with_name(STRUCTURE), **fitted.structure)
    if fitted.importances:
        text = json.dumps(fitted.importances, indent=2, ensure_ascii=False)
        Path(fn_args.serving_model_dir).parent.joinpath(IMPORTANCES).write_text(f"{text}\n", encoding="utf-8")
