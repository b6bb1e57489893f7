"""What a what-if prints on a terminal."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table

_ROWS = {
    "orders": "orders",
    "refused": "of them refused: short, no backorder allowed",
    "split_orders": "orders from several warehouses",
    "shipments": "shipments",
    "units_shipped": "units shipped",
    "orders_backordered": "orders that had to wait",
    "units_backordered": "units that had to wait",
    "kilometres": "kilometres",
}


def show(answer: dict[str, Any]) -> None:
    """Print both sides of :func:`oms_ops.orders.whatif.what_if`, and the first changed orders."""
    console = Console(highlight=False)
    before, after = answer["before"], answer["after"]
    table = Table(title=f"{answer['from'][:10]} until {answer['until'][:10]}")
    table.add_column("")
    for name in ("rules in force", "changed rules", "difference"):
        table.add_column(name, justify="right")
    for key, name in _ROWS.items():
        was, now = before[key], after[key]
        table.add_row(name, f"{was:,}", f"{now:,}", f"{now - was:+,}")
    was, now = Decimal(before["cost"]), Decimal(after["cost"])
    table.add_row(f"cost, {answer['currency']}", f"{was:,.2f}", f"{now:,.2f}", f"{now - was:+,.2f}")
    console.print(table)
    console.print(f"{answer['orders_changed']:,} orders are routed otherwise", end="")
    console.print(", the first of them:" if answer["sample"] else ".")
    for each in answer["sample"]:
        console.print(f"  {each['number']}: {_side(each['before'])} -> {_side(each['after'])}")


def _side(side: dict[str, Any]) -> str:
    shipped = ", ".join(f"{code} {units}" for code, units in side["shipped"].items()) or "nothing"
    waits = f", {side['backordered']} wait" if side["backordered"] else ""
    return f"{shipped}{waits} ({side['rule']})"
