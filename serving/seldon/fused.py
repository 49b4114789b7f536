"""Members and combiner as one SavedModel, which TensorFlow Serving serves without any of Benison."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benison.serving.errors import EnsembleError, UsageError
from benison.serving.seldon import interface
from benison.serving.seldon.bindings import SavedModel, Server
from benison.serving.seldon.imported import Imported
from benison.serving.seldon.interface import Tensor

Tensors = Mapping[str, Any]


def fuse(imported: Imported, target: Path) -> list[str]:
    """Writes one SavedModel, whole or not at all.

    | signature         | answers                                                             |
    |-------------------|---------------------------------------------------------------------|
    | `serving_default` | the ensemble, as `probabilities` or `prediction` float32 [batch, n] |
    | `members`         | each member by its name, as it answers itself                       |

    Both take the inputs of the transformer, or of the members where there is none. The spec lies in `assets.extra/`.

    Args:
        imported: spec and bindings.
        target: a folder that is not there yet.

    Returns:
        The names of the inputs.

    Raises:
        UsageError: the target is there already.
        EnsembleError: a node is bound to a server, or they do not fit together.
    """
    import keras
    import tensorflow as tf

    if target.exists():
        raise UsageError(f"{target}: is there already; give a folder that is not, such as MODEL/1")
    folders = _folders(imported)
    faces = {name: interface.of_folder(path, imported.members[name].signature) for name, path in folders.items()}
    answers = {name: face.answer(name, imported.members[name].output) for name, face in faces.items()}
    _check_answers({name: face.outputs[answers[name]] for name, face in faces.items()})
    transform, inputs, transformer_model = _transform(imported, interface.common_inputs(faces))
    loaded: dict[str, Any] = {name: tf.saved_model.load(str(path)) for name, path in folders.items()}

    def members(given: Tensors) -> dict[str, Any]:
        ready = transform(given)
        return {
            name: loaded[name].signatures[faces[name].signature](**ready)[answers[name]]
            for name in imported.ensemble.members
        }

    def ensemble(given: Tensors) -> dict[str, Any]:
        outputs = {name: _wide(values) for name, values in members(given).items()}
        return {imported.ensemble.output: imported.ensemble.combine(outputs)}

    archive = keras.export.ExportArchive()
    for model in (*loaded.values(), *transformer_model):
        archive.track(model)
    signature = [{name: _spec(name, tensor) for name, tensor in inputs.items()}]
    archive.add_endpoint("serving_default", ensemble, signature)
    archive.add_endpoint("members", members, signature)
    _write(archive, imported, target)
    return sorted(inputs)


def _folders(imported: Imported) -> dict[str, Path]:
    places: dict[str, SavedModel | Server] = dict(imported.members)
    if imported.transformer is not None:
        places[imported.ensemble.transformer] = imported.transformer
    away = [f"{name} ({place})" for name, place in places.items() if isinstance(place, Server)]
    if away:
        raise EnsembleError(
            f"cannot be fused, because what is on a server is not here: {', '.join(away)}; bind it to a SavedModel"
        )
    return {name: place.path for name, place in imported.members.items() if isinstance(place, SavedModel)}


def _transform(
    imported: Imported, inputs: Mapping[str, Tensor]
) -> tuple[Callable[[Tensors], Tensors], Mapping[str, Tensor], list[Any]]:
    """What the inputs pass through, what it takes, and the model that does it."""
    import tensorflow as tf

    place = imported.transformer
    if not isinstance(place, SavedModel):
        return lambda given: given, inputs, []
    face = interface.of_folder(place.path, place.signature)
    interface.check_transformer(imported.ensemble.transformer, face, inputs)
    model = tf.saved_model.load(str(place.path))
    return lambda given: dict(model.signatures[face.signature](**given)), face.inputs, [model]


def _check_answers(answers: Mapping[str, Tensor]) -> None:
    """Now, because a tracer would wrap what is raised while it traces."""
    shapes = {name: tensor.shape for name, tensor in answers.items()}
    shown = ", ".join(f"{name} {'of any rank' if shape is None else list(shape)}" for name, shape in shapes.items())
    if any(shape is None or len(shape) not in (1, 2) for shape in shapes.values()):
        raise EnsembleError(f"expected answers of the shape [batch] or [batch, n], got {shown}")
    if len({shape[1] if shape and len(shape) == 2 else 1 for shape in shapes.values()} - {-1}) > 1:
        raise EnsembleError(f"the members' answers are of different shapes, so nothing can be combined: {shown}")


def _wide(values: Any) -> Any:
    """An answer as [batch, n]."""
    import tensorflow as tf

    return values if values.shape.rank == 2 else tf.reshape(values, [-1, 1])


def _spec(name: str, tensor: Tensor) -> Any:
    import tensorflow as tf

    shape = None if tensor.shape is None else [None if size == -1 else size for size in tensor.shape]
    return tf.TensorSpec(shape, tensor.dtype, name=name)


def _write(archive: Any, imported: Imported, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Of a name that TF Serving ignores, should it look at the folder meanwhile.
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.incoming-", dir=target.parent))
    try:
        model = aside / "model"
        archive.write_out(str(model), verbose=False)
        (model / "assets.extra").mkdir(exist_ok=True)
        imported.ensemble.save(model / "assets.extra")
        os.rename(model, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
