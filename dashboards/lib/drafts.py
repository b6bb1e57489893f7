"""A merchandiser's unsent work on a reorder list: ticks and quantities, kept across filters.

Drafts live in the session, keyed by SKU and warehouse, so that changing a filter or sorting the
table loses nothing. When a newer list is published they go along for the lines that are still on
it, and the page says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import streamlit as st

if TYPE_CHECKING:
    import pandas as pd

    from oms_ops.purchasing.reorder import ApprovalLine

Key = tuple[str, str]
_STATE = "reorder_drafts"


@dataclass(slots=True)
class Drafts:
    """The ticks and changed quantities of one session.

    ``revision`` grows when something else than the table changes them: the table is then made anew,
    without the edits that it still holds.
    """

    list_id: str
    ticked: set[Key] = field(default_factory=set)
    quantities: dict[Key, int] = field(default_factory=dict)
    carried_over: int = 0
    revision: int = 0

    def quantity(self, key: Key, suggested: int) -> int:
        """Return the units to order of a line: the edited ones, or the suggestion."""
        return self.quantities.get(key, suggested)

    def tick(self, keys: Iterable[Key]) -> None:
        """Tick lines."""
        self.ticked |= set(keys)
        self.revision += 1

    def untick_all(self) -> None:
        """Untick every line."""
        self.ticked.clear()
        self.revision += 1

    def set_quantities(self, quantities: dict[Key, int]) -> None:
        """Change the units to order of lines."""
        self.quantities |= quantities
        self.revision += 1

    def reset_quantities(self) -> None:
        """Go back to the suggestions."""
        self.quantities.clear()
        self.revision += 1

    def forget(self, keys: Iterable[Key]) -> None:
        """Drop the drafts of lines, because they were ordered."""
        for key in list(keys):
            self.ticked.discard(key)
            self.quantities.pop(key, None)
        self.revision += 1

    def take(self, keys: list[Key], edited_rows: dict[Any, dict[str, Any]]) -> None:
        """Take over the table's pending edits; ``keys`` are the lines of its rows, in order."""
        for row, cells in edited_rows.items():
            key = keys[int(row)]
            if "tick" in cells:
                (self.ticked.add if cells["tick"] else self.ticked.discard)(key)
            if cells.get("order_quantity") is not None:
                self.quantities[key] = int(cells["order_quantity"])


def of_session(list_id: str, known: Iterable[Key]) -> Drafts:
    """Return this session's drafts for the list; those of an older list are carried over."""
    drafts = st.session_state.get(_STATE)
    if isinstance(drafts, Drafts) and drafts.list_id == list_id:
        return drafts
    fresh = Drafts(list_id)
    if isinstance(drafts, Drafts):
        still = set(known)
        fresh.ticked = drafts.ticked & still
        fresh.quantities = {k: q for k, q in drafts.quantities.items() if k in still}
        fresh.carried_over = len(fresh.ticked | set(fresh.quantities))
    st.session_state[_STATE] = fresh
    return fresh


def faults(sku: str, units: int, moq: int, pack: int) -> list[str]:
    """Return what the supplier's terms object to in a quantity, by the rule of the service."""
    from oms_ops.purchasing.orders import PurchaseLine, quantity_faults

    terms = SimpleNamespace(moq=moq, pack_multiple=pack)
    return [fault.message for fault in quantity_faults("", PurchaseLine(sku, units), terms)]


def rounded(units: int, moq: int, pack: int) -> int:
    """Return the least quantity that holds ``units``, the minimum and whole packs."""
    return math.ceil(max(units, moq, 1) / pack) * pack


def approval_lines(rows: pd.DataFrame) -> list[ApprovalLine]:
    """Return the lines that the service is asked to approve."""
    from oms_ops.purchasing.reorder import ApprovalLine

    return [
        ApprovalLine(row.sku, row.warehouse, int(row.suggested_quantity), int(row.order_quantity))
        for row in rows.itertuples()
    ]


def merged(rows: pd.DataFrame, work: Drafts, ordered: Iterable[Key]) -> pd.DataFrame:
    """Return the lines that are not ordered yet with this session's work on them.

    Adds ``key``, ``tick``, ``order_quantity`` and ``order_value``.
    """
    gone = set(ordered)
    keys = list(zip(rows["sku"], rows["warehouse"], strict=True))
    suggested = zip(keys, rows["suggested_quantity"], strict=True)
    rows = rows.assign(
        key=keys,
        tick=[key in work.ticked for key in keys],
        order_quantity=[work.quantity(key, int(units)) for key, units in suggested],
    )
    rows["order_value"] = (rows["order_quantity"] * rows["unit_cost"]).round(2)
    return rows[[key not in gone for key in keys]].reset_index(drop=True)
