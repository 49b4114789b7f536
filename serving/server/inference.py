"""Requests as runs of a signature, and the results of classify and regress: the same for REST, gRPC and warm-up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benison.serving.server.codec import tensors
from benison.serving.server.engine import Engine, Signature, Tensors, signature
from benison.serving.server.status import Code, RequestError, invalid

if TYPE_CHECKING:
    import numpy as np

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
_NO_SIGNATURE = "No signature was found with the name: {}"


@dataclass(frozen=True)
class Call:
    """One run of a signature.

    Attributes:
        signature: of the loaded version.
        inputs: every input of it.
        outputs: the names that are wanted.
    """

    signature: Signature
    inputs: Tensors
    outputs: tuple[str, ...]


def predict_call(engine: Engine, request: Any) -> Call:
    """The run that a PredictRequest asks for.

    Raises:
        RequestError: no such signature; inputs missing, unknown or of another dtype; unknown or repeated outputs.
    """
    asked = signature(engine, request.model_spec.signature_name)
    sent = request.inputs.keys()
    extra, missing = sent - asked.inputs.keys(), asked.inputs.keys() - sent - asked.defaults.keys()
    if extra or missing:
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(asked.inputs)} "
            f"len({{{','.join(sorted(sent))}}}) != len({{{','.join(asked.inputs)}}}). "
            f"Sent extra: {{{','.join(sorted(extra))}}}. Missing but required: {{{','.join(sorted(missing))}}}."
        )
    inputs = {
        name: tensors.from_proto(name, request.inputs[name], spec.dtype) if name in sent else asked.defaults[name]
        for name, spec in asked.inputs.items()
    }
    return Call(asked, inputs, _wanted(asked, list(request.output_filter)))


def classify_call(engine: Engine, signature_name: str, examples: Any, check_method: bool = False) -> Call:
    """The run that a classification asks for.

    Args:
        engine: the version.
        signature_name: empty for `serving_default`.
        examples: tensorflow.serving.Input.
        check_method: --enable_signature_method_name_check.

    Raises:
        RequestError: no such signature, or it is none to classify with; no examples.
    """
    asked = signature(engine, signature_name, Code.INVALID_ARGUMENT, _NO_SIGNATURE)
    _check_method(asked, CLASSIFY, "classification", check_method)
    _check_one_input(asked, "classification")
    if len(asked.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(asked.outputs)}")
    outputs = tuple(name for name in ("classes", "scores") if name in asked.outputs)
    if not outputs:
        raise invalid(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature {asked.name} has: {', '.join(asked.outputs)}"
        )
    return Call(asked, {"inputs": serialized_examples(examples)}, outputs)


def regress_call(engine: Engine, signature_name: str, examples: Any, check_method: bool = False) -> Call:
    """The run that a regression asks for; arguments and errors as `classify_call`."""
    asked = signature(engine, signature_name, Code.INVALID_ARGUMENT, _NO_SIGNATURE)
    _check_method(asked, REGRESS, "regression", check_method)
    _check_one_input(asked, "regression")
    if len(asked.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if "outputs" not in asked.outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {asked.name} has {', '.join(asked.outputs)}")
    return Call(asked, {"inputs": serialized_examples(examples)}, ("outputs",))


def multi_calls(engine: Engine, request: Any, check_method: bool = False) -> list[Call]:
    """The runs that a MultiInferenceRequest asks for, one per task, in its order.

    Raises:
        RequestError: several models, a signature twice, or a task that is neither classify nor regress.
    """
    names = [task.model_spec.name for task in request.tasks]
    if not all(names):
        raise invalid("Found ModelSpec with an empty model name.")
    if len(set(names)) > 1:
        raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
    calls: list[Call] = []
    for task in request.tasks:
        name = task.model_spec.signature_name or "serving_default"
        if any(call.signature.name == name for call in calls):
            raise invalid(f"Duplicate evaluation of signature: {name}")
        if name not in engine.signatures:
            raise invalid(f"Requested signature not found in model graph: {name}")
        if task.method_name not in (CLASSIFY, REGRESS):
            raise RequestError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        make = classify_call if task.method_name == CLASSIFY else regress_call
        calls.append(make(engine, name, request.input, check_method))
    return calls


def serialized_examples(examples: Any) -> np.ndarray[Any, Any]:
    """A tensorflow.serving.Input as string [batch], one serialised tf.Example each, the context in front of each.

    Raises:
        RequestError: it holds none.
    """
    import numpy as np

    kind = examples.WhichOneof("kind")
    listed = getattr(examples, kind) if kind else None
    if listed is None or not listed.examples:
        raise invalid("Input is empty.")
    context = listed.context.SerializeToString() if kind == "example_list_with_context" else b""
    rows = np.empty(len(listed.examples), object)
    # Serialised protos that are joined are merged when they are parsed.
    rows[:] = [context + example.SerializeToString() for example in listed.examples]
    return rows


def fill_classification(result: Any, outputs: Tensors, count: int) -> None:
    """Writes classes and scores [batch, classes] into a ClassificationResult.

    Raises:
        RequestError: their shapes or types are others.
    """
    classes, scores = outputs.get("classes"), outputs.get("scores")
    for name, values in outputs.items():
        if values.ndim != 2:
            raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {list(values.shape)}")
        if values.shape[0] != count:
            raise invalid(f"Expected {name} output batch size of {count}. Got: {values.shape[0]}")
    if classes is not None and classes.dtype != object:
        raise invalid(f"Expected classes Tensor of DT_STRING. Got: {classes.dtype}")
    if scores is not None and scores.dtype != "float32":
        raise invalid(f"Expected scores Tensor of DT_FLOAT. Got: {scores.dtype}")
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    width = next(iter(outputs.values())).shape[1]
    for row in range(count):
        listed = result.classifications.add()
        for column in range(width):
            entry = listed.classes.add()
            if classes is not None:
                entry.label = classes[row, column]
            if scores is not None:
                entry.score = scores[row, column]


def fill_regression(result: Any, outputs: Tensors, count: int) -> None:
    """Writes an output [batch] or [batch, 1] into a RegressionResult.

    Raises:
        RequestError: its shape or type is another.
    """
    values = outputs["outputs"]
    if values.ndim != 1 and not (values.ndim == 2 and values.shape[1] == 1):
        raise invalid(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {list(values.shape)}"
        )
    if values.shape[0] != count:
        raise invalid(f"Input batch size did not match output batch size: {count} vs. {values.shape[0]}")
    if values.dtype != "float32":
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {values.dtype}")
    for value in values.ravel().tolist():
        result.regressions.add().value = value


def _wanted(asked: Signature, names: Sequence[str]) -> tuple[str, ...]:
    for position, name in enumerate(names):
        if name not in asked.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name} "
                f"Outputs expected to be in the set {{{','.join(asked.outputs)}}}."
            )
        if name in names[:position]:
            raise invalid(f"duplicate output tensor alias: {name}")
    return tuple(names) or tuple(asked.outputs)


def _check_method(asked: Signature, method: str, kind: str, check: bool) -> None:
    if check and asked.method != method:
        raise invalid(f"Expected {kind} signature method_name to be {method}. Was: {asked.method}")


def _check_one_input(asked: Signature, kind: str) -> None:
    if len(asked.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if "inputs" not in asked.inputs:
        raise invalid(f"No {kind} inputs found in SignatureDef: {asked.name} has {', '.join(asked.inputs)}")
    if asked.inputs["inputs"].dtype != "string":
        raise invalid(f"Expected an input of serialized examples; {asked.name} takes {asked.inputs['inputs'].dtype}")
