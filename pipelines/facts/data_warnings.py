"""Read the warnings of the nodes that check the data."""

from __future__ import annotations

import json

from benison.pipelines.records.runs import Run

_WARNING = ("Examples", "DataVerdict", "LabelReport")
_NO_SCHEMA = (
    "there is no schema file: the schema is inferred from this data, so types, domains and presence are not checked; "
    "`benison schema {} --accept` writes one"
)


def of_run(run: Run) -> list[str]:
    """Return the warnings, each once; also that no schema of the user checked the data."""
    lists = [json.loads(o["properties"].get("warnings", "[]")) for t in _WARNING for o in run.outputs(t)]
    if any(node.kind == "SchemaGen" for node in run.nodes):
        lists.append([_NO_SCHEMA.format(run.pipeline)])
    return list(dict.fromkeys(line for lines in lists for line in lines))
