"""Reproduction of a version: run again what its manifest and its run record, and compare what both runs made.

The second run has a ROOT of its own and no cache. Compared is content: rows of examples in any order, statistics, what
Transform and the models compute (`benison.serving.versions.content`), the combiner, and the metrics on test.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.components.ingest import data_files
from benison.pipelines import config_file, made_from
from benison.pipelines.code import fingerprint
from benison.pipelines.data import spans
from benison.pipelines.lineage.graph import Places, former_root
from benison.pipelines.records import runs, whole_run
from benison.pipelines.runner import LocalRunner, Observer
from benison.pipelines.running import run_inputs
from benison.serving.errors import DataError, UsageError, VersionError
from benison.serving.versions import local

if TYPE_CHECKING:
    from benison.pipelines.config import Pipeline
    from benison.pipelines.records.runs import Run
    from benison.serving.versions.local import Version

GONE = "gone"


@dataclass(frozen=True)
class Compared:
    """One thing that both runs made.

    Attributes:
        name: what it is.
        before: the value of the run that pushed the version; `GONE` if it was removed.
        now: the value of the second run.
    """

    name: str
    before: str
    now: str

    @property
    def is_equal(self) -> bool | None:
        """True if both are equal; None if one of them is gone."""
        return None if GONE in (self.before, self.now) else self.before == self.now


@dataclass(frozen=True)
class Recorded:
    """The parts that are needed to make a version again.

    Attributes:
        version: the version; the older one if it is republished.
        run: the run that pushed it.
        config: its config, with the values of that run.
        other_versions: see `made_from.other_versions`; also that Benison's own code is another one.
    """

    version: Version
    run: Run
    config: Pipeline
    other_versions: tuple[str, ...]


def find(root: Path, name: str, number: int) -> Recorded:
    """Find what a version was made from, and check that all of it is as it was.

    ROOT and the project may have moved, also to another machine: files are looked for at the same places relative to
    ROOT and to the YAML, which may be the one of this name that is found here.

    Args:
        root: ROOT.
        name: the pipeline's name.
        number: the version's number.

    Raises:
        VersionError: something is gone or has changed; the message has one line for each.
    """
    base = root / "serving" / name
    version = local.get(base, number)
    while version.manifest.republished:
        version = local.get(base, version.manifest.republished.version)
    what = f"{name} {version.number}"
    recorded = version.manifest.made_from
    if not recorded:
        raise VersionError(f"{what}: its manifest does not record what it was made from; an older Benison pushed it")
    run = next((run for run in runs.history(root) if run.pipeline == name and _pushed(run, version.number)), None)
    if run is None:
        raise VersionError(f"{what}: the record of its run is gone: no run.json in {root / 'runs'} names this version")
    places = Places(root, former_root(run))
    run = _moved_run(run, places)
    try:
        config = made_from.config_of(recorded)
        yaml = _yaml_now(config, places)
        if yaml != config.source:
            project = Places(yaml.parent, config.source.parent)
            config = made_from.config_of(recorded, lambda path: str(project.now(path)))
    except ValueError as error:
        raise VersionError(f"{what}: this Benison does not read its recorded config: {error}") from None
    problems = [*made_from.changes(recorded, config), *_data_changes(root, config, run, version)]
    if problems:
        raise VersionError("\n".join([f"{what} cannot be made again, because something has changed since:", *problems]))
    return Recorded(version, run, config, (*made_from.other_versions(recorded), *_other_code(run)))


def make_again(root: Path, recorded: Recorded, into: Path, observer: Observer) -> Run:
    """Run the pipeline again.

    Args:
        root: ROOT of the version.
        recorded: what it was made from.
        into: ROOT of the second run; it must not exist.
        observer: see `LocalRunner`.
    """
    config, window = recorded.config, recorded.run.window
    span = None
    if window:
        _link_spans(root, into, config.name, recorded.version)
        # The data has landed already, so the source must not write it again.
        config = config.model_copy(update={"data": config.data.model_copy(update={"source": None, "csv": None})})
        span = f"{window[0]}-{window[-1]}"
    return LocalRunner(into, cache=False, observer=observer).run_config(config, span=span)


def compare(recorded: Recorded, again: Run) -> list[Compared]:
    """Compare what two runs made, in the order of the nodes; then the metrics."""
    before, now = _contents(recorded.run), _contents(again)
    manifest = recorded.version.manifest
    # The manifest keeps these if the artifacts were removed.
    kept = {"Transform": manifest.hashes.get("transform"), "EnsembleBuilder": manifest.candidate}
    for node, content in kept.items():
        if before.get(node) == GONE and content:
            before[node] = content
    rows = [Compared(name, _short(before.get(name, GONE)), _short(now.get(name, GONE))) for name in {**now, **before}]
    theirs = _metrics(again)
    for model, metrics in manifest.metrics.items():
        for metric, value in metrics.items():
            if model != "served":  # what was served then is not served in the second ROOT
                rows.append(
                    Compared(f"{metric} of {model}", _number(value), _number(theirs.get(model, {}).get(metric)))
                )
    return rows


def _other_code(run: Run) -> Iterator[str]:
    """Yield a line if Benison's own code is not that of the run: in a clone it changes without a new version."""
    before = (whole_run.read_inputs(run.folder) or {}).get("benison")
    now = run_inputs.own_code(run_inputs.FilesRead())
    if before not in (None, now):
        yield f"Benison's code: {before[:12]} then, {now[:12]} now"


def _yaml_now(config: Pipeline, places: Places) -> Path:
    """Return where the YAML is now: where it was, beside ROOT as it was then, or that of the pipeline's name here."""
    moved = places.now(str(config.source))
    if moved.is_file():
        return moved
    try:
        return Path(os.path.abspath(config_file.find(config.name)))
    except UsageError:
        return config.source


def _moved_run(run: Run, places: Places) -> Run:
    """Return a run whose outputs, and the files that it read, are where they are now."""
    for node in run.nodes:
        for output in (output for outputs in node.outputs.values() for output in outputs):
            output["uri"] = str(places.now(output["uri"]))
            if files := output["properties"].get("files"):
                output["properties"]["files"] = json.dumps([str(places.now(file)) for file in json.loads(files)])
    return run


def _pushed(run: Run, number: int) -> bool:
    return any(output["properties"].get("pushed_version") == str(number) for output in run.outputs("PushedModel"))


def _data_changes(root: Path, config: Pipeline, run: Run, version: Version) -> Iterator[str]:
    """Yield what is no longer as it was when the run read it."""
    if run.window:
        landed = {span.sha256 for span in spans.all_spans(root, config.name)}
        landed |= {removed.span.sha256 for removed in spans.removed_spans(root, config.name)}
        for number, sha256 in version.manifest.span_hashes.items():
            if sha256 not in landed:
                yield f"data: span {number}, sha256 {sha256[:12]}, is gone"
        return
    if config.data.source is not None:  # it writes its files again
        return
    try:
        now = [str(file) for file in config.files()]
    except DataError:  # there are none
        now = []
    for properties in (output["properties"] for output in run.outputs("Examples")):
        if "input_fingerprint" not in properties:  # not of an ExampleGen
            continue
        files = json.loads(properties.get("files", "[]"))
        # A package has its files elsewhere in another environment.
        if now and data_files.fingerprint(now) == properties["input_fingerprint"]:
            continue
        if missing := [file for file in files if not Path(file).is_file()]:
            yield f"data: {missing[0]} is gone"
        elif files and data_files.fingerprint(files) != properties["input_fingerprint"]:
            others = f", or one of {len(files) - 1} others," if files[1:] else ""
            yield f"data: {files[0]}{others} has changed"
        elif more := [file for file in now if files and file not in files]:
            yield f"data: {more[0]} is new, and {config.data.csv or config.data.tfrecord} names it too"


def _link_spans(root: Path, into: Path, name: str, version: Version) -> None:
    """Put the spans of a version into another ROOT, also those that were replaced since."""
    places = {span.sha256: spans.folder(root, name) / str(span.number) for span in spans.all_spans(root, name)}
    places = {r.span.sha256: r.path for r in spans.removed_spans(root, name)} | places
    for number, sha256 in version.manifest.span_hashes.items():
        target = spans.folder(into, name) / number
        shutil.copytree(
            places[sha256], target, ignore=shutil.ignore_patterns(spans.REMOVAL), copy_function=_link_or_copy
        )
    # A window may leave out spans that were removed before; the second ROOT must know that they were.
    removed = spans.folder(root, name) / spans.REMOVED
    if removed.is_dir():
        shutil.copytree(removed, spans.folder(into, name) / spans.REMOVED, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)  # the files of a span never change
    except OSError:  # another file system
        shutil.copy2(source, target)


def _contents(run: Run) -> dict[str, str]:
    """Return a hash of each output of a run that is compared, or `GONE`; by node, and key if the node has several."""
    hashes: dict[str, Callable[[Path], str]] = {
        "Examples": _examples,
        "ExampleStatistics": _statistics,
        "TransformGraph": _transform,
        "Model": _model,
        "HyperParameters": fingerprint.folder,
    }
    contents = {}
    for node in run.nodes:
        for key, (output, *_) in ((key, outputs) for key, outputs in node.outputs.items() if outputs):
            if output["type"] in hashes:
                name = f"{node.id} {key.replace('_', ' ')}" if key == "transformed_examples" else node.id
                folder = Path(output["uri"])
                contents[name] = hashes[output["type"]](folder) if folder.is_dir() else GONE
    return contents


def _examples(folder: Path) -> str:
    """Return the number of rows, and a hash of the rows of each split in any order."""
    import tensorflow as tf

    from benison.components.ingest.example_writer import in_order

    count, digest = 0, hashlib.sha256()
    for split in sorted(folder.glob("Split-*")):
        total = 0
        for file in sorted(split.glob("*.gz")):
            for record in tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator():
                total += int.from_bytes(hashlib.sha256(in_order(record)).digest(), "big")
                count += 1
        digest.update(f"{split.name} {total}\n".encode())
    return f"{digest.hexdigest()[:12]}, {count} rows"


def _statistics(folder: Path) -> str:
    from tensorflow_metadata.proto.v0 import statistics_pb2

    digest = hashlib.sha256()
    for file in sorted(folder.glob("Split-*/FeatureStats.pb")):
        statistics = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes())
        digest.update(file.parent.name.encode() + statistics.SerializeToString(deterministic=True))
    return digest.hexdigest()


def _transform(folder: Path) -> str:
    from benison.serving.versions import content

    return content.checksum(folder / "transform_fn")


def _model(folder: Path) -> str:
    from tfx.utils import path_utils

    from benison.serving.versions import content

    return content.checksum(Path(path_utils.serving_model_path(str(folder))))


def _metrics(run: Run) -> Mapping[str, Mapping[str, float | None]]:
    for output in run.outputs("ModelBlessing"):
        file = Path(output["uri"], "blessing.json")
        if file.is_file():
            return dict(json.loads(file.read_text())["metrics"])
    return {}


def _short(value: str) -> str:
    return value if value == GONE or "," in value else value[:12]


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.9g}"
