"""What an import prints on a terminal."""

from __future__ import annotations

from decimal import Decimal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from oms_ops.exchange.online_retail.history import Progress as Told
from oms_ops.exchange.online_retail.reconciliation import Reconciliation
from oms_ops.exchange.runs import Report
from oms_ops.exchange.values import E4

#: Columns that a table needs to be read; a narrower terminal wraps its lines instead.
WIDTH = 130
#: Rejected rows that are printed; the report file holds them all.
SHOWN = 10


def _console() -> Console:
    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    return console


def show(done: Report) -> None:
    """Print the rows of each fate, the first of the rejected ones, and the proof of the money."""
    if done.reconciliation:
        show_reconciliation(done.reconciliation)
    console = _console()
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


def show_reconciliation(result: Reconciliation) -> None:
    """Print rows and money of each fate, in the file and in our tables."""
    console = _console()
    table = Table("fate", "reason", title="The file and what became of it, in pounds")
    for name in ("rows", "file", "ours", "remainder"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("ours is read from")
    table.add_column("")
    for line in result.lines:
        table.add_row(
            line.fate, line.reason, f"{line.rows:,}", _pounds(line.file_e4), _pounds(line.ours_e4),
            _pounds(line.remainder_e4, E4), line.kept_in, "ok" if line.holds else "FAIL",
        )  # fmt: skip
    table.add_section()
    rows, ours = sum(line.rows for line in result.lines), sum(line.ours_e4 for line in result.lines)
    rest = sum(line.remainder_e4 for line in result.lines)
    table.add_row("all", "", f"{rows:,}", _pounds(sum(line.file_e4 for line in result.lines)),
                  _pounds(ours), _pounds(rest, E4))  # fmt: skip
    table.add_row("the file", "", f"{result.rows:,}", _pounds(result.file_e4), "", "", "",
                  "ok" if result.holds else "FAIL")  # fmt: skip
    console.print(table)


def _pounds(amount_e4: int, places: int = 2) -> str:
    amount = Decimal(amount_e4).scaleb(-E4)
    return f"{amount:,.{places}f}" if amount_e4 % 100 == 0 or places == E4 else f"{amount:,.4f}"


def bar(what: str) -> tuple[Progress, Told]:
    """Return a progress bar and what it is told with: (done, in all)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    bars = Progress(*columns, transient=True)
    task = bars.add_task(what, total=None)
    return bars, lambda done, total: bars.update(task, completed=done, total=total)
