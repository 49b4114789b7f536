"""Scorer: writes the outputs of models for each row of `blend` and `test`, as Parquet.

All nodes that judge or combine models read these scores, so that all of them use the same rows. Where members learnt
from `blend` too, because the table is small, their out-of-fold predictions take its place, as the split `out_of_fold`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from benison.components import raw_examples, sample_weights
from benison.components.evaluate import baseline as baselines
from benison.components.evaluate.alignment import NotComparable, align
from benison.components.evaluate.metrics import MEDIAN_METRIC
from benison.components.evaluate.score_writer import FILE, MODEL_PREFIX, SLICE_PREFIX, ScoreWriter
from benison.components.raw_columns import dense
from benison.components.train.member import class_names as class_names
from benison.components.train.out_of_fold import OutOfFold
from benison.components.transform import as_text
from benison.serving.close_names import did_you_mean
from benison.serving.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

BLEND, OUT_OF_FOLD, TEST = "blend", "out_of_fold", "test"
SERVED = "served"
METADATA_FILE = "scores.json"
BATCH_ROWS = 1024


class ModelScores(types.Artifact):
    """`scores.parquet`, one row per labelled example, and `scores.json` (see `Scores`)."""

    TYPE_NAME = "ModelScores"


@dataclass(frozen=True)
class Scores:
    """Outputs of models on the same rows.

    Attributes:
        rows: columns `split`, `row` (index in the split), `label` (class id or target), `weight` if the rows have
            sample weights, and `slice:NAME`; text columns are categorical.
        outputs: probabilities float32 [rows, classes] or predictions [rows, outputs], by model.
        classes: class names by id; empty for regression.
        reference: prediction of the reference model, from the labels that members learnt from: class frequencies
            [classes], or the mean [outputs].
        absent: the reason why a model has no scores, by model.
        median: the median of these labels [outputs]; empty for classification.
        combiner_split: the split of the rows for the combiner, `blend` or `out_of_fold`.
        weight: the column of the sample weights; '' if there is none.
    """

    rows: pd.DataFrame
    outputs: Mapping[str, np.ndarray]
    classes: tuple[str, ...]
    reference: np.ndarray
    absent: Mapping[str, str]
    median: np.ndarray
    combiner_split: str
    weight: str = ""

    @property
    def weights(self) -> np.ndarray | None:
        """The sample weights float64 [rows], all above 0; None if the rows have none."""
        return self.rows["weight"].to_numpy().astype(np.float64) if self.weight else None

    def guess(self, metric: str) -> np.ndarray:
        """Return the best answer by a metric that is the same for all rows, see `reference`.

        The median has the lowest absolute error. Against the mean, a model of a skewed label that answers a little less
        than the mean for every row would seem to know something.
        """
        return self.median if metric == MEDIAN_METRIC else self.reference

    @classmethod
    def load(cls, folder: Path, split: str | None = None) -> Scores:
        """Read the scores from a folder.

        Args:
            folder: folder of the artifact.
            split: `test`, or `blend` (the rows for the combiner, whatever their split), to read only these rows; None
                reads both.
        """
        import pyarrow.parquet as pq

        metadata = json.loads((folder / METADATA_FILE).read_text())
        if split == BLEND:
            split = metadata["combiner_split"]
        columns = pq.read_schema(folder / FILE).names
        of_models = [
            c for c in columns if c.startswith(MODEL_PREFIX) and c.removeprefix(MODEL_PREFIX) not in metadata["absent"]
        ]
        of_rows = [c for c in columns if not c.startswith(MODEL_PREFIX)]
        table = pq.read_table(
            folder / FILE,
            columns=of_rows + of_models,
            # Dictionary encoding keeps a slice column at a few bytes per row in memory.
            read_dictionary=[c for c in of_rows if c == "split" or c.startswith(SLICE_PREFIX)],
            filters=None if split is None else [("split", "=", split)],
        )
        reference = np.asarray(metadata["reference"])
        return cls(
            rows=table.select(of_rows).to_pandas(),
            outputs={c.removeprefix(MODEL_PREFIX): _matrix(table[c], len(reference)) for c in of_models},
            classes=tuple(metadata["classes"]),
            reference=reference,
            absent=metadata["absent"],
            median=np.asarray(metadata["median"]),
            combiner_split=metadata["combiner_split"],
            weight=metadata.get("weight", ""),  # scores of an earlier release have none
        )


def _matrix(column: Any, width: int) -> np.ndarray:
    """Convert a column of lists to an array float32 [rows, width]."""
    chunks = [chunk.flatten().to_numpy().reshape(-1, width) for chunk in column.chunks]
    return np.concatenate([np.zeros((0, width), np.float32), *chunks])


class Executor(base_executor.BaseExecutor):
    """Executor that runs the `serving_default` signature of each model on the raw examples, as a server does."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        import tensorflow_transform as tft

        transform = tft.TFTransformOutput(artifact_utils.get_single_uri(input_dict["transform_graph"]))
        label = exec_properties["label"]
        slices = json.loads(exec_properties["slices"])
        names = exec_properties["models"].split(",")
        paths = {
            name: path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict[f"model_{name}"]))
            for name in names
        }
        absent: dict[str, str] = {}
        if "baseline" in input_dict:
            served = baselines.load(artifact_utils.get_single_instance(input_dict["baseline"]))
            if served["path"] is None:
                absent[SERVED] = served["why_not"]
            elif not Path(served["path"]).is_dir():
                absent[SERVED] = f"version {served['version']} no longer exists at {served['path']}"
            else:
                paths[SERVED] = served["path"]
        spec = transform.raw_feature_spec()
        if input_dict.get("schema"):  # Transform knows only the columns that it uses; a slice may be any column
            spec = {**_schema_spec(input_dict["schema"]), **spec}
        if unknown := sorted(set(slices) - set(spec)):
            raise UsageError(f"slices: no column {unknown[0]!r}{did_you_mean(unknown[0], spec)}")
        if input_dict.get("schema"):
            lists = raw_examples.list_columns(raw_examples.load_schema(input_dict["schema"]))
            several = {n for n in slices if n in lists or len(raw_examples.input_shape(spec[n])) > 1}
            if several:
                raise UsageError(f"slices: the column {min(several)!r} has several values per row; expected one")
        weight = exec_properties["weight"]
        reader = ExampleReader(input_dict["examples"], spec, label, tuple(class_names(transform)), weight)
        folder = Path(artifact_utils.get_single_uri(output_dict["scores"]))
        splits = json.loads(exec_properties["splits"])
        apart = _out_of_fold(input_dict, names) if BLEND in splits else {}
        with ScoreWriter(folder, list(paths), slices, bool(reader.classes), bool(weight)) as writer:
            if apart:
                splits.remove(BLEND)
                first = next(iter(apart.values()))
                without = {name: np.full(len(first.labels), "", object) for name in slices}  # only `test` is sliced
                answers = {name: member.answers for name, member in apart.items()}
                writer.write(OUT_OF_FOLD, first.labels, without, answers, first.weights)
            absent |= _score_models(reader, paths, slices, splits, writer)
        labels, weights = (first.labels, first.weights) if apart else reader.labels("train")
        metadata = {
            "classes": reader.classes,
            **_guesses(labels, weights, len(reader.classes)),
            "absent": absent,
            "combiner_split": OUT_OF_FOLD if apart else BLEND,
            "weight": weight,
        }
        (folder / METADATA_FILE).write_text(json.dumps(metadata, indent=2))
        scored = ", ".join(name for name in paths if name not in absent)
        print(f"scored {scored} on {writer.rows} rows of {', '.join([*[OUT_OF_FOLD] * bool(apart), *splits])}")


class Scorer(base_component.BaseComponent):
    """Node that scores models.

    Args:
        models: channel of each model, by name.
        examples: raw examples with the splits `train`, `blend` and `test`.
        transform_graph: defines the types of the raw features and the class names.
        label: name of the raw label.
        slices: raw features whose values define the slices.
        baseline: output of Baseline; if it is given, the served version is scored too, as `served`.
        schema: the schema of the examples, for slices by a column that Transform does not use.
        splits: the splits to score.
        weight: name of the raw column of sample weights; None if all rows count the same.
    """

    SPEC_CLASS = ComponentSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        models: Mapping[str, types.BaseChannel],
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        label: str,
        slices: Sequence[str] = (),
        baseline: types.BaseChannel | None = None,
        schema: types.BaseChannel | None = None,
        splits: Sequence[str] = (BLEND, TEST),
        weight: str | None = None,
    ) -> None:
        # One input per model, so that lineage names them; so the spec depends on the models and is defined here.
        class Spec(ComponentSpec):
            PARAMETERS = {
                "models": ExecutionParameter(type=str),
                "label": ExecutionParameter(type=str),
                "slices": ExecutionParameter(type=str),
                "splits": ExecutionParameter(type=str),
                "weight": ExecutionParameter(type=str),
            }
            INPUTS = {
                **{f"model_{name}": ChannelParameter(type=standard_artifacts.Model) for name in models},
                "examples": ChannelParameter(type=standard_artifacts.Examples),
                "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
                "baseline": ChannelParameter(type=baselines.BaselineRecord, optional=True),
                "schema": ChannelParameter(type=standard_artifacts.Schema, optional=True),
            }
            OUTPUTS = {"scores": ChannelParameter(type=ModelScores)}

        super().__init__(
            Spec(
                **{f"model_{name}": channel for name, channel in models.items()},
                examples=examples,
                transform_graph=transform_graph,
                baseline=baseline,
                schema=schema,
                models=",".join(models),
                label=label,
                slices=json.dumps(list(slices)),
                splits=json.dumps(list(splits)),
                weight=weight or "",
                scores=types.Channel(type=ModelScores),
            )
        )


class ExampleReader:
    """Reader of labelled raw examples, in batches."""

    def __init__(
        self,
        examples: list[types.Artifact],
        spec: Mapping[str, Any],
        label: str,
        classes: tuple[str, ...],
        weight: str = "",
    ) -> None:
        self._examples = examples
        self._spec = spec
        self._label = label
        self._weight = weight
        self.classes = classes

    def batches(
        self, split: str, columns: Sequence[str]
    ) -> Iterator[tuple[np.ndarray, np.ndarray, dict[str, Any], np.ndarray | None]]:
        """Yield serialised examples [batch], labels [batch], columns as text, and sample weights [batch] or None.

        Rows without a label, and those of weight 0, are skipped.
        """
        import tensorflow as tf

        files = raw_examples.split_files(self._examples, split)
        spec = {name: self._spec[name] for name in (self._label, *columns, *([self._weight] if self._weight else []))}
        for records in tf.data.TFRecordDataset(files, compression_type="GZIP").batch(BATCH_ROWS):
            parsed = tf.io.parse_example(records, spec)
            labels = self._labels(parsed[self._label])
            known = labels >= 0 if self.classes else np.isfinite(labels)
            weights = None
            if self._weight:
                of_rows = sample_weights.of_cells(parsed[self._weight]).numpy()
                known &= of_rows > 0
                weights = of_rows[known]
            texts = {name: _as_text(parsed[name])[known] for name in columns}
            yield records.numpy()[known], labels[known], texts, weights

    def labels(self, split: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the labels of a split [rows], and their sample weights or None; see `batches`."""
        batches = [(labels, weights) for _, labels, _, weights in self.batches(split, [])]
        weights = [of_batch for _, of_batch in batches if of_batch is not None]
        return np.concatenate([labels for labels, _ in batches]), np.concatenate(weights) if weights else None

    def _labels(self, label: Any) -> np.ndarray:
        """Return class ids, -1 if missing or not seen in training; or targets, NaN if missing."""
        import tensorflow as tf

        if not self.classes:
            return np.asarray(dense(tf.cast(label, tf.float32), default=float("nan"))[:, 0])
        ids = {name: i for i, name in enumerate(self.classes)}
        return np.array([ids.get(text, -1) for text in _as_text(label)], dtype=np.int64)


def _schema_spec(schema: list[types.Artifact]) -> dict[str, Any]:
    """Return the parsing spec of all columns of a schema, also of those that are no features."""
    from tensorflow_transform.tf_metadata import schema_utils

    message = raw_examples.load_schema(schema)
    raw_examples.clear_stage(message, raw_examples.unread_columns(message))
    return dict(schema_utils.schema_as_feature_spec(message).feature_spec)


def _score_models(
    reader: ExampleReader,
    paths: Mapping[str, str],
    slices: Sequence[str],
    splits: Sequence[str],
    writer: ScoreWriter,
) -> dict[str, str]:
    """Write the outputs of all models; return the reason why the served version has none, by its name."""
    import tensorflow as tf

    signatures = {name: tf.saved_model.load(path).signatures["serving_default"] for name, path in paths.items()}
    absent: dict[str, str] = {}
    for split in splits:
        for records, labels, columns, weights in reader.batches(split, slices):
            outputs: dict[str, np.ndarray | None] = dict.fromkeys(paths)
            for name in paths:
                if name in absent:
                    continue
                try:
                    values = outputs[name] = _predict(signatures[name], records, reader.classes)
                    if name != SERVED:
                        check_finite(name, values, records, split)
                except NotComparable as difference:
                    if name != SERVED:
                        raise
                    absent[SERVED] = f"not compared with the served version: {difference}"
                except (ValueError, tf.errors.OpError) as error:
                    if name != SERVED:
                        raise
                    # The served version may have been trained with another schema; then it cannot be compared.
                    absent[SERVED] = f"the served version cannot read these rows: {str(error).splitlines()[0]}"
            writer.write(split, labels, columns, outputs, weights)
    return absent


def check_finite(model: str, values: np.ndarray, records: np.ndarray, split: str) -> None:
    """Check that a model's answers are numbers: no combiner and no metric can use others.

    Args:
        model: a member's name, or `ensemble`.
        values: the answers [rows, n].
        records: the rows, serialised tf.Examples.
        split: the split of the rows.

    Raises:
        DataError: an answer is NaN or infinite; the message shows the largest number of the first such row.
    """
    import tensorflow as tf

    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if not len(bad):
        return
    features = tf.train.Example.FromString(records[bad[0]]).features.feature
    numbers = {
        name: number
        for name, feature in features.items()
        for number in (*feature.float_list.value, *feature.int64_list.value)
    }
    largest = max(numbers, key=lambda name: abs(numbers[name]), default=None)
    where = f"; the largest number in the first of them is {largest!r}: {numbers[largest]:g}" if largest else ""
    raise DataError(
        f"{model}: its answer is NaN or infinite in {len(bad)} of {len(records)} rows of {split}{where}; limit such "
        "numbers in preprocessing_fn or by a domain in the schema, or look for a division or a logarithm in the model"
    )


def _predict(signature: Any, records: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """Run a model; return its output [batch, n] in the order of `classes`."""
    import tensorflow as tf

    outputs = signature(tf.constant(records, tf.string))
    return align({name: value.numpy() for name, value in outputs.items()}, classes)


def _guesses(labels: np.ndarray, weights: np.ndarray | None, classes: int) -> dict[str, list[float]]:
    """Return `reference` and `median` of the scores, from the labels of the rows that members learnt from."""
    of_rows = sample_weights.equal(len(labels)) if weights is None else weights.astype(np.float64)
    if classes:
        return {"reference": (np.bincount(labels, of_rows, classes) / of_rows.sum()).tolist(), "median": []}
    mean = float(np.average(labels.astype(np.float64), weights=of_rows))
    return {"reference": [mean], "median": [sample_weights.median(labels, of_rows)]}


def _out_of_fold(input_dict: Mapping[str, list[types.Artifact]], names: Sequence[str]) -> dict[str, OutOfFold]:
    """Return the out-of-fold predictions of all members; nothing if they have none."""
    folders = {name: Path(artifact_utils.get_single_uri(input_dict[f"model_{name}"])) for name in names}
    found = {name: member for name in names if (member := OutOfFold.load(folders[name])) is not None}
    labels = [member.labels for member in found.values()]
    if len(found) not in (0, len(names)) or any(not np.array_equal(labels[0], other) for other in labels[1:]):
        raise DataError(
            "the members have out-of-fold predictions of different rows; run again with --no-cache, so that all of "
            "them learn from the same rows"
        )
    return found


def _as_text(value: Any) -> np.ndarray:
    """Convert a raw column to text [batch]; a missing value becomes ''."""
    words = dense(as_text(value), default="")[:, 0].numpy()
    return np.array([word.decode("utf-8", "replace") for word in words], dtype=object)
