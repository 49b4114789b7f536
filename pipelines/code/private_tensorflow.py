"""Wrap the private functions of TensorFlow that get the names of files to read or write, all in this module.

The tests of `benison.pipelines.code.watching` use each of them, and fail if a release of TensorFlow no longer does.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

Names = Callable[[], Sequence[Any] | None]
"""Returns names of files; None if they are known only inside a graph. Called only if needed: it reads tensors."""
# Names that the first argument of these functions has.
_FIRST_ARGUMENTS = ("filename", "filenames", "pattern", "filepattern")


def watch(reading: Callable[[Names], None], writing: Callable[[Any], None]) -> None:
    """Wrap the functions, for the life of the process.

    Args:
        reading: called before TensorFlow reads files, or builds the operation that will.
        writing: called with the path of a file or folder before TensorFlow makes it.
    """
    import tensorflow as tf
    from tensorflow.python.data.ops import readers
    from tensorflow.python.lib.io import _pywrap_file_io
    from tensorflow.python.ops import gen_experimental_dataset_ops, gen_io_ops, lookup_ops
    from tensorflow.python.training import py_checkpoint_reader

    def files(value: Any, *_: Any) -> None:
        reading(lambda: _names(value))

    def patterns(value: Any, *_: Any) -> None:
        reading(lambda: _with_matches(_names(value)))

    def checkpoint(prefix: Any, *_: Any) -> None:
        reading(lambda: _with_matches([f"{os.fsdecode(prefix)}*"]))

    def made(path: Any, *_: Any) -> None:
        writing(path)

    def copied(_: Any, path: Any, *__: Any) -> None:
        writing(path)

    for name in ("BufferedInputStream", "FileExists", "GetChildren"):
        _wrap(_pywrap_file_io, name, files)
    _wrap(_pywrap_file_io, "GetMatchingFiles", patterns)
    for name in ("WritableFile", "CreateDir", "RecursivelyCreateDir"):
        _wrap(_pywrap_file_io, name, made)
    for name in ("CopyFile", "RenameFile"):
        _wrap(_pywrap_file_io, name, copied)
    _wrap(gen_io_ops, "read_file", files)
    _wrap(readers, "_create_or_validate_filenames_dataset", files)
    _wrap(gen_experimental_dataset_ops, "csv_dataset_v2", files)
    _wrap(lookup_ops.TextFileInitializer, "__init__", lambda _, filename, *__: files(filename))
    for holder in (gen_io_ops, tf.io):
        _wrap(holder, "matching_files", patterns)
    _wrap(py_checkpoint_reader, "NewCheckpointReader", checkpoint)


def _wrap(holder: Any, name: str, report: Callable[..., None]) -> None:
    """Let a function first report its arguments, given by position or, of the first ones, by name."""
    original = getattr(holder, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        report(*args, *[kwargs[key] for key in _FIRST_ARGUMENTS if key in kwargs])
        return original(*args, **kwargs)

    setattr(holder, name, wrapper)


def _with_matches(patterns: Sequence[Any] | None) -> Sequence[Any] | None:
    """Return patterns, and the files that match them now."""
    return patterns and [*patterns, *(file for pattern in patterns for file in glob.glob(os.fsdecode(pattern)))]


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
