"""The base of all parts of a version's manifest."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A part of a manifest. Keys that this release does not know are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain data: exactly the keys that were set or read."""
        return self.model_dump(exclude_unset=True)
