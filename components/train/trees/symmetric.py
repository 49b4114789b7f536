"""A fitted CatBoost model as arrays: its distinct conditions, the conditions of each tree, and the values of leaves."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SymmetricTrees:
    """Symmetric trees; every array but `scale` and `bias` may be empty.

    The distinct conditions are numbered: first those on numbers, then those on categories, then one that is never true.

    Attributes:
        number_columns: int32 [conditions on numbers], column of each condition.
        borders: float32 [conditions on numbers]; a condition is true if the number is greater.
        nan_is_true: bool [conditions on numbers], the result for NaN.
        category_columns: int32 [conditions on categories], column of each condition.
        categories: int64 [conditions on categories]; a condition is true if the id is the same.
        picks: int32 [trees, depth], conditions of each tree; the first one is the lowest bit of the leaf's number.
        leaves: float64 [trees, 2 ** depth, outputs], values of the leaves.
        scale: float64 [outputs]; an answer is `scale` times the sum of the leaves, plus `bias`.
        bias: float64 [outputs].
    """

    number_columns: NDArray
    borders: NDArray
    nan_is_true: NDArray
    category_columns: NDArray
    categories: NDArray
    picks: NDArray
    leaves: NDArray
    scale: NDArray
    bias: NDArray

    @classmethod
    def constant(cls, answer: Sequence[float] | NDArray) -> SymmetricTrees:
        """Return a model without trees, which gives every row the same answer [outputs]."""
        bias = np.atleast_1d(np.asarray(answer, np.float64))
        ints, floats = np.zeros(0, np.int32), np.zeros(0, np.float32)
        return cls(
            number_columns=ints,
            borders=floats,
            nan_is_true=np.zeros(0, bool),
            category_columns=ints,
            categories=np.zeros(0, np.int64),
            picks=np.zeros((0, 0), np.int32),
            leaves=np.zeros((0, 1, len(bias))),
            scale=np.ones(len(bias)),
            bias=bias,
        )

    @property
    def conditions(self) -> int:
        """The number of distinct conditions, without the one that is never true."""
        return len(self.borders) + len(self.categories)

    def in_unit(self, scale: float, offset: float) -> SymmetricTrees:
        """Return the same trees with answers in another unit: `scale` times the answer, plus `offset`."""
        return replace(self, scale=self.scale * scale, bias=self.bias * scale + offset)


def from_catboost(model: Any, pool: Any) -> SymmetricTrees:
    """Read the trees of a fitted CatBoost model.

    Args:
        model: CatBoost's model with grow_policy SymmetricTree, whose categories are ids and one-hot.
        pool: the rows that it was fitted on, by which CatBoost names the ids; it stores only their hashes.
    """
    return from_json(stored(model, pool))


def stored(model: Any, pool: Any) -> dict[str, Any]:
    """Return a fitted CatBoost model in its JSON format; the pool names the ids, of which a model has only hashes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.json")
        model.save_model(str(file), format="json", pool=pool)
        return dict(json.loads(file.read_text(encoding="utf-8")))


def from_json(model: Mapping[str, Any]) -> SymmetricTrees:
    """Read the trees of a model in CatBoost's JSON format.

    Raises:
        ValueError: it has a statistic of the label, or trees that are not symmetric.
    """
    if "oblivious_trees" not in model:
        raise ValueError("the trees are not symmetric")
    trees = model["oblivious_trees"]
    nan_is_true, ids = treatments(model), ids_by_hash(model)
    conditions: dict[tuple[str, int, float], int] = {}
    keys = [[_condition(split, ids) for split in tree["splits"] or []] for tree in trees]
    for kind in ("number", "category"):  # sorted, so that equal columns are side by side
        for key in sorted({key for tree in keys for key in tree if key[0] == kind}):
            conditions[key] = len(conditions)
    depth = max((len(tree) for tree in keys), default=0)
    never = len(conditions)
    picks = np.full((len(trees), depth), never, np.int32)
    scale, bias = model["scale_and_bias"]
    bias = np.atleast_1d(np.asarray(bias, np.float64))
    leaves = np.zeros((len(trees), 2**depth, len(bias)))
    for number, (tree, split_keys) in enumerate(zip(trees, keys, strict=True)):
        picks[number, : len(split_keys)] = [conditions[key] for key in split_keys]
        values = np.asarray(tree["leaf_values"], np.float64).reshape(2 ** len(split_keys), len(bias))
        leaves[number, : len(values)] = values
    numbers = [key for key in conditions if key[0] == "number"]
    categories = [key for key in conditions if key[0] == "category"]
    return SymmetricTrees(
        number_columns=np.array([column for _, column, _ in numbers], np.int32),
        borders=np.array([border for *_, border in numbers], np.float32),
        nan_is_true=np.array([nan_is_true[column] for _, column, _ in numbers], bool),
        category_columns=np.array([column for _, column, _ in categories], np.int32),
        categories=np.array([value for *_, value in categories], np.int64),
        picks=picks,
        leaves=leaves,
        scale=np.full(len(bias), float(scale)),
        bias=bias,
    )


def _condition(split: Mapping[str, Any], ids: Mapping[int, int]) -> tuple[str, int, float]:
    """Return the kind of a condition, its column, and its border or id."""
    if split["split_type"] == "FloatFeature":
        return "number", split["float_feature_index"], float(split["border"])
    if split["split_type"] == "OneHotFeature":
        return "category", split["cat_feature_index"], ids[split["value"] % 2**32]
    raise ValueError(f"a condition of type {split['split_type']} needs statistics of the label")


def treatments(model: Mapping[str, Any]) -> dict[int, bool]:
    """Return whether NaN is greater than all borders, by the number of each column of numbers."""
    features = model.get("features_info", {}).get("float_features", [])
    return {feature["feature_index"]: feature["nan_value_treatment"] == "AsTrue" for feature in features}


def ids_by_hash(model: Mapping[str, Any]) -> dict[int, int]:
    """Return the ids of the categories by CatBoost's hashes, modulo 2 ** 32."""
    entries = model.get("cat_features_hash") or model.get("features_info", {}).get("cat_features_hash") or []
    return {entry["hash"] % 2**32: int(entry["value"]) for entry in entries}
