"""Ingests months of flights, one of them in several corrupted forms, and prints what each node said, as JSON.

A program of its own, so that TFX's warnings stay out of the test process: `python ingesting.py ROOT`.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

from benison.pipelines import graph, node
from benison.pipelines.compilation.compiled import compile_to
from benison.pipelines.config import Pipeline
from benison.pipelines.config_file import load
from benison.pipelines.data import sources, span_changes, spans
from benison.pipelines.quiet import quieten
from benison.serving.versions import local
from benison.serving.versions.manifest import Manifest

Row = dict[str, str]
KEPT = 4  # of so many rows one, to be quick
JANUARY, FEBRUARY = 1, 2


def half(row: Row) -> bool:
    return int(row["minute"]) < 30


def corrupt(row: Row) -> Row:
    """Change four columns, each as an accident would, and half of the negative labels."""
    changed = {**row, "sched_minutes": f"{int(row['sched_minutes']) * 60}"}  # another unit
    if half(row):
        changed["late"] = "yes"
    if row["origin"] == "JFK":  # another currency: the values of one source are larger by a factor
        changed["distance"] = f"{int(row['distance']) * 110}"
    if half(row):
        changed["dest_lat"] = "NA"
    if half(row) and row["origin"] == "LGA":
        changed["carrier"] = "ZZ"
    return changed


CORRUPTIONS: dict[str, Callable[[Row], Row]] = {
    "untouched": lambda row: row,
    "corrupted": corrupt,
    "type": lambda row: {**row, "hour": f"{row['hour']} o'clock"},
}


def main(root: Path) -> None:
    quieten()
    config = load("flights", {"data.csv": "'{SPAN}.csv'", "data.time": "time_hour", "spans.window": "2"})
    months = Path(sources.files_pattern(config, root)).parent
    land(config, root, months / "1.csv", JANUARY, CORRUPTIONS["untouched"])
    said = {"january": ingest(config, root, JANUARY)}
    serve(config, root, [JANUARY])
    for number, (name, corrupt) in enumerate(CORRUPTIONS.items(), start=FEBRUARY):
        land(config, root, months / "2.csv", number, corrupt)
        said[name] = ingest(config, root, number)
    print(json.dumps(said))


def land(config: Pipeline, root: Path, month: Path, number: int, corrupt: Callable[[Row], Row]) -> None:
    changed = root / f"{number}-{month.name}"
    with month.open(newline="") as source, changed.open("w", newline="") as target:
        reader = csv.DictReader(source)
        writer = csv.DictWriter(target, reader.fieldnames or [])
        writer.writeheader()
        writer.writerows(corrupt(row) for i, row in enumerate(reader) if i % KEPT == 0)
    span_changes.add(config, root, [changed], number, allow_repeated=True)


def ingest(config: Pipeline, root: Path, span: int) -> dict[str, dict[str, str]]:
    compiled = compile_to(graph.build_ingest(config, root, [span]), root / f"{span}.json")
    said = {}
    for entry in compiled.nodes:
        result = node.run(compiled.ir, entry.name, f"run-{span}", root=root)
        said[entry.name] = {"state": result.state, "reason": result.reason}
        if result.state in ("failed", "invalid"):
            break
    return said


def serve(config: Pipeline, root: Path, trained_on: list[int]) -> None:
    """A version whose model knows nothing; what counts here is what its manifest says."""
    import tensorflow as tf

    model = root / "model"
    tf.saved_model.save(tf.Module(), str(model))
    hashes = spans.content_hashes(root, config.name, trained_on)
    manifest = Manifest(spans=tuple(trained_on), span_hashes=hashes)
    local.publish(model, root / "serving" / config.name, manifest)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
