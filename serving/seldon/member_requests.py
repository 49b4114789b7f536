"""Predictions of an imported ensemble: send rows to the members over gRPC, combine with `benison.serving.fan_out`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.serving.client import GrpcClient, ServerError
from benison.serving.errors import DataError
from benison.serving.fan_out import Answer, Endpoint, FanOut
from benison.serving.seldon import interface, missing_cells
from benison.serving.seldon.bindings import SavedModel, Server
from benison.serving.seldon.imported_ensemble import ImportedEnsemble
from benison.serving.seldon.interface import Interface, Tensor
from benison.serving.signature_names import argument_names


async def predict(
    imported: ImportedEnsemble, rows: Sequence[Mapping[str, Any]], served: Mapping[str, Server], *, deadline_s: float
) -> Answer:
    """Return the ensemble's predictions for rows.

    Args:
        imported: Spec and bindings.
        rows: Values by input name; None is a missing value, sent as the members expect it. If one of them does not say
            how, as models of another tool and on a server, that is '' for text and NaN for a float; an integer has no
            such value.
        served: A server for each node that is bound to a SavedModel.
        deadline_s: Longest time for each member's answer (seconds).

    Raises:
        DataError: An input is missing in a row, or has a wrong value.
        EnsembleError: The members do not fit together, or too few answered.
        ServerError: No member's server answers, or the transformer's does not.
    """
    servers = {name: _server(name, imported.members[name], served) for name in imported.ensemble.members}
    interfaces = await _interfaces(servers, deadline_s)
    endpoints = {
        name: _endpoint(
            server, interfaces[name], interfaces[name].answer(name, server.output), interfaces[name].classes
        )
        if name in interfaces
        # It gets the request too, so that the answer contains the reason why it is missing.
        else Endpoint(server.target, server.model, server.version, server.signature, server.output)
        for name, server in servers.items()
    }
    inputs = interface.common_inputs(interfaces)
    transformer = None
    if imported.transformer is not None:
        name = imported.ensemble.transformer
        server = _server(name, imported.transformer, served)
        transformer_interface = (await _interfaces({name: server}, deadline_s))[name]
        interface.check_transformer(name, transformer_interface, inputs)
        transformer, inputs = _endpoint(server, transformer_interface), transformer_interface.inputs
    async with FanOut(imported.ensemble, endpoints, transformer=transformer, deadline_s=deadline_s) as fan_out:
        missing, names = missing_cells.of_ensemble(imported, inputs), missing_cells.columns_of(imported, inputs)
        return await fan_out.predict(columns(rows, inputs, missing, names))


def columns(
    rows: Sequence[Mapping[str, Any]],
    inputs: Mapping[str, Tensor],
    missing: Mapping[str, Any] | None = None,
    names: Mapping[str, str] | None = None,
) -> dict[str, NDArray]:
    """Return one array [batch, …] per input; other columns are ignored.

    Args:
        rows: See `predict`.
        inputs: The models' inputs.
        missing: The value of a missing cell by input, for models that say so.
        names: The column of each input, for models that say so.

    Raises:
        DataError: An input is missing in a row, or has a wrong value.
    """
    names = names or {}
    own = {column: name for name, column in names.items() if column != name}
    by_input = [_by_input(row, inputs, own) for row in rows]
    arrays: dict[str, NDArray] = {}
    for name, tensor in inputs.items():
        column, missing_value = names.get(name, name), (missing or {}).get(name)
        for number, (row, known) in enumerate(zip(rows, by_input, strict=True), start=1):
            if name not in known and missing_value is None:
                raise DataError(f"row {number}: no column {column!r}; it has {', '.join(sorted(row))}")
        arrays[name] = _array(column, tensor, [known.get(name) for known in by_input], missing_value)
    return arrays


def _by_input(row: Mapping[str, Any], inputs: Mapping[str, Tensor], own: Mapping[str, str]) -> dict[str, Any]:
    """Return a row by input: by the names that the models tell, else by those that Benison gives the row's columns."""
    known = {own.get(name, name): value for name, value in row.items() if name in own or name in inputs}
    others = {name: argument for name, argument in argument_names(row).items() if name not in own}
    return {**{argument: row[name] for name, argument in others.items()}, **known}


def _array(column: str, tensor: Tensor, cells: Sequence[Any], missing: Any) -> NDArray:
    """Return the cells of an input as an array [batch, …]; None is a missing cell."""
    import tensorflow as tf

    types, default, expected = _accepted_values(tensor.dtype)
    missing_value = default if missing is None else missing
    values = [missing_value if cell is None else cell for cell in cells]
    for number, (cell, value) in enumerate(zip(cells, values, strict=True), start=1):
        array = np.array(value, object)
        if not all(_is_of(part, types, tensor.dtype) for part in array.ravel()) or not _has_shape(array, tensor):
            raise DataError(
                f"row {number}, column {column!r}: got {str(cell)[:80]}, expected {expected}{_sizes(tensor)}"
            )
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, tf.dtypes.as_dtype(tensor.dtype).as_numpy_dtype)
    except (ValueError, OverflowError) as error:  # lists of different sizes
        raise DataError(f"column {column!r}: cannot be converted to an array of {tensor.dtype}: {error}") from None
    if tensor.dtype.startswith("float") and np.isinf(array).any():
        number = int(np.argwhere(np.isinf(array))[0][0])
        raise DataError(
            f"row {number + 1}, column {column!r}: got {str(values[number])[:80]}, expected a finite {tensor.dtype}"
        )
    return array


def _is_of(part: Any, types: tuple[type, ...], dtype: str) -> bool:
    if type(part) not in types:
        return False
    if not dtype.startswith(("int", "uint")):
        return True
    limits = np.iinfo(dtype)
    return bool(limits.min <= part <= limits.max)


def _accepted_values(dtype: str) -> tuple[tuple[type, ...], Any, str]:
    """Return the types of an input's values, the value that means missing, and a name for messages."""
    if dtype == "string":
        return (str,), "", "text"
    if dtype == "bool":
        return (bool,), None, "true or false"
    if dtype.startswith(("int", "uint")):
        return (int,), None, "a whole number"  # any number may be a real value of another tool's model
    return (int, float), float("nan"), "a number"


def _has_shape(value: NDArray, tensor: Tensor) -> bool:
    if tensor.shape is None:
        return True
    sizes = tensor.shape[1:]
    return len(sizes) == value.ndim and all(want in (-1, have) for want, have in zip(sizes, value.shape, strict=True))


def _sizes(tensor: Tensor) -> str:
    sizes = (tensor.shape or ())[1:]
    return f" in lists of sizes {', '.join('any' if size == -1 else str(size) for size in sizes)}" if sizes else ""


def _server(name: str, binding: SavedModel | Server, served: Mapping[str, Server]) -> Server:
    if isinstance(binding, Server):
        return binding
    return served[name].model_copy(update={"signature": binding.signature, "output": binding.output})


async def _interfaces(servers: Mapping[str, Server], timeout_s: float) -> dict[str, Interface]:
    """Return the interfaces of the models whose servers answer.

    Raises:
        EnsembleError: A model has no suitable signature.
        ServerError: No server answers.
    """

    async def request(name: str, server: Server) -> Interface:
        async with GrpcClient(server.target, timeout=timeout_s) as client:
            signatures = await client.metadata(server.model, server.version)
            return interface.choose_signature(name, signatures, server.signature)

    results = await asyncio.gather(*(request(*item) for item in servers.items()), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, ServerError):
            raise result
    interfaces = {name: result for name, result in zip(servers, results, strict=True) if isinstance(result, Interface)}
    if not interfaces:
        raise next(result for result in results if isinstance(result, ServerError))
    return interfaces


def _endpoint(server: Server, signature: Interface, output: str = "", classes: str = "") -> Endpoint:
    return Endpoint(server.target, server.model, server.version, signature.signature, output, classes)
