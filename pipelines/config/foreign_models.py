"""The keys of members that were trained elsewhere, and their checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from benison.components.train.foreign.settings import FOREIGN_KINDS, OTHER_DATA, THESE_ROWS
from benison.pipelines.config.types import Bool, ClassName, ConfigModel, Scalar, Text
from benison.serving.config_values import expected

_FITTED = ("weighted_mean", "stacking")


def _one_or_several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Columns = Annotated[
    tuple[Text, ...],
    Field(min_length=1),
    BeforeValidator(_one_or_several, json_schema_input_type=str | tuple[str, ...]),
    expected("a column, or a list of columns"),
]


class ForeignKeys(ConfigModel):
    """The keys of a member that was trained elsewhere."""

    path: Text | None = Field(default=None, description="a finished model: the folder of a SavedModel, or an ONNX file")
    signature: Text = Field(default="serving_default", description="kind saved_model: the signature to call")
    inputs: Mapping[Text, Columns] = Field(
        default={},
        description="a finished model: the column of each of its inputs, or the columns of one input [batch, columns]",
    )
    missing: Mapping[Text, Scalar] = Field(
        default={},
        description="a finished model: by column, what it gets for a missing cell; default: NaN for a float, '' "
        "for text",
    )
    output: Text | None = Field(
        default=None,
        description="a finished model: its output with the probabilities or the number; default: the only one",
    )
    classes: tuple[ClassName, ...] = Field(
        default=(),
        description="a finished model: the class of each column of its output, in their order; one for one probability",
    )
    logits: Bool = Field(default=False, description="a finished model: its output is logits, not probabilities")
    learnt_from: Literal["other_data", "these_rows"] = Field(
        default="these_rows",
        description="a finished model: other_data if it has learnt from no row of this data's valid, blend and test; "
        "these_rows if it may have",
    )


_FOREIGN = tuple(ForeignKeys.model_fields)
_DEFAULTS = {key: field.default for key, field in ForeignKeys.model_fields.items()}

Fault = tuple[tuple[str, ...], str, Any]  # the keys below the member, the message, and the value


def member_faults(member: Mapping[str, Any], problem: Any) -> Iterator[Fault]:
    """Yield the keys that do not fit the kind of a member, and those that a finished model needs.

    Args:
        member: a member, unchecked.
        problem: the problem, unchecked.
    """
    kind = member.get("kind", "keras")
    if kind not in FOREIGN_KINDS:
        for key in _FOREIGN:
            if member.get(key) and member[key] != _DEFAULTS[key]:
                message = f"only a member of kind {', '.join(FOREIGN_KINDS)} has this key, and this one is {kind}"
                yield (key,), message, member[key]
        return
    if kind != "saved_model" and member.get("signature") not in (None, _DEFAULTS["signature"]):
        yield ("signature",), f"got {member['signature']!r}, but only a SavedModel has signatures", member["signature"]
    if member.get("path") is None:
        yield ("path",), f"missing; a member of kind {kind} needs the path of its model", member
    inputs, missing = member.get("inputs"), member.get("missing")
    if not inputs:
        yield ("inputs",), "missing; name the column of each input of the model, such as {age: age}", inputs
    columns = {
        column
        for value in (inputs.values() if isinstance(inputs, Mapping) else ())
        for column in ([value] if isinstance(value, str) else value if isinstance(value, (list, tuple)) else ())
    }
    for column in missing if isinstance(missing, Mapping) and columns else ():
        if column not in columns:
            yield ("missing", str(column)), f"no input of the model has the column {column!r}", missing
    classes = member.get("classes")
    if problem == "regression" and classes:
        yield ("classes",), "got classes, but a regression problem has none", classes
    if problem == "regression" and member.get("logits"):
        yield ("logits",), "got true, but a regression problem has no probabilities", True
    if problem in ("binary", "multiclass") and not classes:
        message = "missing; name the class of each column of the model's output, in their order, such as [no, yes]"
        yield ("classes",), message, classes


def unproven(ensemble: Any) -> list[str]:
    """Return the members of an unchecked config that may have learnt from the rows that they are judged on."""
    members = ensemble.get("members") if isinstance(ensemble, Mapping) else None
    return [
        str(name)
        for name, member in (members.items() if isinstance(members, Mapping) else ())
        if isinstance(member, Mapping)
        and member.get("kind") in FOREIGN_KINDS
        and member.get("learnt_from", THESE_ROWS) != OTHER_DATA
    ]


def fit_faults(ensemble: Any) -> Iterator[Fault]:
    """Yield the keys of a combination that is fitted to answers of members that may have learnt from the same rows."""
    names = unproven(ensemble)
    if not names:
        return
    why = (
        f"the member {names[0]} may have learnt from the rows that this is fitted to, so its weight would be too "
        f"large; set its learnt_from: {OTHER_DATA} if it has seen none of them, or"
    )
    combiner, weights = ensemble.get("combiner"), ensemble.get("weights")
    if combiner in _FITTED and not weights:
        yield ("combiner",), f"{why} use mean, median, a vote, or weighted_mean with weights of your own", combiner
    if (calibration := ensemble.get("calibration", "none")) not in (None, "none"):
        yield ("calibration",), f"{why} use none", calibration
