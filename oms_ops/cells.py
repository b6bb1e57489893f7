"""Texts in CSV files: what a spreadsheet must not take for a formula."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")

_STARTS = ("=", "+", "-", "@", "\t", "\r")


def cell(value: T) -> T | str:
    """Return ``value``, a text that begins like a formula with an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_STARTS) else value
