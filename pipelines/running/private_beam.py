"""The private parts of Beam that Benison changes, because small pipelines spend a third of their time in them.

A node's table is often small, and then Beam's own bookkeeping is most of its time. Together these changes make
TFX's Transform about a fifth quicker on 344 rows. The tests call each of them, and fail if a new Beam changes one.
"""

from __future__ import annotations

import copy
import functools
import sys
import types
import weakref
from typing import Any


@functools.cache
def speed_up() -> None:
    """Change Beam for the rest of this process."""
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import worker_handlers
    from apache_beam.transforms import userstate
    from tfx_bsl.coders import batch_util

    # Each pickled object switches dill's trace on and off, which clears the cache of every logger twice. A newer Beam
    # pickles without dill.
    if "dill._dill" in sys.modules:
        vars(sys.modules["dill._dill"])["_trace"] = lambda enabled: None
    # The in-memory runner reads state from its own memory. To measure what a cache of it holds, Beam walks through the
    # names of all modules.
    worker_handlers.STATE_CACHE_SIZE_MB = 0
    userstate.get_dofn_specs = by_class(userstate.get_dofn_specs)
    PipelineOptions.view_as = view_as
    # Batches by the bytes of their rows, with at most as many rows as before. Beam would begin with a batch of one row
    # and make the next ones larger as time allows: a small table has many batches, and other ones in each run.
    batch_util._UseByteSizeBatching = lambda: True
    batch_util._BATCH_SIZE_CAP_WITH_BYTE_TARGET = batch_util._BATCH_SIZE_CAP


def by_class(get_specs: Any) -> Any:
    """Return `get_dofn_specs` with its results cached by class.

    It inspects the signatures of a DoFn's bound methods, six times per step of a pipeline. They are those of the class,
    unless the object itself holds a bound method.
    """
    specs_of: weakref.WeakKeyDictionary[type, Any] = weakref.WeakKeyDictionary()  # pickled classes come and go

    @functools.wraps(get_specs)
    def cached(dofn: Any) -> Any:
        if any(isinstance(value, types.MethodType) for value in vars(dofn).values()):
            return get_specs(dofn)
        if type(dofn) not in specs_of:
            specs_of[type(dofn)] = get_specs(dofn)
        return specs_of[type(dofn)]

    return cached


@functools.cache
def pickle_uncompressed() -> None:
    """Let Beam pickle without compression for the rest of this process: what stays in the process need not be small."""
    from apache_beam.internal import pickler

    for library in (pickler.cloudpickle_pickler, getattr(pickler, "dill_pickler", None)):
        if library is not None:  # a newer Beam may be without dill
            vars(library)["bz2"] = Uncompressed


class Uncompressed:
    """Stands for the module bz2 where Beam pickles; it keeps the data as it is."""

    @staticmethod
    def compress(data: bytes, compresslevel: int) -> bytes:
        """Return the data."""
        return data

    @staticmethod
    def decompress(data: bytes) -> bytes:
        """Return the data."""
        return data


def view_as(options: Any, cls: Any) -> Any:
    """Return a view of Beam's options, as `PipelineOptions.view_as`; the flags are parsed once for each class.

    Beam asks for a view at each step of a pipeline, and makes a new parser for it.
    """
    parsed = _parsed(cls, None if options._flags is None else tuple(options._flags))
    for name, value in vars(parsed).items():
        if name not in options._all_options:
            options._all_options[name] = copy.copy(value)  # a list may be changed later
    view = cls.__new__(cls)
    view._flags, view._visible_options, view._all_options = options._flags, parsed, options._all_options
    return view


@functools.cache
def _parsed(cls: Any, flags: tuple[str, ...] | None) -> Any:
    """Return the argparse.Namespace of the options of a class."""
    return cls(flags)._visible_options
