"""A node of an ONNX graph, whose attributes are all read or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class NotConverted(Exception):
    """A part of a model that is not converted to TensorFlow operations; the message names it."""


@dataclass(frozen=True)
class Node:
    """A node.

    Attributes:
        operator: its operator.
        domain: '' for ONNX's own operators, or ai.onnx.ml.
        opset: the version of the domain.
        name: its name, for messages.
        inputs: names of its inputs; '' for one that is left out.
        outputs: names of its outputs.
        attributes: values by name that no converter has read yet.
        constants: values of inputs that are constants, by name.
    """

    operator: str
    domain: str
    opset: int
    name: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: dict[str, Any] = field(repr=False)
    constants: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, node: Any, opsets: Mapping[str, int]) -> Node:
        """Read a NodeProto.

        Args:
            node: the NodeProto.
            opsets: the version of each domain.
        """
        import onnx

        domain = "" if node.domain == "ai.onnx" else node.domain
        values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        opset = opsets.get(node.domain, opsets.get(domain, 0))
        return cls(node.op_type, domain, opset, node.name, list(node.input), list(node.output), values)

    @property
    def label(self) -> str:
        """The operator and the node's name, for messages."""
        operator = f"{self.domain}.{self.operator}" if self.domain else self.operator
        return f"{operator} ({self.name})" if self.name else operator

    def with_constants(self, constants: Mapping[str, Any]) -> Node:
        """Return the node with the constants that are known so far; the attributes are shared."""
        return Node(
            self.operator, self.domain, self.opset, self.name, self.inputs, self.outputs, self.attributes, constants
        )

    def take(self, name: str, default: Any = None) -> Any:
        """Return an attribute's value, and count it as read; text as str."""
        value = self.attributes.pop(name, default)
        if isinstance(value, bytes):
            return value.decode("utf-8")
        if isinstance(value, (list, tuple)) and value and isinstance(value[0], bytes):
            return [part.decode("utf-8") for part in value]
        return value

    def array(self, name: str) -> Any:
        """Return a list or tensor attribute as an array, or that of `NAME_as_tensor`; None if there is none."""
        import numpy as np
        import onnx

        tensor, values = self.take(f"{name}_as_tensor"), self.take(name)
        if tensor is not None:
            return onnx.numpy_helper.to_array(tensor)
        return None if values is None else np.array(values)

    def constant(self, position: int, default: Any = None) -> Any:
        """Return the value of an input that must be a constant; the default if it is left out.

        Raises:
            NotConverted: it is computed.
        """
        name = self.inputs[position] if position < len(self.inputs) else ""
        if not name:
            return default
        if name not in self.constants:
            raise self.fault(f"its input {name} is computed, expected a constant")
        return self.constants[name]

    def expect(self, name: str, *allowed: Any) -> Any:
        """Return an attribute that may have only some values, of which the first is the default.

        Raises:
            NotConverted: it has another one.
        """
        value = self.take(name, allowed[0])
        if value not in allowed:
            raise self.fault(f"{name} {value!r} is not converted, only {', '.join(map(repr, allowed))}")
        return value

    def refuse_rest(self) -> None:
        """Raise NotConverted if an attribute was not read: it would change the meaning."""
        if self.attributes:
            raise self.fault(f"its attribute {min(self.attributes)} is not converted")

    def fault(self, message: str) -> NotConverted:
        """Return the error of this node."""
        return NotConverted(f"operator {self.label}: {message}")
