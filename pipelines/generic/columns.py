"""The key `columns:` of a config: the kind of each column, for a pipeline with Benison's generic features."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

GENERIC = {"features": "benison.pipelines.generic.features", "models": "benison.pipelines.generic.models"}
TREE_FEATURES = (
    "benison.pipelines.generic.trees:default_features"  # where the pipeline's own function has none for trees
)
KINDS = ("number", "category", "hashed", "date", "text", "ignore")
# The kinds of the columns of each vocabulary of values in a model, in their order there.
VOCABULARIES = {"categories": ("category",), "trees": ("category", "hashed")}
SIZES = {"category": 50, "hashed": 64, "text": 500}  # default sizes of the kinds that have one
DATE_LETTERS = "YymbBdHIMSp"  # the letters of strptime that benison.pipelines.generic.features can read


def _date_format(form: str) -> str:
    letters = re.findall("%(.?)", form)
    unknown = sorted({f"%{letter}" for letter in letters if letter not in DATE_LETTERS or not letter})
    if unknown or not {"Y", "y"} & set(letters):
        raise PydanticCustomError(
            "refused",
            "got {form}, expected a year and any others of {letters}",
            {"form": repr(form), "letters": " ".join(f"%{letter}" for letter in DATE_LETTERS)},
        )
    return form


class ColumnConfig(BaseModel):
    """The kind of a column and its options. In the YAML the kind alone is enough: `age: number`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["number", "category", "hashed", "date", "text", "ignore"] = Field(
        description="one of number, category, hashed, date, text, ignore"
    )
    format: Annotated[str, AfterValidator(_date_format)] | None = Field(
        default=None, description="the format of a date, as for strptime, such as '%d/%m/%Y'; default: ISO 8601"
    )
    size: Annotated[int, Field(strict=True, ge=1)] | None = Field(
        default=None,
        description="the number of most frequent values (category), of words and pairs (text), or of hash buckets",
    )

    @model_validator(mode="before")
    @classmethod
    def _kind_alone(cls, raw: Any) -> Any:
        if isinstance(raw, str):
            return {"kind": raw}
        if not isinstance(raw, (Mapping, ColumnConfig)):
            raise PydanticCustomError("expected", f"a kind: one of {', '.join(KINDS)}")
        return raw

    @model_validator(mode="after")
    def _options_of_the_kind(self) -> ColumnConfig:
        if self.format is not None and self.kind != "date":
            raise PydanticCustomError("refused", f"got a format for kind {self.kind}; only date has one")
        if self.size is not None and self.kind not in SIZES:
            raise PydanticCustomError("refused", f"got a size for kind {self.kind}; only {', '.join(SIZES)} have one")
        return self


def with_generic_code(raw: Any) -> Any:
    """Add Benison's generic features and models to an unchecked config that has `columns` but no code."""
    if not isinstance(raw, Mapping) or not raw.get("columns"):
        return raw
    return {**raw, **{key: module for key, module in GENERIC.items() if raw.get(key) is None}}
