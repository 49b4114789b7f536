"""The classes of a label: which ones there are, their order, and which one is positive.

The order is never that of frequency, because a base rate that crosses one half between two spans would exchange the
classes. It is the order of the label's domain in the schema. If the schema lists no classes, it is the order of the
values in `train`: numbers by value, text by letters. A binary problem has the negative class first and the positive
class last. The positive class is, in this order:

1. `positive:` of the YAML, or the schema's `annotation { tag: "positive: yes" }` of the label;
2. the class that is written yes, true, y, t, positive or pos;
3. the last class of the order above, such as 1 of 0 and 1.

Nothing here reads the number of rows of a class.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from benison.serving.close_names import did_you_mean
from benison.serving.errors import DataError

TAG = "positive:"  # beginning of the schema's annotation
_POSITIVE = ("yes", "true", "y", "t", "positive", "pos")
# YAML reads these words as true and false, whatever the class is called.
_TRUTHS = {
    **dict.fromkeys(("yes", "true", "on", "y", "t"), True),
    **dict.fromkeys(("no", "false", "off", "n", "f"), False),
}


@dataclass(frozen=True)
class LabelSchema:
    """The part of a schema about the classes of a label.

    Attributes:
        listed: the classes of its domain, in their order; empty if it has none.
        positive: the positive class; None if the schema does not say.
    """

    listed: tuple[str, ...] = ()
    positive: str | None = None

    @classmethod
    def of(cls, schema: Any, label: str) -> LabelSchema:
        """Read a schema.

        Args:
            schema: TensorFlow Metadata's Schema.
            label: name of the label.
        """
        for feature in schema.feature:
            if feature.name == label:
                tags = [_tagged(tag) for tag in feature.annotation.tag if tag.startswith(TAG)]
                return cls(_domain(schema, feature), tags[0] if tags else None)
        return cls()


@dataclass(frozen=True)
class Classes:
    """The classes of a label.

    Attributes:
        names: the names by class id; for a binary problem the negative, then the positive class.
        positive: the positive class of a binary problem; '' otherwise.
        why: why it is the positive one; '' if there is none.
    """

    names: tuple[str, ...]
    positive: str = ""
    why: str = ""

    def __str__(self) -> str:
        if self.positive:
            return f"positive class: {self.positive} ({self.why}); negative class: {self.names[0]}"
        return f"{len(self.names)} classes: {', '.join(self.names[:20])}" + (", …" if len(self.names) > 20 else "")


def ordered(
    label: str, problem: str, present: Iterable[str], schema: LabelSchema, positive: str | None = None
) -> Classes:
    """Return the classes of a label in their order.

    Args:
        label: name of the label, for messages.
        problem: binary or multiclass.
        present: the classes of the rows; they count only if the schema lists no classes.
        schema: what the schema says about the label.
        positive: `positive:` of the YAML; None if it does not say.

    Raises:
        DataError: a binary problem without exactly two classes, a positive class that does not exist, or a YAML and
            a schema with different ones.
    """
    names = schema.listed or by_value(present)
    where = "the schema lists" if schema.listed else "the rows have"
    if len(names) < 2:
        raise DataError(f"label {label!r}: {where} {len(names)} classes ({_listed(names)}); expected at least two")
    if problem != "binary":
        return Classes(names)
    if len(names) != 2:
        raise DataError(
            f"label {label!r}: problem is binary, but {where} {len(names)} classes: {_listed(names)}; expected two. "
            "Set problem: multiclass, or remove the classes that do not belong"
        )
    chosen, why = _positive(label, names, schema, positive)
    return Classes((*(name for name in names if name != chosen), chosen), chosen, why)


def check_agreement(label: str, schema: LabelSchema, positive: str | None) -> None:
    """Raise DataError if the YAML and the schema name different positive classes."""
    if positive is not None and schema.positive is not None and not same_class(positive, schema.positive):
        raise DataError(
            f"label {label!r}: the positive class is {positive!r} in the YAML and {schema.positive!r} in the schema; "
            "make both the same"
        )


def by_value(names: Iterable[str]) -> tuple[str, ...]:
    """Sort distinct class names: by value if all are numbers, else by letters."""
    distinct = sorted(set(names))
    numbers = {name: _number(name) for name in distinct}
    if all(number is not None for number in numbers.values()):
        return tuple(sorted(distinct, key=lambda name: numbers[name] or 0.0))
    return tuple(distinct)


def same_class(declared: str, name: str) -> bool:
    """Return True if both are the same text, number or truth value; YAML reads yes as true."""
    if declared == name:
        return True
    numbers = _number(declared), _number(name)
    if None not in numbers:
        return numbers[0] == numbers[1]
    truths = _TRUTHS.get(declared.casefold()), _TRUTHS.get(name.casefold())
    return truths[0] is not None and truths[0] == truths[1]


def named_positive(names: Collection[str]) -> str | None:
    """Return the only class whose name means "positive", such as yes; None if there is none, or several."""
    words = [name for name in names if name.strip().casefold() in _POSITIVE]
    return words[0] if len(words) == 1 else None


def _positive(label: str, names: tuple[str, ...], schema: LabelSchema, positive: str | None) -> tuple[str, str]:
    """Return the positive class of a binary problem, and why it is."""
    check_agreement(label, schema, positive)
    if positive is not None:
        return _find(label, positive, names, "positive: of the YAML"), "set in the YAML"
    if schema.positive is not None:
        return _find(label, schema.positive, names, "the schema's annotation"), "set in the schema"
    word = named_positive(names)
    if word is not None:
        return word, "by its name; `positive:` in the YAML sets another one"
    order = "last in the schema's domain" if schema.listed else "last by value"
    return names[-1], f"{order}; `positive:` in the YAML sets another one"


def _find(label: str, declared: str, names: tuple[str, ...], where: str) -> str:
    exact = [name for name in names if name == declared]
    trimmed = exact or [name for name in names if name.strip() == declared.strip()]
    found = trimmed or [name for name in names if same_class(declared, name)]
    if len(found) != 1:
        raise DataError(
            f"label {label!r}: {where} names {declared!r}, which is not a class; expected one of {_listed(names)}"
            f"{did_you_mean(declared, names)}"
        )
    return found[0]


def _tagged(tag: str) -> str:
    """Return the class of an annotation; blanks around it count, except the one after the colon."""
    return tag.removeprefix(TAG).removeprefix(" ")


def _domain(schema: Any, feature: Any) -> tuple[str, ...]:
    """Return the values of a feature's domain; empty if it lists none."""
    kind = feature.WhichOneof("domain_info")
    if kind == "domain":
        values = next((domain.value for domain in schema.string_domain if domain.name == feature.domain), ())
    elif kind == "string_domain":
        values = feature.string_domain.value
    elif kind == "bool_domain":
        values = (feature.bool_domain.false_value, feature.bool_domain.true_value)
    else:
        values = ()
    names = tuple(dict.fromkeys(value for value in values if value))
    return names if len(names) > 1 or kind != "bool_domain" else ()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(map(repr, list(names)[:10]))
    return shown + (", …" if len(names) > 10 else "") if names else "none"
