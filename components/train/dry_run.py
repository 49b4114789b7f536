"""Tries the user's code without data: imports it, traces and calls the features, builds and calls every member.

It finds what takes no data to find, and all mistakes at once. The raw features are those of the curated schema; without
one, only the imports can be tried. The raw rows are made up, some with missing cells, and TFT makes up what an analysis
would find. The transformed features of the members are made up too: random numbers, id 0 and ''.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benison.components import feature_groups, raw_examples, user_code
from benison.components.feature_groups import DENSE, TREES
from benison.components.label_classes import LabelSchema
from benison.components.train import answers, member
from benison.components.train.linear.settings import FUNCTION as LINEAR_FUNCTION
from benison.components.train.recorded import Recorded, unread_faults
from benison.components.train.search_space import BATCH_SIZE, hyperparameters
from benison.components.train.trees.settings import FUNCTION as TREES_FUNCTION
from benison.components.transform import RESERVED, user_features, without_missing
from benison.serving.ensemble import Custom
from benison.serving.ensemble.combiners import Output
from benison.serving.errors import UsageError

_ROWS = 16
_UNKNOWN_CLASSES = 3
_TOLERANCE = 1e-4  # of a combiner's answers
_TYPES = ("float32", "int64", "string")  # of tf.Example


@dataclass(frozen=True)
class Project:
    """The user's code and the settings that it is called with.

    Attributes:
        features: reference to the function of the features.
        columns: the kind of each column, for generic features.
        label: name of the raw label.
        problem: binary, multiclass or regression.
        recipes: the members, fields of `member.Recipe`.
        schema: the curated schema's file; None if there is none yet.
        combiner: reference to the user's own combiner; '' if there is none.
        others: references to other functions, which are only imported, by their key in the YAML.
        withheld: columns besides the label that are no features.
        metrics: references to the user's own metrics, by their key.
    """

    features: str
    columns: Mapping[str, Any]
    label: str
    problem: str
    recipes: Sequence[Mapping[str, Any]]
    schema: str | None = None
    combiner: str = ""
    others: Mapping[str, str] = field(default_factory=dict)
    withheld: Collection[str] = ()
    metrics: Mapping[str, str] = field(default_factory=dict)


def mistakes(project: Project) -> list[str]:
    """Return the mistakes in the user's code, one line each with its key in the YAML."""
    lines = [f"{key}: {line}" for key, reference in project.others.items() for line in tried(reference, _load)]
    specs: dict[str, Any] = {}

    def trace(reference: str) -> Iterator[str]:
        specs.update(_feature_spec(project) if project.schema else {})
        return iter(_load(reference))

    lines += [f"features: {line}" for line in tried(project.features, trace)]
    classes = class_count(project)
    for fields in project.recipes:
        recipe = member.Recipe(**fields)
        if not recipe.function:  # a model that was trained elsewhere
            continue
        if recipe.kind != "keras":
            faults = tried(recipe.function, _trees_faults)
        else:
            faults = tried(recipe.function, lambda _, recipe=recipe: _member_faults(recipe, specs, classes))
        lines += [f"ensemble.members.{recipe.name}: {line}" for line in faults]
    if project.combiner:
        faults = tried(project.combiner, lambda reference: _combiner_faults(reference, project, classes))
        lines += [f"ensemble.combiner: {line}" for line in faults]
    return lines


def tried(reference: str, check: Any) -> Iterator[str]:
    """Yield the faults that a check returns or raises, each with the place of the function."""
    try:
        with answers.at(reference):
            faults = list(check(reference))
    except UsageError as error:
        yield str(error)
        return
    except SystemExit as error:
        yield f"{answers.location(reference)}: the code called sys.exit({error.code!r})"
        return
    yield from (f"{answers.location(reference)}: {fault}" for fault in faults)


def _load(reference: str) -> list[str]:
    user_code.load(reference)
    return []


def _feature_spec(project: Project) -> dict[str, Any]:
    """Trace the user's features; return the spec of each, or nothing if only the data can tell their sizes.

    Raises:
        UsageError: they are not a dict of dense tensors, or cannot handle a missing cell.
    """
    import tensorflow as tf
    from tensorflow_transform import annotators, graph_context, impl_helper
    from tensorflow_transform.tf_metadata import schema_utils

    schema = _schema(project)
    # As in a run: a column that the YAML uses is read, whatever stage the schema gives it.
    raw_examples.clear_stage(schema, [name for name, column in project.columns.items() if column["kind"] != "ignore"])
    raw = schema_utils.schema_as_feature_spec(schema).feature_spec
    raw = {name: spec for name, spec in raw.items() if name not in (project.label, *project.withheld)}
    returned: dict[str, Any] = {}
    lists, single = raw_examples.list_columns(schema), raw_examples.single_columns(schema)

    def traced(inputs: dict[str, Any]) -> dict[str, Any]:
        cleaned = without_missing(inputs, lists=lists, single=single)
        features = user_features(project.features, cleaned, project.columns)
        answers.refuse(_features_fault(features))
        if isinstance(features.get(TREES), Mapping):
            of_trees = feature_groups.flat(TREES, features[TREES])
            features = {**{name: value for name, value in features.items() if name != TREES}, **of_trees}
        returned.update(features)
        return dict(features)

    types = impl_helper.get_type_specs_from_feature_specs(raw)
    tables = annotators.object_tracker_scope(annotators.ObjectTracker())  # holds the tables of the traced function
    with tempfile.TemporaryDirectory() as folder, tables:
        # As TFT's `trace_preprocessing_function`, which does not return the function itself.
        context = graph_context.TFGraphContext(
            module_to_export=tf.Module(), temp_dir=folder, evaluated_replacements=None
        )
        transform = impl_helper.get_traced_transform_fn(traced, types, context).get_concrete_function()
        answers.refuse(_missing_cell_fault(transform, raw))
    if not all(value.shape[1:].is_fully_defined() for value in returned.values()):
        return {}  # a size may depend on the data, such as that of a vocabulary
    return {
        name: tf.io.FixedLenFeature(value.shape.as_list()[1:], value.dtype)
        for name, value in feature_groups.select(DENSE, returned).items()
    }


def _features_fault(features: Any) -> str | None:
    """Return what is wrong with the features that the user's function returned; None if nothing is."""
    import tensorflow as tf

    if not isinstance(features, Mapping) or not features:
        got = "an empty dict" if isinstance(features, Mapping) else member.kind_of(features)
        return f"returned {got}, expected a dict of features by name"
    faults = []
    for name, value in features.items():
        if not isinstance(name, str) or not name or name in RESERVED or feature_groups.reserved(name):
            faults.append(f"the name {name!r} is not allowed; expected text other than {', '.join(sorted(RESERVED))}")
        elif name == TREES and isinstance(value, Mapping) and value:
            faults += [f"{TREES}: {fault}" for fault in [_features_fault(value)] if fault]
        elif isinstance(value, (tf.SparseTensor, tf.RaggedTensor)):
            kind = "sparse" if isinstance(value, tf.SparseTensor) else "ragged"
            faults.append(f"feature {name!r} is {kind}, expected a dense tensor: use benison.dense")
        elif not tf.is_tensor(value):
            faults.append(f"feature {name!r} is {member.kind_of(value)}, expected a tensor [batch, n]")
        elif value.dtype.name not in _TYPES:
            faults.append(f"feature {name!r} is {value.dtype.name}, expected one of {', '.join(_TYPES)}: use tf.cast")
        elif not value.shape.rank:
            kind = "a scalar" if value.shape.rank == 0 else "of unknown rank"
            faults.append(f"feature {name!r} is {kind}, expected [batch, n]: use tf.ensure_shape")
    return "; ".join(faults) or None


def _missing_cell_fault(transform: Any, raw: Mapping[str, Any]) -> str | None:
    """Call the features on rows in which cells of one column are missing; return the first fault, None without one."""
    import tensorflow as tf

    optional = [name for name, spec in raw.items() if isinstance(spec, tf.io.VarLenFeature)]
    try:
        transform(_raw_rows(raw, {}))
    except tf.errors.OpError:
        return None  # the made-up values do not fit this code
    # One call for all columns: each has a value in rows of its own, and in more than half of them, so that neither a
    # column nor several together have as many values as there are rows.
    random = np.random.default_rng(0)
    all_at_once = {
        name: np.sort(random.permutation(_ROWS)[: random.integers(_ROWS // 2 + 1, _ROWS)]) for name in optional
    }
    if not _fault_of_rows(transform, _raw_rows(raw, all_at_once)):
        return None
    for column in optional:
        where = f"where a cell of the column {column!r} is missing"
        if fault := _fault_of_rows(transform, _raw_rows(raw, {column: np.arange(0, _ROWS, 2)}), where):
            return fault
    return None


def _fault_of_rows(transform: Any, rows: Mapping[str, Any], where: str = "") -> str | None:
    """Call the features on rows; return the fault, None without one.

    Args:
        transform: from raw columns to features.
        rows: see `_raw_rows`.
        where: what is special about the rows.
    """
    import tensorflow as tf

    try:
        features = transform(rows)
    except tf.errors.OpError as error:
        reason = str(error.message).splitlines()[0]
        return f"fails {where}: {reason}"
    for name, values in features.items():
        if len(values) != _ROWS:
            return f"feature {name!r} has {len(values)} of {_ROWS} rows {where}: use benison.dense"
    return None


def _raw_rows(raw: Mapping[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return made-up rows of the raw columns; a column of `kept` has a value only in these rows."""
    import tensorflow as tf

    columns: dict[str, Any] = {}
    for name, spec in raw.items():
        rows = kept.get(name, np.arange(_ROWS))
        if isinstance(spec, tf.io.VarLenFeature):
            indices = np.stack([rows, np.zeros_like(rows)], axis=1)
            columns[name] = tf.SparseTensor(indices, _raw_values([len(rows)], spec.dtype), [_ROWS, 1])
        else:
            columns[name] = _raw_values([_ROWS, *spec.shape], spec.dtype)
    return columns


def _raw_values(shape: Sequence[int], dtype: Any) -> Any:
    import tensorflow as tf

    return tf.fill(shape, "a") if dtype == tf.string else tf.ones(shape, dtype)


def class_count(project: Project) -> int | None:
    """Return the number of classes of a project, 0 for regression; None if only the data can tell."""
    if project.problem != "multiclass":
        return 0 if project.problem == "regression" else 2
    listed = LabelSchema.of(_schema(project), project.label).listed if project.schema else ()
    return len(listed) or None


def _schema(project: Project) -> Any:
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    return text_format.Parse(Path(project.schema or "").read_text(encoding="utf-8"), schema_pb2.Schema())


def _member_faults(recipe: member.Recipe, specs: Mapping[str, Any], classes: int | None) -> list[str]:
    """Build a member with the lowest and the highest values of its search space, and call it.

    Raises:
        UsageError: it cannot be built, or does not answer as promised.
    """
    import keras
    import tensorflow as tf

    user_code.load(recipe.function)
    if not specs:
        return []
    width = _UNKNOWN_CLASSES if classes is None else classes
    read = {BATCH_SIZE}  # Trainer and Tuner read it
    space = (recipe.tuner or {}).get("space", {})
    for end in (min, max):
        hp = hyperparameters(recipe)
        hp.values = Recorded({**hp.values, **{name: _end(values, end) for name, values in space.items()}}, read)
        model = member.build_model(recipe, hp, specs, width)
        if end is min:
            promise = answers.Promise(recipe.problem, classes)
            try:
                answers.check_model(model, _made_up_rows(specs), promise, recipe.function, real=False)
            except UsageError as error:
                # A value that was made up, such as an id, may be out of range; Trainer tries real rows.
                if not isinstance(error.__cause__, tf.errors.OpError):
                    raise
    keras.backend.clear_session()
    searched = () if "class" in (recipe.tuner or {}) else space  # a class of the user may read them
    return unread_faults({*recipe.hyperparameters, *searched}, read, recipe.function, known=["learning_rate"])


def _trees_faults(reference: str) -> list[str]:
    """Import a function of trees, if it is the user's. It is not called: made-up rows may have nothing to learn."""
    if reference in (LINEAR_FUNCTION, TREES_FUNCTION):
        return []
    try:
        inspect.signature(user_code.load(reference)).bind(None, None)
    except TypeError:
        return ["expected a function of two arguments, (rows, hp), that returns a fitted model of trees"]
    return []


def _combiner_faults(reference: str, project: Project, classes: int | None) -> list[str]:
    """Call a combiner as EnsembleBuilder and a served model do, on made-up answers of the members.

    Raises:
        EnsembleError: its file cannot be run by itself.
    """
    import tensorflow as tf

    file, _, function = reference.rpartition(":")
    combiner = Custom(function=function, source=Path(file).read_text(encoding="utf-8"))
    regression = project.problem == "regression"
    output: Output = "prediction" if regression else "probabilities"
    width = 1 if regression else classes or _UNKNOWN_CLASSES
    generator = np.random.default_rng(0)
    size = (len(project.recipes), _ROWS, width)
    numbers = generator.normal(size=size) if regression else generator.dirichlet(np.ones(width), size[:2])
    members = {str(fields["name"]): rows for fields, rows in zip(project.recipes, numbers, strict=True)}

    def combined(rows: slice) -> Any:
        return combiner.combine({name: tf.constant(m[rows], tf.float32) for name, m in members.items()}, output)

    together = combined(slice(None))
    if together.shape != (_ROWS, width):
        got = f"float32 {together.shape.as_list()}"
        return [f"returned {got} for {_ROWS} rows, expected [{_ROWS}, {width}], the shape of each member's answers"]
    answer = np.asarray(together)
    if not np.isfinite(answer).all():
        return ["returned numbers that are not finite"]
    if not regression and (answer.min() < -_TOLERANCE or np.abs(answer.sum(axis=1) - 1).max() > _TOLERANCE):
        return ["returned rows that are no probabilities; expected values from 0 to 1 whose sum is 1"]
    alone = np.concatenate([combined(slice(row, row + 1)) for row in range(_ROWS)])
    if np.abs(alone - answer).max() > _TOLERANCE * max(1.0, np.abs(answer).max()):
        return ["its answer to a row depends on the other rows of the batch, such as a rank; a client may send one row"]
    return []


def _end(values: Any, end: Any) -> Any:
    """Return one end of a range, or the first or last of several choices."""
    if isinstance(values, Mapping):
        return end(values["min"], values["max"])
    return values[0] if end is min else values[-1]


def _made_up_rows(specs: Mapping[str, Any]) -> dict[str, Any]:
    """Return features [rows, n] by name: random numbers and a row of zeros; id 0; ''."""
    import tensorflow as tf

    generator = np.random.default_rng(0)
    rows = {}
    for name, spec in specs.items():
        shape = (_ROWS, *(spec.shape or [1]))
        numbers = generator.normal(size=shape)
        numbers[0] = 0
        values = {tf.string: np.full(shape, ""), tf.int64: np.zeros(shape)}.get(spec.dtype, numbers)
        rows[name] = tf.cast(values, spec.dtype) if spec.dtype != tf.string else tf.constant(values)
    return rows
