"""Manifests that Airflow cannot use, of each kind, and the messages that name them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benison.pipelines.airflow.manifest import write_dag_file
from tests.integration.airflow_here import SEED, Here, eventually, manifest

CHAIN: list[dict[str, Any]] = [{"id": "Acts"}, {"id": "After", "upstream": ["Acts"]}]


def _text(name: str, **more: Any) -> str:
    return json.dumps(manifest(name, *CHAIN, **more))


# The text of a manifest, and a regular expression for the message about it, by the pipeline's name.
BAD: Mapping[str, tuple[str | bytes, str]] = {
    "bad_cut": (_text("bad_cut")[:200], r"not valid JSON \(.*\); compile it again \(benison compile bad_cut\)"),
    "bad_empty": ("", "not valid JSON"),
    "bad_bytes": (b"\xff\xfe\x00", "not valid JSON"),
    "bad_list": ("[]", "got manifest format None, expected 3; compile it again"),
    "bad_older": ('{"manifest": 1}', "got manifest format 1, expected 3; compile it again"),
    "bad_foreign": ('{"manifest": 3, "name": "bad_foreign"}', "no key 'retries'; compile it again"),
    "bad_name": (_text("acts_well"), r"a pipeline acts_well must be called acts_well\.json"),
    "bad_cron": (_text("bad_cron", schedule="61 25 * * *"), r"schedule: got '61 25 \* \* \*', expected cron"),
    "bad_letters": (_text("bad_letters", schedule="a b c d e"), "schedule: got 'a b c d e', expected cron"),
    "bad_date": (_text("bad_date", schedule="0 0 30 2 *"), r"schedule: got '0 0 30 2 \*', expected cron"),
    "bad_tag": (_text("bad_tag", tags=["x" * 200]), "tag"),
    "bad_delay": (_text("bad_delay", retry_delay_s=10**14), "airflow.retry_delay_s: got 100000000000000, expected an"),
    "bad_default": (
        _text("bad_default", parameters=[{**SEED, "default": 10**20}]),
        "got the number 100000000000000000000, expected at most",
    ),
    "bad_nan": (
        _text("bad_nan", parameters=[{**SEED, "type": "number", "default": float("nan")}]),
        "got the number nan, expected at most",
    ),
    "bad_nul": (
        _text("bad_nul", doc="no\0text"),
        r"got the character U\+0000 in 'no\\x00text', which PostgreSQL cannot",
    ),
    "bad_half": (
        _text("bad_half", tags=["x\ud800"]),
        r"got the character U\+D800 in 'x\\ud800', which PostgreSQL cannot",
    ),
    "bad_owners": (
        _text("bad_owners", owners=["o" * 900] * 3),
        "airflow.owners: got 2704 characters, expected at most",
    ),
    "bad_cycle": (
        json.dumps(manifest("bad_cycle", {"id": "A", "upstream": ["B"]}, {"id": "B", "upstream": ["A"]})),
        "Cycle detected in Dag: bad_cycle",
    ),
    "bad_node": (_text("bad_node", nodes=[{**CHAIN[0], "upstream": ["Nobody"]}]), "no key '.*'; compile it again"),
    "acts_spans_by_date": (_text("acts_spans_by_date"), r"acts_spans\.json has a schedule, so its second DAG"),
}
STRAYS = ("stray_folder", "stray_link", "stray_older", "stray_foreign", "stray_alone")


def write_bad(folder: Path, name: str) -> Path:
    """Write a bad manifest with its DAG file and return its path."""
    text, _ = BAD[name]
    file = folder / f"{name}.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    write_dag_file(folder, name)
    return file


def write_stray(folder: Path, name: str) -> Path:
    """Write what is called like a manifest but has no DAG file, and return its path."""
    file = folder / f"{name}.json"
    if name == "stray_folder":
        file.mkdir()
    elif name == "stray_link":
        file.symlink_to("/nowhere")
    else:
        file.write_text(
            {"stray_older": '{"manifest": 2}', "stray_foreign": '{"a": 1}', "stray_alone": _text(name)}[name]
        )
    return file


@contextmanager
def bad_ones(here: Here) -> Iterator[None]:
    """Put a bad pipeline of each kind among the good ones, check that one import error names each, and remove them."""
    bad = {f"{name}.dag.py": write_bad(here.manifests, name) for name in BAD}
    strays = [write_stray(here.manifests, name) for name in STRAYS]
    try:
        eventually(lambda: set(here.api.import_errors()) == {*bad, "benison_strays.py"}, 180)
        errors = here.api.import_errors()
        for name, (_, message) in BAD.items():
            last = errors[f"{name}.dag.py"].strip().splitlines()[-1]
            assert f"{here.manifests / name}.json: " in last
            assert re.search(message, last), last
        assert [stray for stray in strays if f"{stray}: " not in errors["benison_strays.py"]] == []
        yield
    finally:
        for file in (*bad.values(), *strays):
            file.with_name(f"{file.stem}.dag.py").unlink(missing_ok=True)
            file.rmdir() if file.is_dir() else file.unlink()
