"""Keeps the figures in ``docs/benchmarks.md``: a part for each section, renewed when it is run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.benchmarks.report import Figure, table

_INTRODUCTION = """# Benchmarks

Written by `make bench`, or a part of it by `make bench BENCH=capture,http`; do not edit. What to
look at is the ratio: all sides of it run in turns, a round each, in one run on one machine, after
a warm-up that is not counted. *Ratio* is that of the median round, *Rounds* the lowest and the
highest; rates are the median round's, and so are p50 and p99 (milliseconds). Absolute figures
depend on the machine and on what else it does.
"""

#: What each section measures, in the order of the document.
SECTIONS = {
    "capture": """## Capture, in process

Orders of three lines under one shop rule of every kind (price lists with breaks, taxes, shipping
charges, cash rounding, channel reserve, holds, all routing criteria, low-stock thresholds), with
idempotency key, payment and outbox message; uniform over 1,000 SKUs or all wanting one (hot), on
preloaded and analysed tables. Clients are processes with a connection each: threads would share
Python's lock and measure that instead.

Two limits stand beside it. *hand*: the order written with the bare driver, a statement a table.
*call*: all of that in one statement for the database to carry out by itself, on PostgreSQL a
function, on SQLite, which has none, a view's trigger. Both leave the same rows with the same
feed, constraints, guarded claims and durability, which is compared before anything is measured;
but they know their customer, have no charges, taxes, holds or routing rules to look at, validate
nothing and never try again. The aim is 1.0 of hand, 0.5 of call, and a hot SKU at 0.7 of uniform.
""",
    "http": """## Capture, over HTTP

The same orders, uniform and hot, through `oms serve` with one and with two workers, over kept
connections, beside *bare*: a server that does no more than parse the request and call the limit
above (SQLite *hand*, PostgreSQL *call*) in a thread, with as many workers. Clients are processes of
their own; they and the server share the cores, and order again as soon as they are answered. So 8
of them on few cores measure a queue. The aim is a p99 under 25 ms for them.
""",
    "payments": """## Payments

One card gateway, the fake one, whose books are a SQLite file of their own. *Captures*: a part of a
payment is asked for, reserved, called for and settled, one after the other by each client, with a
gateway that answers at once and with one that takes 20 ms. Beside it *hand*: the same rows, feed,
constraints and durability by the bare driver, reserved and claimed in one transaction, and nothing
looked at again or followed. *Webhooks*: signed messages through `oms serve` with one worker,
verified and stored; *bare* is a server that does no more than that in a thread. *Folds*: messages
about captures made at the gateway itself, by one process, 32 a transaction on both sides; *hand*
parses, locks, writes the event, adds it up and marks the message, and nothing follows.
""",
    "scale": """## Scale

What one capture takes one client, with a thousand to a million orders and their feed in the
database, the databases asked in turns. The aim is flat: within a fifth of the smallest.
""",
    "history": """## History

*Bulk*: 100,000 lines in batches of a day, beside a target. *Ingest*: the change log to Parquet,
beside DuckDB's own scanner copying the same rows, which sorts nothing, checks nothing and may
lose what is in flight.
""",
    "peers": """## Ingest, beside dlt

A first load of order lines and the changes after it: ours from the feed to the lake, each change
once, and the ledger summed for the reconciliation, beside dlt's `sql_database` reading the table
into DuckDB by its fastest backend (connectorx), with a cursor on `changed_at`, which loses what
commits late and what is deleted; and beside DuckDB's own scanner. Each is a process; seconds are
those of the load, memory is the most that the process held, with ours that of the one that reads a
first load for it. *Ratio* is theirs to ours in seconds, ours to theirs in memory. The aim: the
first load faster than dlt, changes three times as fast, both in less memory.
""",
    "growth": """## Pipeline, after a small and after a great history

Runs of `python -m pipelines.run` as a whole process after a history of so many order lines, laid
over two years with shipments, payments and stock moves, and their feed. The aim: a tick takes no
more than 1.3 of what it takes after the smallest, and the first run, which builds everything, 8 GB.
""",
    "pipeline": """## Pipeline

`python -m pipelines.run` as a whole process, imports included.
""",
}


def heading(section: str) -> str:
    """Return a section's name for people."""
    return SECTIONS[section].partition("\n")[0].removeprefix("## ")


def write(path: Path, figures: Mapping[str, Sequence[Figure]], taken: Mapping[str, str]) -> None:
    """Keep the figures of the sections that were run; the others stay as they are.

    ``taken`` tells of each section how and on what it was measured.
    """
    kept = _parts(path.read_text(encoding="utf-8")) if path.exists() else {}
    for section, found in figures.items():
        kept[heading(section)] = f"{SECTIONS[section]}\n{table(found)}\n\n{taken[section]}\n"
    parts = [kept[heading(section)] for section in SECTIONS if heading(section) in kept]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([_INTRODUCTION, *parts]), encoding="utf-8")


def _parts(text: str) -> dict[str, str]:
    """Return the parts of a document by their headings."""
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)[1:]
    return {
        name: f"## {name}\n{body.rstrip()}\n"
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }
