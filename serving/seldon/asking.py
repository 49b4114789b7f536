"""Rows in, answers out: the members asked over gRPC and combined by `benison.serving.fan_out`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.serving.client import GrpcClient, ServerError
from benison.serving.errors import DataError
from benison.serving.fan_out import Answer, Endpoint, FanOut
from benison.serving.seldon import interface
from benison.serving.seldon.bindings import SavedModel, Server
from benison.serving.seldon.imported import Imported
from benison.serving.seldon.interface import Interface, Tensor
from benison.serving.signature_names import argument_names


async def ask(
    imported: Imported, rows: Sequence[Mapping[str, Any]], served: Mapping[str, Server], *, deadline_s: float
) -> Answer:
    """Asks the ensemble.

    Args:
        imported: spec and bindings.
        rows: values by input; None is a missing value, as a Benison model takes it: '', NaN or -1.
        served: a server for each node that is bound to a SavedModel.
        deadline_s: for each member's answer (seconds).

    Raises:
        DataError: a row lacks an input or has a wrong value.
        EnsembleError: the members do not fit together, or too few answered.
        ServerError: no member's server answers, or the transformer's does not.
    """
    places = {name: _server(name, imported.members[name], served) for name in imported.ensemble.members}
    faces = await _interfaces(places, deadline_s)
    endpoints = {
        name: _endpoint(place, faces[name], faces[name].answer(name, place.output))
        if name in faces
        # It is asked all the same, so that the answer says why it is missing.
        else Endpoint(place.target, place.model, place.version, place.signature, place.output)
        for name, place in places.items()
    }
    inputs = interface.common_inputs(faces)
    transformer = None
    if imported.transformer is not None:
        name = imported.ensemble.transformer
        place = _server(name, imported.transformer, served)
        face = (await _interfaces({name: place}, deadline_s))[name]
        interface.check_transformer(name, face, inputs)
        transformer, inputs = _endpoint(place, face), face.inputs
    async with FanOut(imported.ensemble, endpoints, transformer=transformer, deadline_s=deadline_s) as fan_out:
        return await fan_out.predict(columns(rows, inputs))


def columns(rows: Sequence[Mapping[str, Any]], inputs: Mapping[str, Tensor]) -> dict[str, NDArray]:
    """Rows as one array [batch, …] per input; further columns are ignored.

    Raises:
        DataError: a row lacks an input, or has a wrong value.
    """
    named = [{argument: row[name] for name, argument in argument_names(row).items()} for row in rows]
    return {name: _column(name, tensor, named) for name, tensor in inputs.items()}


def _column(name: str, tensor: Tensor, rows: Sequence[Mapping[str, Any]]) -> NDArray:
    import tensorflow as tf

    types, absent, expected = _kind(tensor.dtype)
    values = []
    for number, row in enumerate(rows, start=1):
        if name not in row:
            raise DataError(f"row {number}: no column {name!r}; it has {', '.join(sorted(row))}")
        value = absent if row[name] is None else row[name]
        array = np.array(value, object)
        if not all(type(part) in types for part in array.ravel()) or not _has_shape(array, tensor):
            wanted = f"{expected}{_sizes(tensor)}"
            raise DataError(f"row {number}, column {name!r}: got {str(row[name])[:80]}, expected {wanted}")
        values.append(value)
    try:
        return np.array(values, tf.dtypes.as_dtype(tensor.dtype).as_numpy_dtype)
    except (ValueError, OverflowError) as error:  # lists of several sizes, or a number that is too large
        raise DataError(f"column {name!r}: cannot be made one {tensor.dtype} array of: {error}") from None


def _kind(dtype: str) -> tuple[tuple[type, ...], Any, str]:
    """What an input takes: the types of its values, the one that stands for a missing one, and its name in messages."""
    if dtype == "string":
        return (str,), "", "text"
    if dtype == "bool":
        return (bool,), None, "true or false"
    if dtype.startswith(("int", "uint")):
        return (int,), -1, "a whole number"
    return (int, float), float("nan"), "a number"


def _has_shape(value: NDArray, tensor: Tensor) -> bool:
    if tensor.shape is None:
        return True
    sizes = tensor.shape[1:]
    return len(sizes) == value.ndim and all(want in (-1, have) for want, have in zip(sizes, value.shape, strict=True))


def _sizes(tensor: Tensor) -> str:
    sizes = (tensor.shape or ())[1:]
    return f" in lists of the sizes {', '.join('any' if size == -1 else str(size) for size in sizes)}" if sizes else ""


def _server(name: str, place: SavedModel | Server, served: Mapping[str, Server]) -> Server:
    if isinstance(place, Server):
        return place
    given = served[name]
    return given.model_copy(update={"signature": place.signature, "output": place.output})


async def _interfaces(places: Mapping[str, Server], timeout_s: float) -> dict[str, Interface]:
    """The signatures of the models whose servers answer.

    Raises:
        EnsembleError: a model has none that can be asked.
        ServerError: no server answers.
    """

    async def one(name: str, place: Server) -> Interface:
        async with GrpcClient(place.target, timeout=timeout_s) as client:
            return interface.choose(name, await client.metadata(place.model, place.version), place.signature)

    told = await asyncio.gather(*(one(name, place) for name, place in places.items()), return_exceptions=True)
    for said in told:
        if isinstance(said, BaseException) and not isinstance(said, ServerError):
            raise said
    found = {name: said for name, said in zip(places, told, strict=True) if isinstance(said, Interface)}
    if not found:
        raise next(said for said in told if isinstance(said, ServerError))
    return found


def _endpoint(place: Server, face: Interface, output: str = "") -> Endpoint:
    return Endpoint(place.target, place.model, place.version, face.signature, output)
