"""Texts that need not be given: a blank one is not."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from oms_ops.shapes import Text, Words


def given(value: Any) -> Any:
    """Return None for a blank text: a form that is sent empty says nothing."""
    return None if isinstance(value, str) and not value.strip() else value


#: A short text that may be left out.
MaybeText = Annotated[Text | None, BeforeValidator(given)]
#: A name or a line of an address that may be left out.
MaybeWords = Annotated[Words | None, BeforeValidator(given)]
