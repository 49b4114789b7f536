"""Read what a run left: its outputs, the scores of its models on `test`, and its raw rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

TRAINING = ("train", "valid", "blend")


@dataclass(frozen=True)
class ScoredRun:
    """A run whose models were scored.

    Attributes:
        id: the run's id.
        outputs: the artifacts of its nodes, by node and key, such as `Transform.transform_graph`.
    """

    id: str
    outputs: Mapping[str, list[dict[str, Any]]]

    def folder(self, output: str) -> Path:
        """Return the folder of an output, such as `MemberScores.scores`."""
        return Path(self.outputs[output][0]["uri"])

    def test_scores(self) -> tuple[np.ndarray, dict[str, np.ndarray], tuple[str, ...]]:
        """Return the labels of the `test` rows, the predictions of each model, and the classes."""
        from benison.components.evaluate.scorer import Scores

        models: dict[str, np.ndarray] = {}
        labels: np.ndarray = np.zeros(0)
        classes: tuple[str, ...] = ()
        for node in ("MemberScores", "EnsembleScores"):
            scores = Scores.load(self.folder(f"{node}.scores"), "test")
            labels, classes = scores.rows["label"].to_numpy(), scores.classes
            models |= {name: values for name, values in scores.outputs.items() if name != "served"}
        return labels, models, classes

    def rows(self, splits: Iterable[str]) -> pd.DataFrame:
        """Return the raw rows of some splits in the order of the files: numbers as float64, text as bytes or NaN."""
        import pandas as pd
        import tensorflow as tf

        from benison.components import raw_examples

        folder = next(
            self.folder(key)
            for key in ("SpanWindow.window", "CsvExampleGen.examples")
            if key in self.outputs and (self.folder(key) / "Split-test").is_dir()
        )
        files = [str(file) for split in splits for file in sorted((folder / f"Split-{split}").glob("*"))]
        spec = {name: tf.io.VarLenFeature(kind) for name, kind in raw_examples.column_types(self._schema()).items()}
        parts = []
        for records in tf.data.TFRecordDataset(files, compression_type="GZIP").batch(8192):
            part: dict[str, np.ndarray] = {}
            for name, sparse in tf.io.parse_example(records, spec).items():
                part[name] = np.full(len(records), np.nan, object if sparse.dtype == tf.string else np.float64)
                part[name][sparse.indices.numpy()[:, 0]] = sparse.values.numpy()
            parts.append(pd.DataFrame(part))
        return pd.concat(parts, ignore_index=True)

    def _schema(self) -> Any:
        import tensorflow_transform as tft

        return tft.TFTransformOutput(str(self.folder("Transform.transform_graph"))).raw_metadata.schema


def find(root: Path, pipeline: str, run_id: str | None = None) -> ScoredRun:
    """Return a run with scores: the one with this id, or the latest one of the pipeline.

    Raises:
        SystemExit: there is no such run.
    """
    from benison.pipelines.records.runs import history

    runs = [run for run in history(root) if run.pipeline == pipeline and run_id in (None, run.id)]
    scored = [run for run in runs if any(node.id == "EnsembleScores" and node.outputs for node in run.nodes)]
    if not scored:
        raise SystemExit(
            f"{root}: no run {run_id or f'of {pipeline}'} with scores; run: benison run {pipeline} --root {root}"
        )
    outputs = {f"{node.id}.{key}": list(values) for node in scored[-1].nodes for key, values in node.outputs.items()}
    return ScoredRun(scored[-1].id, outputs)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]
    return "\n".join(lines) + "\n"
