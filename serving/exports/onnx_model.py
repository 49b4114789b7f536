"""A version as an ONNX file, converted by tf2onnx and run by ONNX Runtime.

Its inputs are those of the signature `raw`: the columns, with the value that stands for a missing cell. Its output is
the prediction; the names of the classes are in the file's metadata. A row that TensorFlow refuses, because a required
whole number is missing, has the answer NaN: ONNX cannot refuse rows.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benison.serving.errors import UsageError
from benison.serving.exports import onnx_graph
from benison.serving.exports.proof import Proof
from benison.serving.missing_values import marker

if TYPE_CHECKING:
    from benison.serving.versions.local import Version

FILE = "model.onnx"
RAW = "raw"


def write(version: Version, folder: Path) -> str:
    """Write `model.onnx`; return a sentence about its proof.

    Args:
        version: the version.
        folder: the target.

    Raises:
        NotExportable: ONNX lacks an operation, or gives another answer.
        UsageError: tf2onnx or onnxruntime is not installed.
    """
    _check_packages()
    import tensorflow as tf

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)  # it warns of each shape that it cannot infer

    proof = Proof.of(version)
    loaded = tf.saved_model.load(str(version.path))
    model = _convert(version, loaded)
    file = folder / FILE
    file.write_bytes(model.SerializeToString())
    return proof.check(run(file, proof.inputs), f"{FILE} in ONNX Runtime")


def run(file: Path, inputs: Mapping[str, NDArray]) -> NDArray:
    """Return the answers of an ONNX file [rows, n]."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    wanted = {tensor.name for tensor in session.get_inputs()}
    texts = {
        name: np.array([cell.decode("utf-8") for cell in values], object) if values.dtype == object else values
        for name, values in inputs.items()
        if name in wanted
    }
    return np.asarray(session.run(None, texts)[0])


def _convert(version: Version, loaded: Any) -> Any:
    import onnx
    import tensorflow as tf
    from tf2onnx import tf_loader

    function = loaded.signatures[RAW]
    specs = function.structured_input_signature[1]
    names = function.structured_outputs
    output = "probabilities" if "probabilities" in names else "prediction"
    manifest = version.manifest
    required = [
        name for name, entry in manifest.inputs.items() if entry.missing is None and entry.type.startswith("int")
    ]

    @tf.function(autograph=False)
    def prediction(**inputs: Any) -> dict[str, Any]:
        answer = function(**inputs)[output]
        if required:
            refused = tf.reduce_any(
                tf.stack([tf.equal(inputs[name], marker(inputs[name].dtype.name)) for name in required], axis=1), axis=1
            )
            answer = tf.where(refused[:, None], tf.constant(np.nan, answer.dtype), answer)
        return {output: answer}

    module = tf.Module()
    module.loaded, module.prediction = loaded, prediction
    by_name = {name: tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in specs.items()}
    concrete = prediction.get_concrete_function(**by_name)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, {"serving_default": concrete})
        graph, inputs, outputs, tables, renamed = tf_loader.from_saved_model(
            folder, None, None, "serve", ["serving_default"],
            return_initialized_tables=True, return_tensors_to_rename=True,
        )  # fmt: skip
    graph = onnx_graph.rewrite(graph, tables, outputs)
    model = onnx_graph.convert(graph, inputs, outputs, tables, renamed, manifest.name or "model")
    about = {
        "signature": RAW,
        "version": str(version.number),
        "classes": json.dumps(list(manifest.classes)),
        "inputs": json.dumps({name: entry.to_dict() for name, entry in manifest.inputs.items()}),
    }
    onnx.helper.set_model_props(model, about)
    onnx.checker.check_model(model)
    return model


def _check_packages() -> None:
    try:
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError(f"no module named {error.name!r}; install benison[onnx]") from None
