"""ONNX models as TensorFlow operations answer as ONNX Runtime does, or are refused by the name of what is not known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benison.components.train.foreign import importer, onnx_model
from benison.components.train.foreign.settings import ForeignModel
from benison.serving.errors import UsageError

pytestmark = pytest.mark.filterwarnings("ignore")

ML = "ai.onnx.ml"
ROWS = 64
RANDOM = np.random.default_rng(0)


def node(operator: str, inputs: str, outputs: str, domain: str = "", **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(operator, inputs.split(), outputs.split(), domain=domain, **attributes)


def settings(file: Path, output: str = "") -> ForeignModel:
    return ForeignModel("risk", "onnx", "binary", path=str(file), output=output, classes=["no", "yes"])


def write(
    folder: Path,
    nodes: Sequence[Any],
    outputs: Sequence[str] = ("y",),
    *,
    inputs: dict[str, tuple[str, list[Any]]] | None = None,
    constants: dict[str, Any] | None = None,
    opset: int = 15,
    ml: int = 3,
) -> Path:
    """Write a model of the float input x [rows, 3], or of other inputs."""
    from onnx import TensorProto, helper, numpy_helper, save

    types = {"float": TensorProto.FLOAT, "string": TensorProto.STRING, "int64": TensorProto.INT64}
    known = inputs or {"x": ("float", ["rows", 3])}
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, types[kind], shape) for name, (kind, shape) in known.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None]) for name in outputs],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in (constants or {}).items()],
    )
    domains = [helper.make_opsetid("", opset), helper.make_opsetid(ML, ml)]
    file = folder / "model.onnx"
    save(helper.make_model(graph, opset_imports=domains, ir_version=8), file)
    return file


def numbers(width: int = 3) -> np.ndarray:
    """Return random numbers with missing, equal and large ones among them."""
    values = RANDOM.normal(size=(ROWS, width)).astype(np.float32)
    values[0], values[1], values[2, 0] = np.nan, 0, 1e9
    return values


def both(file: Path, inputs: dict[str, np.ndarray], output: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Return the answers of the converted model and of ONNX Runtime."""
    import tensorflow as tf

    imported = onnx_model.load(settings(file, output))
    assert imported.reference is not None
    return imported.call({name: tf.constant(v) for name, v in inputs.items()}).numpy(), imported.reference(inputs)


NETWORK = {
    "w": RANDOM.normal(size=(5, 3)).astype(np.float32),
    "b": RANDOM.normal(size=5).astype(np.float32),
    "v": RANDOM.normal(size=(5, 2)).astype(np.float32),
    "scale": np.full(5, 2, np.float32),
    "mean": np.arange(5, dtype=np.float32),
    "places": np.array([0, -1]),
    "sizes": np.array([0, -1]),
    "one": np.array([1]),
    "end": np.array([-1]),
    "half": np.float32(0.5),
}
HIDDEN = node("Gemm", "x w b", "h", transB=1)


@pytest.mark.parametrize(
    "nodes",
    [
        [HIDDEN, node("Relu", "h", "a"), node("MatMul", "a v", "z"), node("Softmax", "z", "y", axis=-1)],
        [HIDDEN, node("BatchNormalization", "h scale b mean scale", "n"), node("LeakyRelu", "n", "e", alpha=0.2), node("Sigmoid", "e", "y")],
        [HIDDEN, node("Elu", "h", "e"), node("Selu", "e", "s"), node("Gather", "s places", "g", axis=1), node("LogSoftmax", "g", "y")],
        [HIDDEN, node("Clip", "h half", "c"), node("ReduceMean", "c", "m", axes=[1], keepdims=1), node("Sub", "h m", "d"), node("Abs", "d", "y")],
        [node("IsNaN", "x", "n"), node("Where", "n half x", "f"), node("Cast", "n", "k", to=1), node("Concat", "f k", "y", axis=1)],
        [HIDDEN, node("Unsqueeze", "h one", "u"), node("Transpose", "u", "t", perm=[0, 2, 1]), node("Reshape", "t sizes", "r"), node("Erf", "r", "e"), node("HardSigmoid", "e", "y")],
        [HIDDEN, node("Slice", "h one end one", "y")],
        [HIDDEN, node("Dropout", "h", "d"), node("Div", "d scale", "q"), node("Max", "q half", "t"), node("Tanh", "t", "y")],
    ],
)  # fmt: skip
def test_networks_answer_as_before(nodes: list[Any], tmp_path: Path) -> None:
    got, expected = both(write(tmp_path, nodes, constants=NETWORK), {"x": numbers()})
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_a_pipeline_of_scikit_learn_answers_as_before(tmp_path: Path) -> None:
    nodes = [
        node("Imputer", "numbers", "filled", ML, imputed_value_floats=[1.0, 2.0], replaced_value_float=math.nan),
        node("Scaler", "filled", "scaled", ML, offset=[0.5, 1.0], scale=[2.0, 0.1]),
        node("OneHotEncoder", "colour", "hot", ML, cats_strings=["red", "blue"], zeros=1),
        node("Reshape", "hot shape", "flat"),
        node("Concat", "scaled flat", "all", axis=1),
        node("LinearClassifier", "all", "label scores", ML, coefficients=[-0.1, 0.2, 0.3, 0.4, 0.1, -0.2, -0.3, -0.4], intercepts=[0.1, -0.1], classlabels_strings=["no", "yes"], post_transform="SOFTMAX"),
        node("Normalizer", "scores", "shares", ML, norm="L1"),
        node("ZipMap", "shares", "probabilities", ML, classlabels_strings=["no", "yes"]),
    ]  # fmt: skip
    inputs = {"numbers": ("float", [None, 2]), "colour": ("string", [None, 1])}
    file = write(tmp_path, nodes, ("label", "probabilities"), inputs=inputs, constants={"shape": np.array([-1, 2])})
    colours = np.array(["red", "blue", "", "é"] * (ROWS // 4), object)[:, None]
    got, expected = both(file, {"numbers": numbers(2), "colour": colours}, "probabilities")
    assert got.shape == (ROWS, 2)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    with pytest.raises(UsageError, match=r"classes: got yes, no; the model names the columns of probabilities no, yes"):
        onnx_model.load(dataclasses.replace(settings(file, "probabilities"), classes=["yes", "no"]))


def trees(kind: str, outputs: int, modes: Sequence[str], *, positive: bool, seed: int) -> dict[str, Any]:
    """Return the attributes of random trees of depth 3, in which numbers meet their thresholds."""
    random = np.random.default_rng(seed)
    nodes: list[tuple[Any, ...]] = []
    weights: list[tuple[Any, ...]] = []
    for tree in range(6):
        for number in range(15):
            leaf = number >= 7
            mode = "LEAF" if leaf else modes[int(random.integers(len(modes)))]
            threshold = float(random.choice([0, -0.5, 0.5, 1.25]))
            nodes.append(
                (
                    tree,
                    number,
                    int(random.integers(3)),
                    threshold,
                    mode,
                    2 * number + 1,
                    2 * number + 2,
                    int(random.integers(2)),
                )
            )
            if leaf:
                weights.append(
                    (tree, number, tree % outputs, float(abs(random.normal()) if positive else random.normal()))
                )
    keys = (
        "treeids",
        "nodeids",
        "featureids",
        "values",
        "modes",
        "truenodeids",
        "falsenodeids",
        "missing_value_tracks_true",
    )
    attributes = {f"nodes_{key}": list(values) for key, values in zip(keys, zip(*nodes, strict=True), strict=True)}
    for side in ("true", "false"):
        attributes[f"nodes_{side}nodeids"] = [0 if n >= 15 else n for n in attributes[f"nodes_{side}nodeids"]]
    of = ("treeids", "nodeids", "ids", "weights")
    return {
        **attributes,
        **{f"{kind}_{key}": list(values) for key, values in zip(of, zip(*weights, strict=True), strict=True)},
    }


@pytest.mark.parametrize("mode", ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT", "BRANCH_GTE"])
@pytest.mark.parametrize(
    ("operator", "keys", "outputs", "positive"),
    [
        ("TreeEnsembleRegressor", {"n_targets": 1, "aggregate_function": "AVERAGE"}, 1, False),
        ("TreeEnsembleRegressor", {"n_targets": 2, "base_values": [0.5, -0.5]}, 2, False),
        ("TreeEnsembleClassifier", {"classlabels_int64s": [0, 1], "post_transform": "LOGISTIC", "base_values": [0.25]}, 1, False),
        ("TreeEnsembleClassifier", {"classlabels_int64s": [0, 1]}, 1, True),
        ("TreeEnsembleClassifier", {"classlabels_strings": ["a", "b", "c"], "post_transform": "SOFTMAX"}, 3, False),
    ],
)  # fmt: skip
def test_trees_answer_as_before(
    mode: str, operator: str, keys: dict[str, Any], outputs: int, positive: bool, tmp_path: Path
) -> None:
    kind = "target" if operator.endswith("Regressor") else "class"
    attributes = {**trees(kind, outputs, [mode], positive=positive, seed=len(mode) + outputs), **keys}
    outs = "y" if kind == "target" else "label y"
    values = np.round(numbers() * 4) / 4  # many of them are thresholds
    got, expected = both(write(tmp_path, [node(operator, "x", outs, ML, **attributes)]), {"x": values}, "y")
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("Sin", "x", "y")], r"path: .*model\.onnx cannot become part of the ensemble's graph: its operator Sin is not converted"),
        ([node("ReduceSum", "x", "y")], "operator ReduceSum: without axes it is not converted, because the answer to a row would depend"),
        ([node("Reshape", "x x", "y")], r"operator Reshape: its input x is computed, expected a constant"),
        ([node("Cast", "x", "y", to=8)], "operator Cast: a cast to type 8 is not converted, only to float32"),
        ([node("LinearClassifier", "x", "l y", ML, coefficients=[1.0] * 6, classlabels_ints=[0, 1], post_transform="PROBIT")], "post_transform 'PROBIT' is not converted, only 'NONE', 'SOFTMAX', 'LOGISTIC'"),
        ([node("TreeEnsembleClassifier", "x", "l y", ML, **{**trees("class", 1, ["BRANCH_EQ"], positive=False, seed=1), "classlabels_int64s": [0, 1]})], "conditions BRANCH_EQ are not converted"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused_by_name(nodes: list[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        onnx_model.load(settings(write(tmp_path, nodes), "y"))


def test_an_unknown_category_is_refused_as_before(tmp_path: Path) -> None:
    import tensorflow as tf

    nodes = [node("OneHotEncoder", "x", "y", ML, cats_strings=["red", "blue"], zeros=0)]
    file = write(tmp_path, nodes, inputs={"x": ("string", [None, 1])})
    imported = onnx_model.load(settings(file))
    assert imported.call({"x": tf.constant([["red"]])}).shape == (1, 1, 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match="an unknown category"):
        imported.call({"x": tf.constant([["mauve"]])})


def test_a_conversion_that_answers_otherwise_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    imported = onnx_model.load(settings(write(tmp_path, [HIDDEN, node("Sigmoid", "h", "y")], constants=NETWORK)))
    model, rows = settings(tmp_path), {"x": tf.constant(RANDOM.normal(size=(4, 3)), tf.float32)}
    importer.check_converted(model, imported, dict, rows)
    wrong = dataclasses.replace(
        imported, call=lambda inputs: imported.call(inputs) + tf.cast(inputs["x"][:, :1] > 1e8, tf.float32)
    )
    with pytest.raises(
        UsageError, match=r"on rows of valid with 1000000000\.0 in the column 'x', the converted model answers"
    ):
        importer.check_converted(model, wrong, dict, rows)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("no model")
    with pytest.raises(UsageError, match=r"members\.risk\.path: .*model\.onnx"):
        onnx_model.load(settings(tmp_path / "model.onnx"))
    file = write(tmp_path, [HIDDEN, node("Relu", "h", "y"), node("Tanh", "h", "z")], ("y", "z"), constants=NETWORK)
    with pytest.raises(UsageError, match=r"members\.risk\.output: missing; the model has the outputs y, z"):
        onnx_model.load(settings(file))
