"""The examples of a classify or regress request, from JSON to tf.Example by TF Serving's rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benison.serving.server.codec.json_values import decoded, is_base64, shown, type_name
from benison.serving.server.status import invalid


def examples(document: Mapping[str, Any]) -> Any:
    """The examples of a classify or regress request, as a tensorflow.serving.Input.

    Raises:
        RequestError: as TF Serving refuses it.
    """
    from tensorflow_serving.apis import input_pb2

    result = input_pb2.Input()
    into = result.example_list.examples
    if "context" in document:
        _fill_example(document["context"], result.example_list_with_context.context)
        into = result.example_list_with_context.examples
    if "examples" not in document:
        raise invalid(
            f"JSON Value: {shown(document)} When method is classify, key 'examples' is expected and was not found"
        )
    listed = document["examples"]
    if not isinstance(listed, list):
        raise invalid(f"JSON Value: {shown(document)} Expecting 'examples' value to be an list/array")
    if not listed:
        raise invalid(f"JSON Value: {shown(document)} 'examples' value is an empty array")
    for value in listed:
        _fill_example(value, into.add())
    return result


def _fill_example(value: Any, example: Any) -> None:
    """Writes a JSON object into a tf.Example; the kind of a feature is that of its first value."""
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_name(value)}")
    for name, content in value.items():
        feature = example.features.feature[name]
        for element in content if isinstance(content, list) else [content]:
            _add_to_feature(name, element, feature)


def _add_to_feature(name: str, element: Any, feature: Any) -> None:
    if element is None or isinstance(element, list) or (isinstance(element, dict) and not is_base64(element)):
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_name(element)}")
    kind = "float_list" if isinstance(element, float) else "int64_list" if isinstance(element, int) else "bytes_list"
    before = feature.WhichOneof("kind")
    if before not in (None, kind):
        expected = before.removesuffix("_list")
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {expected}")
    if isinstance(element, int) and element > 2**63 - 1:
        raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    if isinstance(element, int) and element < -(2**63):
        raise invalid(f"Feature: {name} has an element below int64_t.")
    if isinstance(element, dict):
        element = decoded(element)
    elif isinstance(element, str):
        element = element.encode("utf-8", "surrogatepass")
    elif isinstance(element, bool):  # protobuf 6 takes no True for a 1
        element = int(element)
    getattr(feature, kind).value.append(element)
