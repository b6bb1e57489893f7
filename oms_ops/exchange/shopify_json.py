"""Shopify's JSON as plain documents: what is none is refused, and crashes nobody who reads it."""

from __future__ import annotations

import json
from typing import Any

from oms_ops.errors import FieldError, ValidationFailed

#: Lists and objects in one another; an order has half a dozen.
_DEEPEST = 50


def loads(text: str, field: str) -> Any:
    """Return the document that ``text`` is.

    Raises:
        ValidationFailed: it is no JSON (``not_json``, on ``field``), holds a number that is none,
            or is nested more deeply than any order.
    """
    try:
        found = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        _refuse_depth(found)
    except (ValueError, RecursionError) as error:
        message = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        fault = FieldError(field, "not_json", f"is no JSON: {message}")
        raise ValidationFailed("It cannot be read.", [fault]) from None
    return found


def documents(content: bytes) -> list[Any]:
    """Return the orders of a file: one, ``{"order": ...}``, ``{"orders": [...]}``, a list, NDJSON.

    Raises:
        ValidationFailed: it is no JSON.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fault = FieldError("file", "not_json", f"is no JSON: {error}")
        raise ValidationFailed("The file cannot be read.", [fault]) from None
    try:
        found = loads(text, "file")
    except ValidationFailed:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2 or not lines[0].strip().endswith("}"):
            raise
        return [_unwrapped(loads(line, f"file, line {n}")) for n, line in enumerate(lines, 1)]
    if isinstance(found, dict):
        found = found.get("orders") or _unwrapped(found)
    return found if isinstance(found, list) else [found]


def _unwrapped(document: Any) -> Any:
    return document.get("order") or document if isinstance(document, dict) else document


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large")
    return number


def _refuse_depth(document: Any) -> None:
    level = [document]
    for _ in range(_DEEPEST):
        level = [
            part
            for each in level
            if isinstance(each, dict | list)
            for part in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise RecursionError
