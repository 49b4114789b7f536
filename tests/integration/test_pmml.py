"""Trees as PMML give JPMML's evaluator the answers of the trees in TensorFlow, on every row, also without numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benison.components.train.fitting import Task
from benison.components.train.member import Recipe
from benison.components.train.rows import ArrayRows
from benison.components.train.trees.fitter import TreesFitter
from benison.serving.exports import pmml
from benison.serving.exports.proof import ROWS, NotExportable
from benison.serving.versions.local import MEMBERS, Version
from benison.serving.versions.manifest import Manifest
from tests.integration.conftest import CLONE

NAMES = ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)")
INPUTS = {f"input_{n}": {"column": name, "type": "float32", "missing": "NaN"} for n, name in enumerate(NAMES)}


def iris() -> tuple[np.ndarray, np.ndarray]:
    """Return all rows of iris, and each again without one of its numbers: float32 [rows, 4], and classes [rows]."""
    from sklearn.datasets import load_iris

    numbers, classes = load_iris(return_X_y=True)
    gaps = numbers.copy()
    gaps[np.arange(len(gaps)), np.arange(len(gaps)) % 4] = np.nan
    return np.concatenate([numbers, gaps]).astype(np.float32), np.concatenate([classes, classes])


def version(folder: Path, problem: str, imbalance: Any, trees: int = 60) -> tuple[Version, np.ndarray]:
    """Return a version of one member of trees, fitted on iris, whose rows for the proof are those of iris."""
    import tensorflow as tf

    numbers, classes = iris()
    names = {"binary": ("no", "yes"), "multiclass": ("setosa", "versicolor", "virginica")}.get(problem, ())
    targets = {
        "binary": (classes == 1).astype(np.int64),
        "multiclass": classes,
        "regression": (1e6 + 1e3 * numbers[:, 2]).astype(np.float32),
    }[problem]
    if problem == "regression":
        targets = np.where(np.isnan(targets), 1e6, targets).astype(np.float32)
    rows = ArrayRows({"numbers": numbers}, targets)
    recipe = Recipe("", problem, 1, patience=20, seed=3, kind="trees", name="trees", imbalance=imbalance)
    spec = {"numbers": tf.io.FixedLenFeature([4], tf.float32)}
    hp: Any = SimpleNamespace(values={"trees": trees})
    fitted = TreesFitter(Task(recipe, hp, spec, len(names), names={"numbers": NAMES})).fit(rows, trees)
    assert fitted.structure is not None
    answers = fitted.predict({"numbers": tf.constant(numbers)}).numpy()
    output = "probabilities" if names else "prediction"
    (folder / MEMBERS).mkdir(parents=True)
    (folder / "assets.extra" / "ensemble.json").write_text(
        f'{{"members": ["trees"], "combiner": {{"kind": "mean"}}, "output": "{output}"}}'
    )
    np.savez(folder / MEMBERS / "trees.npz", **fitted.structure)
    np.savez(folder / ROWS, expected=answers, **{f"input:{name}": numbers[:, n] for n, name in enumerate(INPUTS)})
    manifest = Manifest.model_validate({"name": "iris", "label": "species", "classes": names, "inputs": INPUTS})
    return Version(1, folder, manifest), answers


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the Python of an environment with JPMML's evaluator; it needs Java."""
    folder = tmp_path_factory.mktemp("jpmml") / "venv"
    uv = [sys.executable, str(CLONE / ".ci/bootstrap.py"), "uv"]
    for words in (
        ["venv", "--quiet", "--python", sys.executable, str(folder)],
        ["pip", "install", "--quiet", "--python", str(folder / "bin/python"), "jpmml-evaluator", "jpype1", "pandas"],
    ):
        subprocess.run([*uv, *words], check=True, cwd=CLONE, capture_output=True, timeout=600)
    return str(folder / "bin" / "python")


@pytest.mark.system
@pytest.mark.parametrize(
    ("problem", "imbalance"),
    [("multiclass", "none"), ("multiclass", "class_weight"), ("binary", "none"), ("binary", "class_weight"),
     ("regression", "none")],
)  # fmt: skip
def test_jpmml_answers_every_row_of_iris_as_the_trees_do(
    tmp_path: Path, evaluator: str, problem: str, imbalance: str
) -> None:
    trained, answers = version(tmp_path / "1", problem, imbalance)
    proven = pmml.write(trained, tmp_path, evaluator=evaluator)
    assert proven.startswith(f"model.pmml in JPMML: {len(answers)} rows answered as in training")
    assert len(np.unique(answers.round(4), axis=0)) > 20


@pytest.mark.system
def test_another_answer_is_refused(tmp_path: Path, evaluator: str) -> None:
    trained, _ = version(tmp_path / "1", "multiclass", "none", trees=5)
    file = tmp_path / "1" / MEMBERS / "trees.npz"
    with np.load(file) as loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    arrays["nan_is_true"] = ~arrays["nan_is_true"]
    np.savez(file, **arrays)
    with pytest.raises(NotExportable, match=r"the answer to row .* nothing was written"):
        pmml.write(trained, tmp_path, evaluator=evaluator)


def test_what_has_no_form_in_pmml_is_refused_by_name(tmp_path: Path) -> None:
    trained, _ = version(tmp_path / "1", "binary", "none", trees=5)
    typed = {**INPUTS, "input_3": {**INPUTS["input_3"], "type": "int64"}}
    whole = Version(
        1,
        tmp_path / "1",
        trained.manifest.model_copy(
            update=Manifest.model_validate({"inputs": typed}).__dict__ | {"label": "species", "classes": ("no", "yes")}
        ),
    )
    with pytest.raises(NotExportable, match=r"member trees: reads petal width \(cm\), which is not a column of float"):
        pmml.write(whole, tmp_path)
    spec = tmp_path / "1" / "assets.extra" / "ensemble.json"
    spec.write_text('{"members": ["trees", "deep"], "combiner": {"kind": "mean"}, "output": "probabilities"}')
    with pytest.raises(NotExportable, match="member deep: only members of kind trees"):
        pmml.write(trained, tmp_path)
    spec.write_text('{"members": ["trees", "deep"], "combiner": {"kind": "median"}, "output": "probabilities"}')
    with pytest.raises(NotExportable, match="the combiner median has no form in PMML"):
        pmml.write(trained, tmp_path)
