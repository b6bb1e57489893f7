"""Texts as every database here can hold them."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StringConstraints

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """Refuse what PostgreSQL cannot hold in a text; SQLite would keep it and nobody could move."""
    if _UNSTORABLE.search(text):
        raise ValueError("holds a character that cannot be stored")
    return text


def given(value: Any) -> Any:
    """Return None for a blank text: a form that is sent empty says nothing."""
    return None if isinstance(value, str) and not value.strip() else value


#: A short text, stripped.
Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(storable),
]
#: One that need not be given; a blank one is not.
MaybeText = Annotated[Text | None, BeforeValidator(given)]
