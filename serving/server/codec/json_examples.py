"""Reads the examples of a classify or regress request from JSON into tf.Examples by TF Serving's rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benison.serving.server.codec.json_values import decode_base64, excerpt, is_base64, type_name
from benison.serving.server.status import invalid


def read_examples(document: Mapping[str, Any]) -> Any:
    """Read the examples of a classify or regress request into a tensorflow.serving.Input.

    Raises:
        RequestError: The request breaks a rule; the message is TF Serving's.
    """
    from tensorflow_serving.apis import input_pb2

    result = input_pb2.Input()
    target = result.example_list.examples
    if "context" in document:
        _fill_example(document["context"], result.example_list_with_context.context)
        target = result.example_list_with_context.examples
    if "examples" not in document:
        raise invalid(
            f"JSON Value: {excerpt(document)} When method is classify, key 'examples' is expected and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise invalid(f"JSON Value: {excerpt(document)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid(f"JSON Value: {excerpt(document)} 'examples' value is an empty array")
    for value in examples:
        _fill_example(value, target.add())
    return result


def _fill_example(value: Any, example: Any) -> None:
    """Write a JSON object into a tf.Example; the first value of a feature determines its type."""
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_name(value)}")
    for name, content in value.items():
        feature = example.features.feature[name]
        for element in content if isinstance(content, list) else [content]:
            _add_to_feature(name, element, feature)


def _add_to_feature(name: str, element: Any, feature: Any) -> None:
    if element is None or isinstance(element, list) or (isinstance(element, dict) and not is_base64(element)):
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_name(element)}")
    field = "float_list" if isinstance(element, float) else "int64_list" if isinstance(element, int) else "bytes_list"
    current_field = feature.WhichOneof("kind")
    if current_field not in (None, field):
        expected = current_field.removesuffix("_list")
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {expected}")
    if isinstance(element, int) and element > 2**63 - 1:
        raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    if isinstance(element, int) and element < -(2**63):
        raise invalid(f"Feature: {name} has an element below int64_t.")
    if isinstance(element, dict):
        element = decode_base64(element)
    elif isinstance(element, str):
        element = element.encode("utf-8", "surrogatepass")
    elif isinstance(element, bool):  # protobuf 6 does not accept a bool as an int
        element = int(element)
    getattr(feature, field).value.append(element)
