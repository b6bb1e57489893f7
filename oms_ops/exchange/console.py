"""What an import prints on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from oms_ops.exchange.runs import Report

#: Rejected rows that are printed; the report file holds them all.
SHOWN = 10


def show(done: Report) -> None:
    """Print the rows of each fate, and the first of the rejected ones."""
    console = Console(highlight=False)
    fates = ", ".join(f"{count:,} {fate}" for fate, count in done.counts.items()) or "none"
    console.print(f"{done.number}: {done.rows:,} rows of {done.file_name}: {fates}")
    if not done.rejected:
        return
    table = Table("row", "code", "reason")
    for bad in done.rejected[:SHOWN]:
        table.add_row(str(bad.row_no), bad.reason, bad.message)
    console.print(table)
    if len(done.rejected) > SHOWN:
        console.print(f"and {len(done.rejected) - SHOWN:,} more: --report FILE writes them all")
