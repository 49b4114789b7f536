"""Models of Keras and ONNX take part in a whole run: scores, ensemble, server, fan-out, cache and lineage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benison.serving.missing_values import MISSING_INTEGER
from tests.integration.conftest import Project, make

pytestmark = [pytest.mark.soak, pytest.mark.filterwarnings("ignore")]

NUMBERS = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")
SPECIES = ("Adelie", "Chinstrap", "Gentoo")
KERNEL = np.array([[-0.4, 0.4, 0.0], [0.5, 0.5, -1.0], [-0.02, -0.02, 0.04], [0.0, -0.0005, 0.0005]], np.float32)
BIAS = np.array([16.0, -19.0, 3.0], np.float32)
ENSEMBLE = """
ensemble:
  combiner: mean
  members:
    linear: {kind: linear}
    dense:
      kind: saved_model
      path: models/dense
      inputs: {numbers: [bill_length_mm, bill_depth_mm, flipper_length_mm, body_mass_g], island: island}
      missing: {bill_length_mm: 44, bill_depth_mm: 17, flipper_length_mm: 200, body_mass_g: 4200}
      classes: [Gentoo, Adelie, Chinstrap]
      learnt_from: other_data
    softmax:
      kind: onnx
      path: models/softmax.onnx
      inputs: {numbers: [bill_length_mm, bill_depth_mm, flipper_length_mm, body_mass_g]}
      classes: [Adelie, Chinstrap, Gentoo]
serving: {fan_out: true}
"""


def write_dense(folder: Path) -> None:
    import keras

    numbers, island = keras.Input((4,), name="numbers"), keras.Input((1,), name="island", dtype="string")
    hot = keras.layers.StringLookup(vocabulary=["Biscoe", "Dream"], output_mode="one_hot")(island)
    both = keras.layers.Concatenate()([numbers, hot])
    layer = keras.layers.Dense(3, "softmax")
    model = keras.Model({"numbers": numbers, "island": island}, layer(both))
    order = [2, 0, 1]  # of the classes that the YAML names
    layer.set_weights([np.concatenate([KERNEL, np.zeros((3, 3))])[:, order], BIAS[order]])
    model.export(folder)


def write_softmax(file: Path, shift: float = 0.0) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    filled = helper.make_node("Imputer", ["numbers"], ["filled"], domain="ai.onnx.ml", imputed_value_floats=[44.0, 17.0, 200.0, 4200.0], replaced_value_float=float("nan"))  # fmt: skip
    nodes = [filled, helper.make_node("Gemm", ["filled", "w", "b"], ["z"]), helper.make_node("Softmax", ["z"], ["p"])]
    inputs = [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["rows", 4])]
    outputs = [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["rows", 3])]
    constants = [
        numpy_helper.from_array(values, name) for name, values in (("w", KERNEL), ("b", BIAS + np.float32(shift)))
    ]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, constants)
    domains = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=8), file)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """A project whose first run pushed a version, and what that run printed."""
    project = make(tmp_path_factory.mktemp("foreign") / "birds")
    (project.folder / "models").mkdir()
    write_dense(project.folder / "models/dense")
    write_softmax(project.folder / "models/softmax.onnx")
    yaml = project.folder / "birds.yaml"
    head = yaml.read_text().split("ensemble:")[0]
    yaml.write_text(head + ENSEMBLE)
    done = project.run()
    assert done.returncode == 0, done.stdout + done.stderr
    return project, done.stdout


def test_the_members_of_the_served_model_answer_as_the_models_do(project: tuple[Project, str]) -> None:
    import tensorflow as tf

    (number,) = project[0].versions()
    served = tf.saved_model.load(str(project[0].base / number))
    signature = served.signatures["members"]
    others = {"island": ["Biscoe", "", "Nowhere"], "sex": ["male", "", "female"], "year": [2007, 2008, 2009]}
    inputs = {}
    for name, spec in signature.structured_input_signature[1].items():
        missing = MISSING_INTEGER if spec.dtype == tf.int64 else float("nan")
        inputs[name] = tf.constant(others.get(name, [45, missing, 50]), spec.dtype)
    answers = signature(**inputs)
    numbers = np.array([[45.0] * 4, [44, 17, 200, 4200], [50.0] * 4], np.float32)
    logits = numbers @ KERNEL + BIAS
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    for name in ("dense", "softmax"):
        np.testing.assert_allclose(answers[name], expected, rtol=1e-4, atol=1e-6)


def test_a_run_says_what_it_does_not_know_and_serves_the_members_apart(project: tuple[Project, str]) -> None:
    assert "warning member softmax has not seen test: softmax was trained elsewhere and may have learnt" in project[1]
    assert "member dense has not seen test" not in project[1]
    assert "passed  served on a model server" in project[1]
    assert (project[0].root / "serving/birds-softmax").is_dir()
    assert (project[0].root / "serving/birds-dense").is_dir()


def test_another_content_of_a_model_imports_it_again(project: tuple[Project, str]) -> None:
    here = project[0]
    asked = here.benison("lineage", "models/softmax.onnx")
    assert "birds-" in asked.stdout, asked.stdout
    write_softmax(here.folder / "models/softmax.onnx", shift=0.5)
    changed = here.benison("lineage", "birds", "--verify")
    assert changed.returncode == 1
    assert "softmax.onnx" in changed.stdout
    done = here.run("--to", "MemberScores")
    assert done.returncode == 0, done.stdout + done.stderr
    states = here.states()
    assert {name: states[name] for name in ("Transform", "Trainer.linear", "Import.dense", "Import.softmax")} == {
        "Transform": "cached",
        "Trainer.linear": "cached",
        "Import.dense": "cached",
        "Import.softmax": "complete",
    }
