"""Checks of config values whose messages say what would be right, in place of pydantic's own."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError


def expected(what: str) -> WrapValidator:
    """Whatever is wrong with the value, the user is told the same: what would be right."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("expected", what) from None

    return WrapValidator(check)


Text = Annotated[str, Field(min_length=1), expected("text (in quotes where YAML would read something else)")]
Count = Annotated[int, Field(strict=True, ge=1), expected("an integer >= 1")]
Bool = Annotated[bool, Field(strict=True), expected("true or false")]
