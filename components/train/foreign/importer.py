"""ModelImport: imports a model that was trained elsewhere as a member of the ensemble.

Nothing is fitted. The node checks the model, asks it about rows of `train`, `valid` and `blend`, and exports it with
the signatures of all members. Where the other members learn in folds, because the table is small, its answers to the
same rows stand beside theirs.

If it has learnt from these rows itself, its answers to them are better than to new rows. The config then allows no
combiner that is fitted to them, and Blessing warns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from benison.components import raw_examples
from benison.components.feature_groups import FOREIGN, select
from benison.components.ingest import data_files
from benison.components.ingest.arguments import CONTENTS, FILES, FINGERPRINT
from benison.components.train import member, out_of_fold, signatures
from benison.components.train.foreign import columns, onnx_model, saved_model
from benison.components.train.foreign.answer import Answer
from benison.components.train.foreign.imported import Imported
from benison.components.train.foreign.settings import ForeignModel
from benison.components.train.out_of_fold import OutOfFold
from benison.components.train.rows import FileRows
from benison.serving.errors import UsageError
from benison.serving.files import checksum
from benison.serving.missing_values import marker

FILE = "foreign.json"  # beside the model: its settings, for reports
_LEARNT = ("train", "valid", "blend")
_LOADERS = {"saved_model": saved_model.load, "onnx": onnx_model.load}
_ODD_NUMBERS = (0.0, -1.0, 0.5, 1e9, -1e9)  # that real rows may lack; a converted model must answer alike
_ODD_WHOLE_NUMBERS = (0, -1, 2**31 - 1)
_COMPANY = 1e-4  # of an answer, if other rows are beside the row
_TOLERANCE = 1e-5  # of an answer, or of its share if it is larger than 1
_ODD_TEXTS = ("", "\u00e9 never seen")

Predict = Callable[[Mapping[str, Any]], Any]


class Executor(base_executor.BaseExecutor):
    """Executor that imports one model."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        import tensorflow_transform as tft

        config = json.loads(exec_properties["custom_config"])
        model = ForeignModel(**config["model"])
        transform = tft.TFTransformOutput(artifact_utils.get_single_uri(input_dict["transform_graph"]))
        artifact = artifact_utils.get_single_instance(output_dict["model"])
        record_files(artifact, config["files"])
        answer = Answer(model, member.class_names(transform))
        imported = _LOADERS[model.kind](model)
        if fault := answer.form_fault(imported.dtype, imported.shape, imported.output):
            raise UsageError(f"{model.where('output')}: {fault}")
        spec = member.feature_spec(transform, FOREIGN)
        raw = raw_examples.feature_spec(transform)
        optional = {name for name in model.columns if not hasattr(raw[name], "shape")}
        inputs = columns.inputs_of(model, imported.inputs, spec, optional)

        def predict(features: Mapping[str, Any]) -> Any:
            return answer.of(imported.call(inputs(features)))

        splits = {name: raw_examples.split_files(input_dict["examples"], name) for name in _splits(input_dict)}
        few = FileRows(splits["valid"], transform, FOREIGN).first()
        if few is not None:
            check_few(model, predict, answer, few, optional)
            check_converted(model, imported, inputs, few)
        folder = Path(artifact.uri)
        if "blend" in splits:
            rows = FileRows([file for files in splits.values() for file in files], transform, FOREIGN).arrays()
            answers = out_of_fold.answer(predict, rows)
            answer.check(answers, ", ".join(splits))
            OutOfFold(rows.targets, answers, rows.weights).save(folder)
        signatures.export(
            path_utils.serving_model_dir(artifact.uri),
            transform,
            exec_properties["label"],
            predict=lambda transformed: predict(select(FOREIGN, transformed)),
            tracked=imported.tracked,
        )
        (folder / FILE).write_text(json.dumps(config["model"], indent=2) + "\n", encoding="utf-8")
        print(f"{model.kind} {model.path}: {len(model.columns)} columns, output {imported.output}; nothing is trained")


class _Spec(ComponentSpec):
    PARAMETERS = {"label": ExecutionParameter(type=str), "custom_config": ExecutionParameter(type=str)}
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
    }
    OUTPUTS = {"model": ChannelParameter(type=standard_artifacts.Model)}


class ModelImport(base_component.BaseComponent):
    """Node that imports a model that was trained elsewhere.

    Args:
        examples: transformed examples with the splits `train`, `valid` and, of a small table, `blend`.
        transform_graph: Transform's output.
        label: name of the raw label.
        model: the fields of `ForeignModel`.
        files: pattern of the model's files.
        user_code: added to `custom_config`, so that the cache key has the content of these files.
    """

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        label: str,
        model: Mapping[str, Any],
        files: str,
        user_code: Mapping[str, Any],
    ) -> None:
        super().__init__(
            _Spec(
                examples=examples,
                transform_graph=transform_graph,
                label=label,
                custom_config=json.dumps({"model": dict(model), "files": files, **user_code}, sort_keys=True),
                model=types.Channel(type=standard_artifacts.Model),
            )
        )


def record_files(artifact: types.Artifact, pattern: str) -> None:
    """Record the files of a model and their hashes in its artifact, for the lineage.

    Raises:
        DataError: there are none.
    """
    files = data_files.find(pattern)
    hashes = [{"sha256": checksum.of_file(Path(file))} for file in files]
    artifact.set_string_custom_property(FILES, json.dumps(files))
    artifact.set_string_custom_property(CONTENTS, json.dumps(hashes))
    whole = data_files.of_contents((file, content["sha256"]) for file, content in zip(files, hashes, strict=True))
    artifact.set_string_custom_property(FINGERPRINT, whole)


def check_few(
    model: ForeignModel, predict: Predict, answer: Answer, rows: Mapping[str, Any], optional: set[str]
) -> None:
    """Check the answers to some rows, to the same rows with missing cells, and to half of them.

    Args:
        model: its settings.
        predict: from raw columns to answers.
        answer: checks the answers.
        rows: the rows, Tensors [rows, n] by column.
        optional: the columns of which a cell may be missing.

    Raises:
        UsageError: an answer is not finite or no probability, or changes with the rows beside it.
    """
    together = np.asarray(predict(rows))
    answer.check(together, "rows of valid")
    half = (len(together) + 1) // 2
    alone = np.asarray(predict({name: values[:half] for name, values in rows.items()}))
    if not np.allclose(alone, together[:half], rtol=_COMPANY, atol=_COMPANY):
        raise UsageError(
            f"{model.where('path')}: the model answers a row otherwise beside other rows, or otherwise each time; "
            "export it for inference, without a mean over the batch and without random numbers"
        )
    for name in sorted(optional):
        without = _with(rows, name, marker(rows[name].dtype.name))
        answer.check(np.asarray(predict(without)), f"rows of valid without the column {name!r}")


def check_converted(
    model: ForeignModel, imported: Imported, inputs: Callable[[Mapping[str, Any]], Any], rows: Mapping[str, Any]
) -> None:
    """Compare a converted model with its own runtime on real rows, and on rows with odd values in each column.

    Raises:
        UsageError: it answers otherwise, or answers a row that its own runtime refuses.
    """
    if imported.reference is None:
        return
    for what, changed in _odd_rows(rows):
        fed = inputs(changed)
        try:
            expected = np.asarray(imported.reference(fed), np.float64)
        except Exception as error:  # the runtime's own classes; it refuses these rows
            expected, reason = None, str(error).strip().splitlines()[0]
        got, refusal = _answer_or_refusal(imported, fed)
        where = f"{model.where('path')}: on {what}"
        if expected is None and got is not None:
            raise UsageError(f"{where}, the converted model answers, and its own runtime refuses: {reason}")
        if expected is not None and got is None:
            raise UsageError(f"{where}, the converted model fails: {refusal}")
        if expected is None or got is None:
            continue
        if got.shape != expected.shape:
            raise UsageError(f"{where}, the converted model answers {got.shape}, and its own runtime {expected.shape}")
        scale = np.maximum(np.abs(expected), 1.0)
        differ = ~np.isclose(got / scale, expected / scale, rtol=0, atol=_TOLERANCE, equal_nan=True)
        if differ.any():
            row = int(np.argmax(differ.reshape(len(differ), -1).any(axis=1)))
            raise UsageError(
                f"{where}, the converted model answers {np.ravel(got[row])[:5]}, and its own runtime "
                f"{np.ravel(expected[row])[:5]}"
            )


def _answer_or_refusal(imported: Imported, fed: Mapping[str, Any]) -> tuple[np.ndarray | None, str]:
    import tensorflow as tf

    try:
        return np.asarray(imported.call(fed), np.float64), ""
    except tf.errors.OpError as error:
        return None, str(error.message).splitlines()[0]


def _odd_rows(rows: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield rows and what they are: real ones, and the same with odd values in one column each."""
    yield "rows of valid", dict(rows)
    for name, values in rows.items():
        dtype = values.dtype
        odd = _ODD_TEXTS if dtype == "string" else _ODD_NUMBERS if dtype.is_floating else _ODD_WHOLE_NUMBERS
        for value in (marker(dtype.name), *odd):
            yield f"rows of valid with {value!r} in the column {name!r}", _with(rows, name, value)


def _with(rows: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    """Return rows with one value in all cells of a column."""
    import tensorflow as tf

    cells = tf.fill(tf.shape(rows[name]), tf.constant(value, rows[name].dtype))
    return {**rows, name: cells}


def _splits(input_dict: dict[str, list[types.Artifact]]) -> list[str]:
    """Return the splits that Transform wrote, in their order."""
    written = artifact_utils.decode_split_names(artifact_utils.get_single_instance(input_dict["examples"]).split_names)
    return [name for name in _LEARNT if name in written]
