"""Types of config values whose messages, unlike pydantic's own, name the expected value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError, core_schema


def expected(what: str) -> WrapValidator:
    """Replace all errors of a type by one message that names the expected value."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("expected", what) from None

    return WrapValidator(check)


@dataclass(frozen=True)
class AtMost:
    """An upper bound with a message of its own, for types whose other bounds have one."""

    maximum: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Check the bound after the type's own checks."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Return the type's JSON schema with the bound."""
        return {**handler(schema), "maximum": self.maximum}

    def _check(self, value: int) -> int:
        if value > self.maximum:
            digits = str(value)
            shown = digits if len(digits) <= 40 else f"{digits[:20]}… ({len(digits)} digits)"
            raise PydanticCustomError("refused", f"got {shown}, expected at most {self.maximum}")
        return value


_TEXT = expected("text (in quotes where YAML would read something else)")
Text = Annotated[str, Field(min_length=1), _TEXT]
AnyText = Annotated[str, _TEXT]  # it may be empty
LARGEST_COUNT = 2**31 - 1  # TensorFlow counts with 32 bits in places
Count = Annotated[int, Field(strict=True, ge=1), expected("an integer >= 1"), AtMost(LARGEST_COUNT)]
Bool = Annotated[bool, Field(strict=True), expected("true or false")]
