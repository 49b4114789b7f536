"""Types of config values whose messages, unlike pydantic's own, name the expected value."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError


def expected(what: str) -> WrapValidator:
    """Replace all errors of a type by one message that names the expected value."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("expected", what) from None

    return WrapValidator(check)


_TEXT = expected("text (in quotes where YAML would read something else)")
Text = Annotated[str, Field(min_length=1), _TEXT]
AnyText = Annotated[str, _TEXT]  # it may be empty
Count = Annotated[int, Field(strict=True, ge=1), expected("an integer >= 1")]
Bool = Annotated[bool, Field(strict=True), expected("true or false")]
