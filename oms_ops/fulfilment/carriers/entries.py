"""The rows of a carrier's file: what each says, or why it cannot be read.

    labels-*: reference, tracking_number, media_type, label (base64; ZPL as text), problem
    events-*: event, at (with its offset from UTC), tracking_number | reference | shipment, reason

A CSV file has these as columns; a JSON file is a list of objects with them.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from oms_ops.fulfilment.carriers.interface import (
    Answer,
    Event,
    EventKind,
    Fault,
    Label,
    Message,
    Refusal,
)
from oms_ops.shapes import CONTROLS

#: The words of the files for what we do about them.
EVENTS: dict[str, EventKind] = {
    "delivered": "deliver",
    "failed": "fail",
    "out_for_delivery": "retry",
    "returned": "return",
}
#: Media types of labels that are text; the others come, and are kept, as base64.
TEXT_TYPES = ("text/html", "text/plain", "application/zpl")
#: What a carrier may send: a page of ours is the only HTML that we show.
_LABEL_TYPES = ("application/pdf", "application/zpl", "image/gif", "image/png")
_MOST_BYTES = 64 * 1024 * 1024
_LONGEST = 2000
_NAMES = ("tracking_number", "reference", "shipment")

_Row = Mapping[str, Any]


class _Unreadable(Exception):
    """A row, or the file, cannot be read: a stable code and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def read(name: str, content: bytes, *, state: Any) -> Message:
    """Return what a file says; whatever is in it, this does not fail."""
    try:
        parse = _kind(name)
        rows = _rows(name, content)
    except _Unreadable as fault:
        return Message(name, {}, (Fault(0, fault.code, str(fault)),), state=state)
    found: dict[int, Answer] = {}
    faults = []
    for number, row in rows.items():
        try:
            found[number] = parse(row)
        except _Unreadable as fault:
            faults.append(Fault(number, fault.code, str(fault)))
    return Message(name, found, tuple(faults), rows, state)


def reasons(message: Message, faults: Sequence[Fault]) -> str:
    """Return the faults as CSV: row, code and message, then what the row held.

    Mended, and under a name of its own, it can be dropped in again as it is.
    """
    names = list(dict.fromkeys(n for f in faults for n in message.content.get(f.row, ())))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["row", "code", "message", *names])
    for fault in faults:
        content = message.content.get(fault.row, {})
        values = (content.get(name) for name in names)
        writer.writerow([fault.row, fault.code, fault.message, *values])
    return text.getvalue()


def _kind(name: str) -> Any:
    for prefix, parse in (("labels", _label), ("events", _event)):
        if name.startswith(prefix):
            return parse
    raise _Unreadable("unknown_kind", "the name begins with neither labels nor events")


def _rows(name: str, content: bytes) -> dict[int, _Row]:
    """Return the rows by the line of a CSV file, or the place in the list of a JSON one."""
    if len(content) > _MOST_BYTES:
        raise _Unreadable("too_large", f"more than {_MOST_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Unreadable("not_utf8", str(error)) from None
    if name.endswith(".json"):
        return _json_rows(text)
    if not name.endswith(".csv"):
        raise _Unreadable("unknown_format", "is neither .csv nor .json")
    csv.field_size_limit(_MOST_BYTES)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        rows: dict[int, _Row] = {}
        for row in reader:
            rows[reader.line_num] = row
    except csv.Error as error:
        raise _Unreadable("not_csv", str(error)) from None
    return rows


def _json_rows(text: str) -> dict[int, _Row]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise _Unreadable("not_json", str(error)) from None
    if not isinstance(document, list):
        raise _Unreadable("not_a_list", "is no list of objects")
    return {
        number: row if isinstance(row, dict) else {"value": row}
        for number, row in enumerate(document, start=1)
    }


def _label(row: _Row) -> Label | Refusal:
    reference = _text(row, "reference", required=True)
    if problem := _text(row, "problem"):
        return Refusal(reference, problem)
    tracking_number = _text(row, "tracking_number", required=True)
    body = row.get("label") or None
    if body is None:
        return Label(reference, tracking_number)
    media_type = _text(row, "media_type", required=True)
    if media_type not in _LABEL_TYPES:
        raise _Unreadable("unknown_media_type", f"one of {', '.join(_LABEL_TYPES)}")
    if not isinstance(body, str) or "\0" in body:
        raise _Unreadable("not_text", "label: is no text")
    if media_type not in TEXT_TYPES:
        try:
            base64.b64decode(body, validate=True)
        except ValueError:
            raise _Unreadable("not_base64", "label: is not base64") from None
    return Label(reference, tracking_number, media_type, body)


def _event(row: _Row) -> Event:
    word = _text(row, "event", required=True)
    if word not in EVENTS:
        raise _Unreadable("unknown_event", f"event: one of {', '.join(EVENTS)}")
    names = {
        name: _text(row, name) or None for name in ("tracking_number", "reference", "shipment")
    }
    if not any(names.values()):
        raise _Unreadable("required", f"one of {', '.join(names)}")
    reason = _text(row, "reason", required=word == "failed")
    return Event(EVENTS[word], _moment(row), **names, reason=reason)


def _moment(row: _Row) -> datetime:
    text = _text(row, "at", required=True)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _Unreadable("not_a_time", f"at: {text!r} is no ISO 8601 time") from None
    if moment.tzinfo is None:
        raise _Unreadable("no_time_zone", f"at: {text!r} does not say its offset from UTC")
    return moment


def _text(row: _Row, name: str, *, required: bool = False) -> str:
    value = row.get(name)
    if value is None:
        value = ""
    if not isinstance(value, str):
        raise _Unreadable("not_text", f"{name}: is no text")
    value = value.strip()
    if required and not value:
        raise _Unreadable("required", f"{name}: is missing")
    if len(value) > _LONGEST or re.search(CONTROLS, value):
        raise _Unreadable("not_storable", f"{name}: is too long or holds a character that is none")
    return value
