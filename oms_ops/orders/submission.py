"""Reads a submission: the order in it, and every fault that needs neither catalogue nor rules.

What is wrong in one place must not hide what is wrong in another. So a submission with faults is
read a second time without them: what is ``legible`` of it can be asked of the catalogue and priced
as far as that goes. ``spoiled`` names what in it is not the caller's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from oms_ops import cards
from oms_ops.errors import FieldError
from oms_ops.orders.intake import OrderIn, card_faults, settled_address, settled_phone
from oms_ops.shapes import field_error, storable

#: What stands where something required is missing or wrong; it is spoiled.
_STAND_INS: dict[str, Any] = {
    "currency": "USD",
    "customer": {"email": "nobody@example.com", "name": "-"},
    "ship_to": {"name": "-", "line1": "-", "country": "US"},
    "lines": [{"sku": "-", "quantity": 1}],
}
_PARTS = ("customer", "ship_to")
_LISTS = ("lines", "discount_codes")
#: A line without one of these is none; without another field it still has its units.
_LINE_NEEDS = ("sku", "quantity")
#: What the price of a line depends on, and what the total does besides.
_PRICE = ("currency", "customer.email")
_TOTAL = ("channel", "ship_to.country", "ship_to.region", "lines", "discount", "discount_percent",
          "discount_codes", "shipping", "shipping_tax", "tax_included", "payment")  # fmt: skip

_Place = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Submission:
    """What was submitted, and what is wrong with it already.

    ``order`` is whole, or None where there are ``errors``. ``legible`` is None where nothing is.
    ``places`` are the indexes in the payload of the legible lines and codes, ``marred`` the places
    in ``legible`` of lines with a bad field.
    """

    payload: Any
    order: OrderIn | None
    errors: list[FieldError]
    legible: OrderIn | None
    spoiled: frozenset[str] = frozenset()
    places: dict[str, list[int]] | None = None
    marred: frozenset[int] = frozenset()

    def has(self, *fields: str) -> bool:
        """Tell whether all these fields are the caller's, or left out by the caller."""
        return not any(
            field in self.spoiled or field.partition(".")[0] in self.spoiled for field in fields
        )

    @property
    def prices_lines(self) -> bool:
        """Whether the price of a line can be told."""
        return self.has(*_PRICE)

    @property
    def prices_whole(self) -> bool:
        """Whether all that the total depends on is there."""
        return self.has(*_PRICE, *_TOTAL)

    @property
    def named_lines(self) -> list[tuple[int, str]]:
        """(index, SKU) of each line that names one, whether or not the rest can be read."""
        if self.order is not None:
            return [(index, line.sku) for index, line in enumerate(self.order.lines)]
        return lines_of(self.payload)

    def relabelled(self, faults: Iterable[FieldError]) -> list[FieldError]:
        """Return faults of ``legible`` with the payload's indexes."""
        return list(faults) if self.places is None else relabelled(faults, self.places)


def read(payload: Any) -> Submission:
    """Read a submission; nothing is asked of the database."""
    try:
        order = OrderIn.model_validate(payload)
    except ValidationError as error:
        found = error.errors(include_url=False)
        faults = _without_cards(payload, [field_error(fault) for fault in found])
        return _contacts(_legible(payload, faults, [fault["loc"] for fault in found]))
    return _contacts(Submission(payload, order, [], order))


def _without_cards(payload: Any, faults: list[FieldError]) -> list[FieldError]:
    """Tell of card numbers, and never repeat one in what else is told."""
    seen = card_faults(payload)
    told = {fault.field for fault in seen}
    kept = [f for f in faults if f.field not in told and not cards.looks_like_card(f.field)]
    return kept + seen


def _contacts(read: Submission) -> Submission:
    """Bring phones and region into the form in which they are kept; ask the country's rules."""
    order = read.legible
    if order is None:
        return read
    country = order.ship_to.country if read.has("ship_to.country") else None
    number, faults = settled_phone("customer.phone", order.customer.phone, country)
    changes: dict[str, Any] = {}
    if number is not None and number != order.customer.phone:
        changes["customer"] = order.customer.model_copy(update={"phone": number})
    if country is not None:
        to, wrong = settled_address(order.ship_to)
        faults += [fault for fault in wrong if read.has(fault.field)]
        if to is not order.ship_to:
            changes["ship_to"] = to
    else:
        faults += settled_phone("ship_to.phone", order.ship_to.phone, None)[1]
    if len(set(order.discount_codes)) != len(order.discount_codes):
        faults.append(FieldError("discount_codes", "repeated", "each code counts once"))
    if changes:
        order = order.model_copy(update=changes)
    errors = read.errors + faults
    spoiled = read.spoiled.union(fault.field for fault in faults)
    return replace(
        read, order=None if errors else order, errors=errors, legible=order, spoiled=spoiled
    )


def _legible(payload: Any, faults: list[FieldError], wrong: Sequence[_Place]) -> Submission:
    """Read what is left of a payload without the places that are ``wrong``."""
    nothing = Submission(payload, None, faults, None)
    if not isinstance(payload, dict) or () in wrong:
        # It is no object, or the name of a field is no text.
        return nothing
    left = {name: value for name, value in payload.items() if name in OrderIn.model_fields}
    for name in _PARTS:
        left[name] = dict(left[name]) if isinstance(left.get(name), dict) else {}
    rows: dict[str, dict[int, Any]] = {}
    for name in _LISTS:
        values = left.get(name)
        rows[name] = dict(enumerate(values)) if isinstance(values, list) else {}
    spoiled: set[str] = set()
    marred: set[int] = set()
    for place in wrong:
        spoiled.add(_take_out(place, left, rows, marred))
    for name in _PARTS:
        left[name] = {**_STAND_INS[name], **left[name]}
    left.setdefault("currency", _STAND_INS["currency"])
    for name in _LISTS:
        left[name] = list(rows[name].values())
    try:
        order = OrderIn.model_validate({**left, "lines": left["lines"] or _STAND_INS["lines"]})
    except ValidationError:
        return nothing
    changes: dict[str, Any] = {} if rows["lines"] else {"lines": []}
    if not {"customer", "customer.email"}.isdisjoint(spoiled):
        # It must be nobody's.
        changes["customer"] = order.customer.model_copy(update={"email": ""})
    places = {name: list(rows[name]) for name in _LISTS}
    at = frozenset(places["lines"].index(index) for index in marred if index in rows["lines"])
    order = order.model_copy(update=changes)
    return Submission(payload, None, faults, order, frozenset(spoiled), places, at)


def _take_out(
    place: _Place, left: dict[str, Any], rows: dict[str, dict[int, Any]], marred: set[int]
) -> str:
    """Take a wrong place out of a payload; return the field that is spoiled by it."""
    name = str(place[0])
    inner = place[1:]
    if name in _PARTS and inner:
        left[name].pop(inner[0], None)
        return f"{name}.{inner[0]}"
    if name in _LISTS and inner:
        row = rows[name].get(inner[0])
        field = inner[1] if len(inner) > 1 else None
        if isinstance(row, dict) and field is not None and field not in _LINE_NEEDS:
            rows[name][inner[0]] = {key: value for key, value in row.items() if key != field}
            marred.add(inner[0])
        else:
            rows[name].pop(inner[0], None)
        return name
    left.pop(name, None)
    if name in _PARTS:
        left[name] = {}
    if name in _LISTS:
        rows[name].clear()
    return name


def lines_of(payload: Any) -> list[tuple[int, str]]:
    """Return (index, SKU) of each line that names one, however broken the rest is."""
    lines = payload.get("lines") if isinstance(payload, dict) else None
    if not isinstance(lines, list):
        return []
    return [
        (index, line["sku"].strip())
        for index, line in enumerate(lines)
        if isinstance(line, dict) and isinstance(line.get("sku"), str) and _speakable(line["sku"])
    ]


def _speakable(sku: str) -> bool:
    """Tell whether the catalogue can be asked for it; the structure refused what it cannot."""
    try:
        return bool(storable(sku).strip())
    except ValueError:
        return False


def relabelled(faults: Iterable[FieldError], places: dict[str, list[int]]) -> list[FieldError]:
    """Return faults with the indexes that their lists' ``places`` have; beyond them they are none.

    ``lines[1].sku`` is ``lines[4].sku`` where ``places["lines"][1]`` is 4.
    """
    renamed = []
    for fault in faults:
        match = re.match(r"([a-z_]+)\[(\d+)\]", fault.field)
        if match is None or match[1] not in places:
            renamed.append(fault)
        elif int(match[2]) < len(places[match[1]]):
            field = f"{match[1]}[{places[match[1]][int(match[2])]}]{fault.field[match.end() :]}"
            renamed.append(FieldError(field, fault.code, fault.message))
    return renamed
