"""Hear which files TensorFlow is told to read and to write: wrappers of its private functions, in one place.

The tests of `benison.pipelines.code.reads` fail if a release of TensorFlow no longer calls one of them.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

# Names that the first argument of these functions has.
_FIRST_ARGUMENTS = ("filename", "filenames", "pattern", "file_pattern", "prefix", "filepattern")


@dataclass(frozen=True)
class Listener:
    """Hear of TensorFlow's files.

    Attributes:
        counts: returns True if a read counts now.
        reads: called with the names of files, or with None if they are known only inside a graph.
        writes: called with the path of a file or folder that is made.
    """

    counts: Callable[[], bool]
    reads: Callable[[Sequence[Any] | None], None]
    writes: Callable[[Any], None]

    def files(self, value: Any, *_: Any) -> None:
        """Tell of files to read, given as TensorFlow's functions take them."""
        if self.counts():
            self.reads(_names(value))

    def matches(self, value: Any, *_: Any) -> None:
        """Tell of patterns, and of the files that match them now."""
        if self.counts():
            names = _names(value)
            self.reads(names)
            for pattern in names or ():
                self.reads(glob.glob(os.fsdecode(pattern)))

    def checkpoints(self, prefix: Any, *_: Any) -> None:
        """Tell of the files of checkpoints."""
        self.matches([f"{os.fsdecode(name)}*" for name in _names(prefix) or ()])

    def written(self, path: Any, *_: Any) -> None:
        """Tell of a file or folder that is made."""
        self.writes(path)

    def copied(self, _: Any, path: Any, *__: Any) -> None:
        """Tell of a file that is made of another one."""
        self.writes(path)


def watch(listener: Listener) -> None:
    """Wrap the functions of TensorFlow that are told which files to read, for the life of the process."""
    import tensorflow as tf
    from tensorflow.python.data.ops import readers
    from tensorflow.python.lib.io import _pywrap_file_io
    from tensorflow.python.ops import gen_experimental_dataset_ops, gen_io_ops, io_ops, lookup_ops
    from tensorflow.python.training import py_checkpoint_reader

    for name in ("BufferedInputStream", "FileExists", "GetChildren"):
        _wrap(_pywrap_file_io, name, listener.files)
    _wrap(_pywrap_file_io, "GetMatchingFiles", listener.matches)
    for name in ("WritableFile", "CreateDir", "RecursivelyCreateDir"):
        _wrap(_pywrap_file_io, name, listener.written)
    for name in ("CopyFile", "RenameFile"):
        _wrap(_pywrap_file_io, name, listener.copied)
    _wrap(gen_io_ops, "read_file", listener.files)
    _wrap(readers, "_create_or_validate_filenames_dataset", listener.files)
    _wrap(gen_experimental_dataset_ops, "csv_dataset_v2", listener.files)
    _wrap(lookup_ops.TextFileInitializer, "__init__", lambda _, filename, *__: listener.files(filename))
    for holder in (gen_io_ops, tf.io):
        _wrap(holder, "matching_files", listener.matches)
    for holder, name in (
        (gen_io_ops, "restore_v2"),
        (io_ops, "restore_v2"),
        (py_checkpoint_reader, "NewCheckpointReader"),
    ):
        _wrap(holder, name, listener.checkpoints)


def _wrap(holder: Any, name: str, note: Callable[..., None]) -> None:
    """Let a function first tell `note` its arguments, given by position or, of the first ones, by name."""
    original = getattr(holder, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        note(*args, *[kwargs[key] for key in _FIRST_ARGUMENTS if key in kwargs])
        return original(*args, **kwargs)

    setattr(holder, name, wrapper)


def _names(value: Any) -> list[Any] | None:
    """Return the paths in a value; None if they are known only inside a graph."""
    import numpy as np
    import tensorflow as tf

    if isinstance(value, (str, bytes, os.PathLike)):
        return [value]
    if isinstance(value, tf.data.Dataset):
        return _names_in(value)
    if isinstance(value, tf.Tensor):
        static = tf.get_static_value(value)
        if static is None and value.op.type == "Placeholder":  # the argument of a function for a dataset's elements
            return _names_in(_dataset_of_function())
        value = static
    if isinstance(value, np.ndarray):
        value = value.ravel().tolist()
    if isinstance(value, (list, tuple)):
        parts = [_names(part) for part in value]
        return None if None in parts else [name for part in parts for name in part or ()]
    return [value] if isinstance(value, bytes) else None


def _names_in(dataset: Any) -> list[Any] | None:
    """Return the elements of a dataset that are text, if it was made from a list of names or by `list_files`."""
    import tensorflow as tf
    from tensorflow.python.data.ops import dataset_ops, from_tensor_slices_op

    while isinstance(dataset, dataset_ops.UnaryUnchangedStructureDataset):  # such as shuffle, repeat and take
        (dataset,) = dataset._inputs()
    if not isinstance(dataset, from_tensor_slices_op._TensorSliceDataset):
        return None
    return _names([tensor for tensor in dataset._tensors if tensor.dtype == tf.string])


def _dataset_of_function() -> Any:
    """Return the dataset whose `map` or `interleave` calls the function that is being traced."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        inside = str(frame.f_globals.get("__name__")).startswith("tensorflow.python.data.ops.")
        if inside and "input_dataset" in frame.f_locals:
            return frame.f_locals["input_dataset"]
        frame = frame.f_back
    return None
