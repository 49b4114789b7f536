"""Checks a SavedModel from elsewhere that is about to become a member of an ensemble; a process of its own.

    python -m benison.serving.server.import_check FOLDER SIGNATURE

It prints why the signature must not run, or nothing. The check is that of the model server
(`engines.refused_operations`). A pushed version is trusted, so a model must pass it before it becomes part of one. The
setting BENISON_REFUSE_OPS=0 allows everything.
"""

from __future__ import annotations

import os
import sys

from benison.serving.server import settings
from benison.serving.server.engines import lean_tensorflow, private_tensorflow, refused_operations
from benison.serving.server.status import RequestError

_TAGS = ("serve",)


def fault(path: str, signature: str) -> str | None:
    """Return why a signature of a SavedModel must not run, in one line; None if it may.

    Args:
        path: the folder of the SavedModel.
        signature: the signature that will be called.
    """
    if settings.read(os.environ).refuse_ops == "none":
        return None
    try:
        meta_graph = private_tensorflow.saved_model_loader(path).get_meta_graph_def_from_tags(_TAGS)
        refused = refused_operations.check(path, meta_graph)
    except (RequestError, OSError, RuntimeError) as error:
        return " ".join(str(error).split())
    return refused.get(signature)


if __name__ == "__main__":
    lean_tensorflow.load()
    print(fault(*sys.argv[1:]) or "")
