"""The model card of a version, in Markdown, from its manifest.

Its headings are those of M. Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from benison.serving.versions.manifest import Manifest, Slice
from benison.serving.visible_text import visible_line

FILE = "card.md"
ENSEMBLE, SERVED = "ensemble", "served"
# In versions of an older release, whose manifest does not say it.
_SMALLER_IS_BETTER = frozenset({"log_loss", "calibration_error", "cost", "rmse", "mae"})
_WEAK_SLICES, _ROWS_OF_SLICE = 5, 50
_PACKAGES = ("python", "benison", "tfx", "tensorflow", "keras")


def render(manifest: Manifest, number: int | None = None) -> str:
    """Return the card.

    Args:
        manifest: The version's manifest.
        number: The version's number; None while it has none, because the card is written before it becomes visible.
    """
    title = f"{manifest.name} version {number}" if number is not None else manifest.name
    sections = {
        "Model details": _details(manifest, number),
        "Intended use": _use(manifest),
        "Factors": _factors(manifest),
        "Metrics": _metrics(manifest),
        "Evaluation data": _evaluation_data(manifest),
        "Training data": _training_data(manifest),
        "Quantitative analyses": _analyses(manifest),
        "Ethical considerations": _ethics(manifest),
        "Caveats and recommendations": _caveats(manifest),
    }
    parts = [f"# Model card: {_text(title)}"]
    for heading, lines in sections.items():
        parts += [f"## {heading}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _details(manifest: Manifest, number: int | None) -> Iterator[str]:
    kind = f"{manifest.combiner} of {', '.join(manifest.members)}" if manifest.members else "one model"
    yield f"- Version: {number if number is not None else 'the name of the folder that holds this file'}"
    if manifest.created:
        yield f"- Pushed: {manifest.created}" + (f", by the run {_text(manifest.run)}" if manifest.run else "")
    elif manifest.run:
        yield f"- Pushed by the run {_text(manifest.run)}"
    yield f"- Predicts: {_text(manifest.label)} ({manifest.problem or 'unknown problem'})"
    yield f"- Type: {_text(kind)}" + (", calibrated" if manifest.calibration else "")
    if manifest.weights:
        yield f"- Weights: {', '.join(f'{name} {_figure(weight)}' for name, weight in manifest.weights.items())}"
    packages = manifest.made_from.get("packages", {})
    if shown := [f"{name} {packages[name]}" for name in _PACKAGES if name in packages]:
        yield f"- Made with: {', '.join(shown)}"
    for name, digest in sorted(manifest.hashes.items()):
        if digest:
            yield f"- SHA-256 of {name}: `{digest}`"


def _use(manifest: Manifest) -> Iterator[str]:
    yield _text(manifest.purpose) or "The YAML does not say what the model is for (`purpose`)."
    if manifest.classes:
        yield f"\nClasses: {', '.join(map(_text, manifest.classes))}." + (
            f" The positive class is {_text(manifest.positive)}." if manifest.positive else ""
        )


def _factors(manifest: Manifest) -> Iterator[str]:
    columns = sorted({name.rpartition("=")[0] for name in manifest.slices})
    if columns:
        yield f"Metrics are computed for each value of: {', '.join(map(_text, columns))}."
    else:
        yield "No columns are named for metrics by slice (`slices`)."


def _metrics(manifest: Manifest) -> Iterator[str]:
    yield f"The metric of the decisions about this version is {manifest.metric or 'unknown'}."
    if manifest.threshold is not None:
        yield f"\nIt decides for {_text(manifest.positive)} from a probability of {manifest.threshold:.4g} on."
    if manifest.weight:
        yield f"\nRows count by the column {_text(manifest.weight.column)}."
    if manifest.interval:
        yield f"\n{manifest.interval.text}."


def _evaluation_data(manifest: Manifest) -> Iterator[str]:
    rows = manifest.rows.get("test")
    who = f"{', '.join(map(_text, manifest.unproven))}, trained elsewhere, may have" if manifest.unproven else ""
    known = rows if rows is not None else "unknown"
    yield f"Rows of `test`: {known}. {who or 'No model has'} learnt from them."
    if manifest.weight:
        yield f"\nThey tell as much as {manifest.weight.effective_rows:.1f} rows of equal weight."
    baseline = manifest.baseline
    if baseline is not None and baseline.version is not None:
        compared = f"not compared: {_text(baseline.why_not)}" if baseline.why_not else "compared on the same rows"
        yield f"\nThe version that was served before is {baseline.version} ({compared})."


def _training_data(manifest: Manifest) -> Iterator[str]:
    if manifest.source:
        yield f"- Pipeline: {_text(manifest.source)}"
    for span in manifest.spans:
        digest = manifest.span_hashes.get(str(span))
        yield f"- Span {span}" + (f", hash `{digest}`" if digest else "")
    for name, digest in manifest.data_files.items():
        yield f"- File {_text(name)}" + (f", SHA-256 `{digest}`" if digest else "")
    for name, digest in manifest.made_from.get("models", {}).items():
        yield f"- Member {_text(name)} was trained elsewhere, hash of its model `{digest}`"
    if manifest.rows:
        yield f"- Rows: {', '.join(f'{split} {count}' for split, count in manifest.rows.items())}"
    columns = [record.column for record in manifest.inputs.values()]
    if columns:
        yield f"- Columns that the model reads: {', '.join(map(_text, sorted(columns)))}"
    if not (manifest.spans or manifest.data_files):
        yield "- The files are not recorded here; `benison lineage` follows a version to them."


def _analyses(manifest: Manifest) -> Iterator[str]:
    if manifest.metrics:
        yield from _table("on test", {name: manifest.metrics[name] for name in _models(manifest)})
    if manifest.slices:
        yield f"\nBy slice, {manifest.metric}:\n"
        models = _models(manifest)
        by_slice = {
            name: {
                "rows": of_slice.rows,
                **{model: of_slice.metrics.get(model, {}).get(manifest.metric) for model in models},
            }
            for name, of_slice in sorted(manifest.slices.items(), key=lambda item: _by_value(item[0]))
        }
        yield from _table("slice", by_slice)
    if manifest.verdicts:
        yield "\nRules:\n"
        for verdict in manifest.verdicts:
            mark = "passed" if verdict.passed else "warning" if verdict.warning else "refused"
            yield f"- {mark}: {_text(verdict.rule)}: {_text(verdict.reason)}"
    if manifest.lite:
        mark = "The version has" if manifest.lite.passed else "The version has no"
        yield f"\n{mark} `model.tflite` ({manifest.lite.quantize}): {_text(manifest.lite.reason)}."
    if not (manifest.metrics or manifest.verdicts):
        yield "Nothing was measured before this version was pushed."


def _by_value(name: str) -> tuple[str, bool, float, str]:
    """Return a sort key of a slice such as `hour=9`: by column, then numbers by value."""
    column, _, value = name.rpartition("=")
    try:
        return column, False, float(value), ""
    except ValueError:
        return column, True, 0.0, value


def _ethics(manifest: Manifest) -> Iterator[str]:
    yield "Benison does not know whom the model affects. State it under `limits` in the YAML, and compare the slices."


def _caveats(manifest: Manifest) -> Iterator[str]:
    for limit in manifest.limits:
        yield f"- {_text(limit)}"
    if not manifest.limits:
        yield "- The YAML names no limits (`limits`)."
    for name, of_slice in _weak_slices(manifest):
        figure = _figure(of_slice.metrics[ENSEMBLE][manifest.metric])
        whole = _figure(manifest.metrics[ENSEMBLE][manifest.metric])
        yield f"- Weak for {_text(name)}: {manifest.metric} {figure} on {of_slice.rows} rows, {whole} on all"
    if manifest.interval and manifest.interval.caveat:
        yield f"- Intervals: {_text(manifest.interval.caveat)}"
    for verdict in manifest.verdicts:
        if verdict.warning:
            yield f"- Warned: {_text(verdict.rule)}: {_text(verdict.reason)}"
    for warning in manifest.warnings:
        yield f"- Warned: {_text(warning)}"
    if manifest.name:
        yield (
            f"- Go back to the version that was served before: `benison rollback {manifest.name}`; "
            f"to this one: `benison promote {manifest.name} VERSION`"
        )


def _weak_slices(manifest: Manifest) -> Sequence[tuple[str, Slice]]:
    """Return the slices on which the ensemble is worse than on all rows, the worst first."""
    metric, larger = manifest.metric, manifest.larger_is_better
    sign = 1 if (metric not in _SMALLER_IS_BETTER if larger is None else larger) else -1
    whole = manifest.metrics.get(ENSEMBLE, {}).get(metric)
    found = []
    for name, of_slice in manifest.slices.items():
        value = of_slice.metrics.get(ENSEMBLE, {}).get(metric)
        if whole is not None and value is not None and of_slice.rows >= _ROWS_OF_SLICE and sign * (value - whole) < 0:
            found.append((sign * value, name, of_slice))
    return [(name, of_slice) for _, name, of_slice in sorted(found, key=lambda entry: entry[:2])[:_WEAK_SLICES]]


def _models(manifest: Manifest) -> list[str]:
    """Return the names of the models: members, then the ensemble and what was served."""
    last = [name for name in (ENSEMBLE, SERVED) if name in manifest.metrics]
    return [name for name in manifest.metrics if name not in last] + last


def _table(corner: str, rows: Mapping[str, Mapping[str, float | None]]) -> Iterator[str]:
    columns = list(next(iter(rows.values())))
    yield f"| {corner} | {' | '.join(map(_cell, columns))} |"
    yield "|---" * (len(columns) + 1) + "|"
    for name, figures in rows.items():
        yield f"| {_cell(name)} | {' | '.join(_figure(figures.get(column)) for column in columns)} |"


def _figure(number: float | None) -> str:
    if number is None:
        return "-"
    return str(number) if isinstance(number, int) else f"{number:.4f}" if abs(number) < 1e5 else f"{number:.6g}"


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")


def _text(text: str) -> str:
    """Return text of the user on one line, so that it cannot begin another part of the card."""
    return re.sub("<(?=[A-Za-z/!?])", "&lt;", visible_line(" ".join(text.split())))
