"""The JSON schema of a pipeline's YAML, for editors: `python -m benison.pipelines.json_schema` writes it.

It lists the keys and their types. Only `benison validate` checks what depends on files or on several keys.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benison.pipelines.config import Pipeline
from benison.pipelines.config.limits import with_limits
from benison.pipelines.generic.columns import ColumnConfig

FILE = Path(__file__).resolve().parent.parent / "configs" / "benison.schema.json"


def text() -> str:
    """Return the schema as JSON, the content of `FILE`."""
    return json.dumps(_schema(), indent=2, ensure_ascii=False) + "\n"


def _schema() -> dict[str, Any]:
    schema = with_limits(Pipeline.model_json_schema(by_alias=True))
    properties = {key: value for key, value in schema["properties"].items() if key != "source"}
    # A member may have no value, and a column may be its kind alone.
    definitions = schema["$defs"]
    definitions["Member"]["type"] = ["object", "null"]
    column = definitions[ColumnConfig.__name__]
    definitions[ColumnConfig.__name__] = {"anyOf": [{"enum": column["properties"]["kind"]["enum"]}, column]}
    generic = {"required": ["columns"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A Benison pipeline",
        **{
            key: value for key, value in schema.items() if key not in ("title", "description", "properties", "required")
        },
        "properties": properties,
        "required": [key for key in schema["required"] if key not in ("source", "features", "models")],
        "anyOf": [generic, {"required": ["features", "models"]}],
    }


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
