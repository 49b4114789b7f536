"""Benison: from a table to a served ensemble. Everything that a user's own code imports is here.

Names are loaded when they are first used, so `import benison` imports neither TensorFlow nor TFX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benison.components.number_scores import number_scores
    from benison.components.raw_columns import dense, dense_columns
    from benison.components.vocabularies import category_ids, one_hot, term_weights
    from benison.pipelines.config_file import load as load_config
    from benison.pipelines.graph import build
    from benison.pipelines.notebook import Context
    from benison.pipelines.runner import LocalRunner
    from benison.pipelines.running.partial_run import Part
    from benison.serving.client import GrpcClient, RestClient, ServerError
    from benison.serving.errors import (
        BenisonError,
        DataError,
        EnsembleError,
        NodeFailed,
        StoreError,
        UsageError,
        VersionError,
    )
    from benison.serving.fan_out import FanOut
    from benison.serving.predict import Prediction, explain, predict, read_rows
    from benison.serving.promotion.labels import served
    from benison.serving.versions.local import Version, versions

    __version__: str
    from benison.serving.versions.manifest import Manifest

__all__ = [
    "BenisonError",
    "Context",
    "DataError",
    "EnsembleError",
    "FanOut",
    "GrpcClient",
    "LocalRunner",
    "Manifest",
    "NodeFailed",
    "Part",
    "Prediction",
    "RestClient",
    "ServerError",
    "StoreError",
    "UsageError",
    "Version",
    "VersionError",
    "__version__",
    "build",
    "category_ids",
    "dense",
    "dense_columns",
    "explain",
    "load_config",
    "number_scores",
    "one_hot",
    "predict",
    "read_rows",
    "served",
    "term_weights",
    "versions",
]

_ERRORS = "serving.errors"
_VOCABULARIES = "components.vocabularies"
_MODULES = {
    "BenisonError": _ERRORS,
    "Context": "pipelines.notebook",
    "DataError": _ERRORS,
    "EnsembleError": _ERRORS,
    "FanOut": "serving.fan_out",
    "GrpcClient": "serving.client",
    "LocalRunner": "pipelines.runner",
    "Manifest": "serving.versions.manifest",
    "NodeFailed": _ERRORS,
    "Part": "pipelines.running.partial_run",
    "Prediction": "serving.predict",
    "RestClient": "serving.client",
    "ServerError": "serving.client",
    "StoreError": _ERRORS,
    "UsageError": _ERRORS,
    "Version": "serving.versions.local",
    "VersionError": _ERRORS,
    "build": "pipelines.graph",
    "category_ids": _VOCABULARIES,
    "dense": "components.raw_columns",
    "dense_columns": "components.raw_columns",
    "explain": "serving.predict",
    "load_config": "pipelines.config_file",
    "number_scores": "components.number_scores",
    "one_hot": _VOCABULARIES,
    "predict": "serving.predict",
    "read_rows": "serving.predict",
    "served": "serving.promotion.labels",
    "term_weights": _VOCABULARIES,
    "versions": "serving.versions.local",
}


if not TYPE_CHECKING:  # or a type checker would take any name for a public one

    def __getattr__(name: str) -> Any:
        """Load a public name from the module that defines it."""
        if name == "__version__":
            from importlib.metadata import version

            return version("benison")
        if name not in _MODULES:
            raise AttributeError(f"module 'benison' has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"benison.{_MODULES[name]}"), {"load_config": "load"}.get(name, name))
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
