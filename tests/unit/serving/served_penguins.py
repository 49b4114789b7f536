"""A served model for tests of the server's pages, without TensorFlow: signatures, and the files of a folder."""

from __future__ import annotations

import json
from pathlib import Path

from benison.serving.server.engine import Signature, TensorSpec
from benison.serving.server.pages import model_info
from benison.serving.server.pages.openapi import ServedModel

SCHEMA = """
feature { name: "island" type: BYTES domain: "islands" shape { dim { size: 1 } } }
feature { name: "bill length (mm)" type: FLOAT float_domain { min: 0 max: 80.5 } value_count { min: 1 max: 1 } }
feature { name: "mass" type: INT int_domain { min: 1500 max: 9001 } value_count { min: 1 max: 1 } }
feature { name: "note" type: BYTES }
string_domain { name: "islands" value: "Biscoe" value: "<Dream>" }
"""
MANIFEST = {
    "label": "species",
    "members": ["linear", "deep"],
    "combiner": {"kind": "weighted_mean", "weights": {"linear": 1.0, "deep": 3.0}},
}
RAW = {
    "bill_length__mm_": TensorSpec("float32", (-1,)),
    "island": TensorSpec("string", (-1,)),
    "mass": TensorSpec("int64", (-1,)),
    "note": TensorSpec("string", (-1,)),
}


MISSING = {"bill_length__mm_": float("nan"), "mass": -9007199254740991, "note": ""}


def signature(
    name: str, inputs: dict[str, TensorSpec], outputs: dict[str, TensorSpec], method: str = "predict"
) -> Signature:
    missing = MISSING if name in ("raw", "members") else {}
    return Signature(name, f"tensorflow/serving/{method}", inputs, outputs, missing=missing)


SIGNATURES = {
    s.name: s
    for s in (
        signature("members", RAW, {name: TensorSpec("float32", (-1, 2)) for name in ("linear", "deep")}),
        signature(
            "raw", RAW, {"classes": TensorSpec("string", (-1, 2)), "probabilities": TensorSpec("float32", (-1, 2))}
        ),
        signature(
            "serving_default", {"examples": TensorSpec("string", (-1,))}, {"probabilities": TensorSpec("float32", (-1, 2))}
        ),
        signature("image", {"pixels": TensorSpec("uint8", (-1, 2, 3))}, {"y": TensorSpec("float32", (-1,))}),
        signature("total", {"x": TensorSpec("float32", (-1,))}, {"total": TensorSpec("float32", ())}),
        signature(
            "label it", {"inputs": TensorSpec("string", (-1,))}, {"scores": TensorSpec("float32", (-1, 2))}, "classify"
        ),
        signature("flag", {"on": TensorSpec("bool", (-1,))}, {"off": TensorSpec("bool", (-1,))}),
        signature("__saved_model_init_op", {}, {"__saved_model_init_op": TensorSpec("invalid", None)}),
    )
}  # fmt: skip


def write_folder(folder: Path) -> Path:
    """Write the files that a pushed version has beside its SavedModel."""
    (folder / "assets.extra").mkdir(parents=True)
    (folder / "assets.extra" / "schema.pbtxt").write_text(SCHEMA)
    (folder / "manifest.json").write_text(json.dumps(MANIFEST))
    return folder


def served(folder: Path, name: str = "penguins", labels: tuple[str, ...] = ("stable",)) -> ServedModel:
    return ServedModel(name, 7, labels, SIGNATURES, model_info.read(str(write_folder(folder))))
