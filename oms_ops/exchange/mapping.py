"""Which column of a file is which of our fields, and how its values are written.

A mapping is a TOML document::

    ignore = ["Colour"]

    [format]
    separator = ";"
    decimal_comma = true
    date_formats = ["%d.%m.%Y %H:%M"]
    timezone = "Europe/Berlin"

    [fields]
    external_id = "Order ID"
    currency = { value = "EUR" }

Fields that it does not name are looked for under their own name. A column that is neither a field
nor to be ignored (``"*"``: all such) is an error: what it says would be lost without a word.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping as AnyMapping
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from oms_ops.errors import FieldError, ValidationFailed

_Letter = Annotated[str, Field(min_length=1, max_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Constant(_Part):
    """The same value in every row."""

    value: Annotated[str, Field(coerce_numbers_to_str=True)]

    @field_validator("value", mode="before")
    @classmethod
    def _flag(cls, value: Any) -> Any:
        return str(value).lower() if isinstance(value, bool) else value


class Format(_Part):
    """How the file is written; ``timezone`` is that of times without one (the shop's, if none).

    ``date_formats`` are tried in their order, ISO 8601 after them.
    """

    separator: _Letter = ","
    quote: _Letter = '"'
    encoding: str = "utf-8-sig"
    decimal_comma: bool = False
    date_formats: list[str] = []
    timezone: str | None = None
    null_values: list[str] = []

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (ZoneInfoNotFoundError, ValueError):
                raise ValueError("is no known time zone") from None
        return value


class Mapping(_Part):
    """A mapping document."""

    format: Format = Format()
    fields: dict[str, str | Constant] = {}
    ignore: list[str] = []

    def with_constants(self, constants: AnyMapping[str, str | None]) -> Mapping:
        """Return the mapping with the constants that are given in place of its own fields."""
        given = {name: Constant(value=value) for name, value in constants.items() if value}
        return self.model_copy(update={"fields": {**self.fields, **given}})


def load(path: Path) -> Mapping:
    """Read a mapping file; raise ValidationFailed with every bad field."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path}: {error}"
        raise ValidationFailed(
            "The mapping cannot be read.", [FieldError("mapping", "unreadable", message)]
        ) from None


def parse(text: str) -> Mapping:
    """Read a mapping document; raise ValidationFailed with every bad field."""
    try:
        return Mapping.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        faults = [FieldError("mapping", "not_toml", str(error))]
    except ValidationError as error:
        faults = [
            FieldError(
                ".".join(str(part) for part in fault["loc"]) or "mapping",
                fault["type"],
                fault["msg"].removeprefix("Value error, "),
            )
            for fault in error.errors(include_url=False)
        ]
    raise ValidationFailed("The mapping has bad fields.", faults)
