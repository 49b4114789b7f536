"""The export of members and combiner as one SavedModel, which TensorFlow Serving serves without Benison."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benison.serving import fan_out, missing_values
from benison.serving.errors import EnsembleError, UsageError
from benison.serving.seldon import interface, missing_cells
from benison.serving.seldon.bindings import SavedModel, Server
from benison.serving.seldon.imported_ensemble import ImportedEnsemble
from benison.serving.seldon.interface import Tensor

Tensors = Mapping[str, Any]


def fuse(imported: ImportedEnsemble, target: Path) -> list[str]:
    """Write one SavedModel, atomically.

    | signature         | outputs                                                             |
    |-------------------|---------------------------------------------------------------------|
    | `serving_default` | the ensemble, as `probabilities` or `prediction` float32 [batch, n] |
    | `members`         | each member's own answer, by its name                               |

    Both take the inputs of the transformer, or of the members if there is none. `assets.extra/` contains the spec and,
    if the models that take these inputs say so, `raw_inputs.json` with the column of each, and its value for a missing
    cell.

    Args:
        imported: Spec and bindings.
        target: A folder that does not exist yet.

    Returns:
        The names of the inputs.

    Raises:
        UsageError: The target already exists.
        EnsembleError: A node is bound to a server, or the models do not fit together.
        DataError: The models expect different values for a missing cell of one input.
    """
    import keras
    import tensorflow as tf

    if target.exists():
        raise UsageError(f"{target}: already exists; give a new folder, such as MODEL/1")
    folders = _folders(imported)
    interfaces = {
        name: interface.read_interface(path, imported.members[name].signature) for name, path in folders.items()
    }
    answers = {name: member.answer(name, imported.members[name].output) for name, member in interfaces.items()}
    _check_shapes({name: member.outputs[answers[name]] for name, member in interfaces.items()})
    transform, inputs, transformer_model = _transform(imported, interface.common_inputs(interfaces))
    loaded: dict[str, Any] = {name: tf.saved_model.load(str(path)) for name, path in folders.items()}

    def members(raw_inputs: Tensors) -> dict[str, Any]:
        member_inputs = transform(raw_inputs)
        return {
            name: loaded[name].signatures[interfaces[name].signature](**member_inputs)[answers[name]]
            for name in imported.ensemble.members
        }

    def ensemble(raw_inputs: Tensors) -> dict[str, Any]:
        outputs = {name: _as_matrix(values) for name, values in members(raw_inputs).items()}
        return {imported.ensemble.output: imported.ensemble.combine(outputs)}

    _check_classes(interfaces, inputs, transform, loaded)
    archive = keras.export.ExportArchive()
    for model in (*loaded.values(), *transformer_model):
        archive.track(model)
    signature = [{name: _spec(name, tensor) for name, tensor in inputs.items()}]
    archive.add_endpoint("serving_default", ensemble, signature)
    archive.add_endpoint("members", members, signature)
    missing, columns = missing_cells.of_ensemble(imported, inputs), missing_cells.columns_of(imported, inputs)
    described = {
        name: missing_values.describe_input(columns[name], tensor.dtype, missing.get(name))
        for name, tensor in inputs.items()
    }
    is_told = missing or any(name != column for name, column in columns.items())
    _write(archive, imported, described if is_told else {}, target)
    return sorted(inputs)


def _folders(imported: ImportedEnsemble) -> dict[str, Path]:
    bindings: dict[str, SavedModel | Server] = dict(imported.members)
    if imported.transformer is not None:
        bindings[imported.ensemble.transformer] = imported.transformer
    remote = [f"{name} ({binding})" for name, binding in bindings.items() if isinstance(binding, Server)]
    if remote:
        raise EnsembleError(f"cannot fuse models that are on a server: {', '.join(remote)}; bind them to SavedModels")
    return {name: binding.path for name, binding in imported.members.items() if isinstance(binding, SavedModel)}


def _transform(
    imported: ImportedEnsemble, inputs: Mapping[str, Tensor]
) -> tuple[Callable[[Tensors], Tensors], Mapping[str, Tensor], list[Any]]:
    """Return the function that transforms the inputs, the inputs that it takes, and the models that it uses."""
    import tensorflow as tf

    binding = imported.transformer
    if not isinstance(binding, SavedModel):
        return lambda raw_inputs: raw_inputs, inputs, []
    transformer = interface.read_interface(binding.path, binding.signature)
    interface.check_transformer(imported.ensemble.transformer, transformer, inputs)
    model = tf.saved_model.load(str(binding.path))
    return lambda raw_inputs: dict(model.signatures[transformer.signature](**raw_inputs)), transformer.inputs, [model]


def _check_shapes(answers: Mapping[str, Tensor]) -> None:
    """Check that the members' answers can be combined, before tracing: a tracer wraps the exceptions raised in it."""
    shapes = {name: tensor.shape for name, tensor in answers.items()}
    shown = ", ".join(f"{name} {'of any rank' if shape is None else list(shape)}" for name, shape in shapes.items())
    if any(shape is None or len(shape) not in (1, 2) for shape in shapes.values()):
        raise EnsembleError(f"expected answers of shape [batch] or [batch, n], got {shown}")
    if len({shape[1] if shape and len(shape) == 2 else 1 for shape in shapes.values()} - {-1}) > 1:
        raise EnsembleError(f"the members' answers have different shapes and cannot be combined: {shown}")


def _check_classes(
    interfaces: Mapping[str, interface.Interface],
    inputs: Mapping[str, Tensor],
    transform: Callable[[Tensors], Tensors],
    loaded: Mapping[str, Any],
) -> None:
    """Ask the members that name their classes for one row, and check that they name the same ones in one order."""
    import tensorflow as tf

    naming = [name for name, member in interfaces.items() if member.classes]
    if len(naming) < 2:
        return
    row = {
        name: tf.zeros([1, *(max(size, 1) for size in (tensor.shape or (1,))[1:])], tensor.dtype)
        for name, tensor in inputs.items()
    }
    try:
        member_inputs = transform(row)
        answers = {name: loaded[name].signatures[interfaces[name].signature](**member_inputs) for name in naming}
    except (tf.errors.OpError, ValueError) as error:
        raise EnsembleError(
            f"the classes of {', '.join(naming)} cannot be compared: a row of zeros gets no answer: "
            f"{str(error).splitlines()[0]}"
        ) from None
    fan_out.check_same_classes(
        {name: [text.decode() for text in answers[name][interface.CLASSES].numpy()[0]] for name in naming}
    )


def _as_matrix(values: Any) -> Any:
    """Return an answer of shape [batch] or [batch, n] as [batch, n]."""
    import tensorflow as tf

    return values if values.shape.rank == 2 else tf.reshape(values, [-1, 1])


def _spec(name: str, tensor: Tensor) -> Any:
    import tensorflow as tf

    shape = None if tensor.shape is None else [None if size == -1 else size for size in tensor.shape]
    return tf.TensorSpec(shape, tensor.dtype, name=name)


def _write(archive: Any, imported: ImportedEnsemble, inputs: Mapping[str, Mapping[str, Any]], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # TF Serving ignores this name, if it reads the folder in the meantime.
    incoming = Path(tempfile.mkdtemp(prefix=f".{target.name}.incoming-", dir=target.parent))
    try:
        model = incoming / "model"
        archive.write_out(str(model), verbose=False)
        (model / "assets.extra").mkdir(exist_ok=True)
        imported.ensemble.save(model / "assets.extra")
        if inputs:
            missing_values.write(model, inputs)
        os.rename(model, target)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
