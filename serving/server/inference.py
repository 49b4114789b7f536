"""Turns requests into runs of a signature and fills in the results; REST, gRPC and warm-up share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benison.serving.server.codec import column_names, tensors
from benison.serving.server.engine import Engine, Signature, Tensors, find_signature
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
        signature: one of the loaded version.
        inputs: a tensor for every input of the signature.
        outputs: the names of the requested outputs.
    """

    signature: Signature
    inputs: Tensors
    outputs: tuple[str, ...]


def predict_call(engine: Engine, request: Any, contents: Mapping[str, tuple[str, Any]] | None = None) -> Call:
    """Return the run that a PredictRequest asks for.

    Args:
        engine: the loaded version.
        request: the message.
        contents: values that are not in the message, see `wire.Parts`.

    Raises:
        RequestError: The signature does not exist, an input is missing, unknown or has the wrong dtype, or an output is
            unknown or repeated.
    """
    signature = find_signature(engine, request.model_spec.signature_name)
    sent_as = _names_of_inputs(signature, list(request.inputs))
    sent_names = sent_as.keys()
    extra, missing = (
        sent_names - signature.inputs.keys(),
        signature.inputs.keys() - sent_names - signature.defaults.keys() - signature.missing.keys(),
    )
    if extra or missing:
        own = map(signature.column_of, missing)
        raise invalid(
            f"input size does not match signature: {len(sent_names)}!={len(signature.inputs)} "
            f"len({{{','.join(sorted(sent_names))}}}) != len({{{','.join(signature.inputs)}}}). "
            f"Sent extra: {{{','.join(sorted(extra))}}}. Missing but required: {{{','.join(sorted(own))}}}."
        )
    sent = {
        name: tensors.from_proto(key, request.inputs[key], signature.inputs[name].dtype, (contents or {}).get(key))
        for name, key in sent_as.items()
    }
    absent = {name: signature.defaults[name] for name in signature.defaults.keys() - sent_names}
    inputs = column_names.check_rows({**_missing_columns(signature, sent), **absent, **sent}, signature)
    return Call(signature, inputs, _output_names(signature, list(request.output_filter)))


def _names_of_inputs(signature: Signature, sent: Sequence[str]) -> dict[str, str]:
    """Return the sent name of each input; a column whose own name differs from its input may have either.

    Raises:
        RequestError: An input was sent under both names.
    """
    names: dict[str, str] = {}
    for key in sent:
        name = signature.columns.get(key, key)
        if name in names:
            raise invalid(f"inputs {names[name]} and {key} are the same input; send one of them")
        names[name] = key
    return names


def _missing_columns(signature: Signature, sent: Tensors) -> Tensors:
    """Return a column of missing cells for each input that may be missing and was left out.

    Raises:
        RequestError: The sent columns do not tell how many rows there are.
    """
    absent = signature.missing.keys() - sent.keys() - signature.defaults.keys()
    if not absent:
        return {}
    sizes = {values.shape[0] if values.ndim else 0 for values in sent.values()}
    if len(sizes) != 1:
        raise invalid(
            f"inputs {', '.join(sorted(absent))} are left out, and the others have different numbers of rows: "
            f"{', '.join(map(str, sorted(sizes))) or 'none was sent'}; send columns of equal length"
        )
    (rows,) = sizes
    return {name: _full(rows, signature.missing[name], signature.inputs[name].dtype) for name in absent}


def _full(rows: int, value: Any, dtype: str) -> np.ndarray[Any, Any]:
    import numpy as np

    return np.full(rows, value.encode(), object) if dtype == "string" else np.full(rows, value, dtype)


def classify_call(engine: Engine, signature_name: str, examples: Any, check_method: bool = False) -> Call:
    """Return the run that a classification asks for.

    Args:
        engine: the loaded version.
        signature_name: empty for `serving_default`.
        examples: a tensorflow.serving.Input, or its examples, serialized.
        check_method: --enable_signature_method_name_check.

    Raises:
        RequestError: The signature does not exist or cannot classify, or there are no examples.
    """
    signature = find_signature(engine, signature_name, Code.INVALID_ARGUMENT, _NO_SIGNATURE)
    _check_method(signature, CLASSIFY, "classification", check_method)
    _check_one_input(signature, "classification")
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    outputs = tuple(name for name in ("classes", "scores") if name in signature.outputs)
    if not outputs:
        raise invalid(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature {signature.name} has: {', '.join(signature.outputs)}"
        )
    return Call(signature, {"inputs": _rows(examples)}, outputs)


def regress_call(engine: Engine, signature_name: str, examples: Any, check_method: bool = False) -> Call:
    """Return the run that a regression asks for; arguments and errors are those of `classify_call`."""
    signature = find_signature(engine, signature_name, Code.INVALID_ARGUMENT, _NO_SIGNATURE)
    _check_method(signature, REGRESS, "regression", check_method)
    _check_one_input(signature, "regression")
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if "outputs" not in signature.outputs:
        raise invalid(
            f"No regression outputs found in SignatureDef: {signature.name} has {', '.join(signature.outputs)}"
        )
    return Call(signature, {"inputs": _rows(examples)}, ("outputs",))


def multi_calls(engine: Engine, tasks: Sequence[Any], examples: Any, check_method: bool = False) -> list[Call]:
    """Return the runs that the tasks of a MultiInferenceRequest ask for, in the same order; see `classify_call`.

    Raises:
        RequestError: The tasks name several models or one signature twice, or a task neither classifies nor regresses.
    """
    names = [task.model_spec.name for task in tasks]
    if not all(names):
        raise invalid("Found ModelSpec with an empty model name.")
    if len(set(names)) > 1:
        raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
    calls: list[Call] = []
    for task in tasks:
        name = task.model_spec.signature_name or "serving_default"
        if any(call.signature.name == name for call in calls):
            raise invalid(f"Duplicate evaluation of signature: {name}")
        if name not in engine.signatures:
            raise invalid(f"Requested signature not found in model graph: {name}")
        if task.method_name not in (CLASSIFY, REGRESS):
            raise RequestError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        build_call = classify_call if task.method_name == CLASSIFY else regress_call
        calls.append(build_call(engine, name, examples, check_method))
    return calls


def _rows(examples: Any) -> np.ndarray[Any, Any]:
    return serialized_examples(examples) if hasattr(examples, "WhichOneof") else examples


def serialized_examples(examples: Any) -> np.ndarray[Any, Any]:
    """Return a tensorflow.serving.Input as string [batch]: one serialized tf.Example each, preceded by the context.

    Raises:
        RequestError: There are no examples.
    """
    import numpy as np

    field = examples.WhichOneof("kind")
    example_list = getattr(examples, field) if field else None
    if example_list is None or not example_list.examples:
        raise invalid("Input is empty.")
    context = example_list.context.SerializeToString() if field == "example_list_with_context" else b""
    rows = np.empty(len(example_list.examples), object)
    # Protobuf merges concatenated messages when it parses them.
    rows[:] = [context + example.SerializeToString() for example in example_list.examples]
    return rows


def fill_classification(result: Any, outputs: Tensors, count: int) -> None:
    """Write classes and scores [batch, classes] into a ClassificationResult.

    Raises:
        RequestError: A shape or dtype is wrong.
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
        classification = result.classifications.add()
        for column in range(width):
            entry = classification.classes.add()
            if classes is not None:
                entry.label = classes[row, column]
            if scores is not None:
                entry.score = scores[row, column]


def fill_regression(result: Any, outputs: Tensors, count: int) -> None:
    """Write an output [batch] or [batch, 1] into a RegressionResult.

    Raises:
        RequestError: The shape or dtype is wrong.
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


def _output_names(signature: Signature, names: Sequence[str]) -> tuple[str, ...]:
    for position, name in enumerate(names):
        if name not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name} "
                f"Outputs expected to be in the set {{{','.join(signature.outputs)}}}."
            )
        if name in names[:position]:
            raise invalid(f"duplicate output tensor alias: {name}")
    return tuple(names) or tuple(signature.outputs)


def _check_method(signature: Signature, method: str, task: str, check: bool) -> None:
    if check and signature.method != method:
        raise invalid(f"Expected {task} signature method_name to be {method}. Was: {signature.method}")


def _check_one_input(signature: Signature, task: str) -> None:
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if "inputs" not in signature.inputs:
        raise invalid(f"No {task} inputs found in SignatureDef: {signature.name} has {', '.join(signature.inputs)}")
    if signature.inputs["inputs"].dtype != "string":
        raise invalid(
            f"Expected an input of serialized examples; {signature.name} takes {signature.inputs['inputs'].dtype}"
        )
