"""Check documents against the schemas in the package: Compose, Kubernetes and Seldon (schemas/README.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from benison.serving.errors import UsageError

_FOLDER = Path(__file__).parent / "schemas"


def check_compose(file: str, document: Mapping[str, Any]) -> None:
    """Check a Compose file.

    Raises:
        UsageError: The document does not match the schema; the message names the key.
    """
    _check(file, document, _schema("compose.json"))


def check_kubernetes(file: str, document: Mapping[str, Any]) -> None:
    """Check a Kubernetes document of one of the kinds that `benison deploy` writes.

    Raises:
        UsageError: The kind is another one, or the document does not match its schema; the message names the key.
    """
    schema = _schema("kubernetes-1.30.json")
    kind = document.get("kind")
    if kind not in schema["kinds"]:
        raise UsageError(f"{file}: got kind {kind!r}, expected one of {', '.join(sorted(schema['kinds']))}")
    required = ["apiVersion", "kind", "metadata"]  # the schemas do not require these
    definition = {"$ref": f"#/$defs/{schema['kinds'][kind]}"}
    _check(file, document, {"allOf": [definition, {"required": required}], "$defs": schema["$defs"]})


def check_seldon(file: str, document: Mapping[str, Any]) -> None:
    """Check a SeldonDeployment, and the pods in it with Kubernetes' schemas.

    Raises:
        UsageError: The document does not match the schema; the message names the key.
    """
    schema = _schema("seldon-v1.json")
    definitions = {**_schema("kubernetes-1.30.json")["$defs"], **schema["$defs"]}
    _check(file, document, {**schema, "$defs": definitions})


@cache
def _schema(name: str) -> dict[str, Any]:
    return dict(json.loads((_FOLDER / name).read_text(encoding="utf-8")))


def _check(file: str, document: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    from jsonschema import Draft7Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft7Validator(schema).iter_errors(document))
    if error is not None:
        location = ".".join(str(part) for part in error.absolute_path) or "the document"
        raise UsageError(f"{file}: {location}: {error.message}")
