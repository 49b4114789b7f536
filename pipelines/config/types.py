"""Types of the values in a config, each with the message for a wrong value."""

from __future__ import annotations

import codecs
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from benison.pipelines.code.code_reference import FUNCTION, TARGET
from benison.serving.close_names import did_you_mean
from benison.serving.config_values import AnyText as AnyText
from benison.serving.config_values import Bool as Bool
from benison.serving.config_values import Count as Count
from benison.serving.config_values import Text as Text
from benison.serving.config_values import expected as _expected
from benison.serving.number_text import AMOUNTS

PREPROCESSING = "preprocessing_fn"
COMBINERS = ("mean", "weighted_mean", "median", "majority_vote", "soft_vote", "stacking")
RESERVED_MEMBERS = ("ensemble", "served")  # tables of scores use these names beside the members'


def is_number(value: Any) -> bool:
    """Return whether an unchecked value is a number; true and false are integers in Python, but no numbers here."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _member_name(name: str) -> str:
    if name in RESERVED_MEMBERS:
        raise PydanticCustomError("refused", "this name is reserved; choose another one")
    return name


def _known_encoding(name: str) -> str:
    try:
        codecs.lookup(name)
    except LookupError:
        raise PydanticCustomError("refused", "no such encoding; expected a name such as utf-8 or latin-1") from None
    return name


def _known_amounts(form: str) -> str:
    if form not in AMOUNTS:
        raise PydanticCustomError("refused", f"got {form!r}, expected one of {', '.join(map(repr, AMOUNTS))}")
    return form


def _known_time_format(form: str) -> str:
    from benison.components.ingest import times

    if fault := times.format_fault(form):
        raise PydanticCustomError("refused", f"got {form!r}, which {fault}; expected such as '%d/%m/%Y %H:%M'")
    return form


def _known_combiner(name: str) -> str:
    if name in COMBINERS or re.fullmatch(rf".+\.py:{FUNCTION}", name):
        return name
    expected = f"{', '.join(COMBINERS)} or a function of your own, file.py:function"
    raise PydanticCustomError("refused", f"got {name!r}, expected one of {expected}{did_you_mean(name, COMBINERS)}")


def _one_type(choices: tuple[Any, ...]) -> tuple[Any, ...]:
    """Convert integers among floats to floats, because KerasTuner takes choices of one type only."""
    types = {type(choice) for choice in choices}
    if types == {int, float}:
        return tuple(map(float, choices))
    if len(types) > 1:
        raise PydanticCustomError("refused", "expected choices of one type: all numbers, all text or all true/false")
    return choices


def _class_name(value: Any) -> Any:
    """Convert a class to text: YAML reads 1 as a number, and yes as true."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else value


ClassName = Annotated[
    str,
    Field(min_length=1),
    BeforeValidator(_class_name),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
    _expected("a class of the label, such as yes"),
]
Character = Annotated[str, Field(min_length=1, max_length=1), _expected("one character")]
Encoding = Annotated[str, _expected("an encoding's name"), AfterValidator(_known_encoding)]
Trials = Annotated[int, Field(strict=True, ge=2), _expected("an integer >= 2")]
Folds = Annotated[int, Field(strict=True, ge=0, le=20), _expected("a number of folds from 2 to 20, or 0 for none")]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32), _expected("an integer from 0 to 4294967295")]
Confidence = Annotated[
    float, Field(strict=True, gt=0, lt=1), _expected("a number between 0 and 1 (both excluded), such as 0.95")
]
_Int = Annotated[int, Field(strict=True)]
_Float = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Bool = Annotated[bool, Field(strict=True)]
Probability = Annotated[
    float, Field(strict=True, gt=0, lt=1), _expected("a probability between 0 and 1 (both excluded), such as 0.3")
]
Amount = Annotated[_Int | _Float, Field(gt=0), _expected("a number > 0")]
AmountForm = Annotated[
    str,
    AfterValidator(_known_amounts),
    _expected(f"one of {', '.join(map(repr, AMOUNTS))}"),
]
Number = Annotated[_Int | _Float, _expected("a number")]
Scalar = Annotated[_Bool | _Int | _Float | str, _expected("a number, text or true/false")]
Target = Annotated[
    str, Field(pattern=f"^{TARGET}$"), _expected("a module (my_package.models) or a Python file (models.py)")
]
Features = Annotated[
    str,
    Field(pattern=f"^{TARGET}(:{FUNCTION})?$"),
    _expected(f"a module or a Python file, with ':function' if the function is not {PREPROCESSING}"),
]
MemberFunction = Annotated[
    str,
    Field(pattern=f"^({TARGET}:)?{FUNCTION}$"),
    _expected("a function's name in `models`, or 'file.py:function' or 'module:function'"),
]
PipelineName = Annotated[
    str,
    Field(pattern="^[a-z][a-z0-9_-]{0,99}$"),  # folders, tables and Airflow's ids add up to 150 characters
    _expected("a name of at most 100 characters of a-z, 0-9, '_' and '-' that begins with a letter"),
]
MemberName = Annotated[
    str,
    Field(pattern="^[a-z][a-z0-9_]{0,59}$"),
    _expected("a member's name of at most 60 characters of a-z, 0-9 and '_' that begins with a letter"),
    AfterValidator(_member_name),
]
Combiner = Annotated[Text, AfterValidator(_known_combiner)]
NotNegative = Annotated[_Int | _Float, Field(ge=0), _expected("a number >= 0")]
FunctionReference = Annotated[
    str, Field(pattern=f"^{TARGET}:{FUNCTION}$"), _expected("file.py:function or module:function")
]
MetricName = Annotated[
    str,
    Field(pattern="^[a-z][a-z0-9_]{0,59}$"),
    _expected("a metric's name of at most 60 characters of a-z, 0-9 and '_' that begins with a letter"),
]
ParameterName = Annotated[
    str, Field(pattern=f"^{FUNCTION}$"), _expected("a hyperparameter's name of letters, digits and '_'")
]
VariableName = Annotated[
    str, Field(pattern=f"^{FUNCTION}$"), _expected("the name of an environment variable, such as VOCABULARY")
]
Choice = Annotated[tuple[Scalar, ...], Field(min_length=1), AfterValidator(_one_type)]
Other = Annotated[Literal["best_member", "served"], _expected("best_member or served")]
Severity = Annotated[Literal["stop", "warn", "ignore"], _expected("stop, warn or ignore")]
AnomalyKind = Annotated[
    Literal["new_column", "missing_column", "type", "presence", "domain", "range", "drift", "leak", "other"],
    _expected("new_column, missing_column, type, presence, domain, range, drift, leak or other"),
]
Share = Annotated[_Int | _Float, Field(ge=0, le=1), _expected("a number from 0 to 1")]
TimeFormat = Annotated[str, _expected("text such as '%d/%m/%Y'"), AfterValidator(_known_time_format)]
Distance = Annotated[_Int | _Float, Field(gt=0, le=1), _expected("a number > 0 and <= 1")]


class ConfigModel(BaseModel):
    """Base of all parts of a config: immutable, and an unknown key is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)
