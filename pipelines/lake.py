"""Looks after the lake: ``python -m pipelines.lake status|replay|rebuild|tend|quarantine``.

No run of the pipeline is under way meanwhile; whoever comes second waits.
"""

from __future__ import annotations

import argparse
import getpass
import sys

from sqlalchemy.engine import Engine

from oms_ops.feed.reader import Cursor
from oms_ops.settings import settings
from pipelines.lib import continuity, idle, objects, quarantine, replay, upkeep
from pipelines.lib import lake as files
from pipelines.lib.files import Busy, exclusive
from pipelines.lib.landing import Landing


def main(arguments: list[str] | None = None) -> int:
    """Do what is asked for; return the exit code, 1 for a refusal that is told on stderr."""
    options = _parser().parse_args(arguments)
    try:
        with exclusive(settings().home / "pipeline.lock", wait_seconds=options.wait):
            options.work(options)
    except (Busy, continuity.Broken, idle.NoFeed, files.BrokenChain, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _status(_: argparse.Namespace) -> None:
    folder = settings().lake / "changes"
    landed = files.landed(folder)
    size = sum(file.path.stat().st_size for file in landed)
    print(f"{settings().lake_store or folder}: {len(landed):,} files, {size / 1e6:,.1f} MB")
    print(f"up to {files.cursor(folder)}")
    files.verify_chain(landed)


def _replay(options: argparse.Namespace) -> None:
    engine, folder = idle.open_feed(), settings().lake / "changes"
    store = objects.opened(settings().lake_store)
    _tell(engine, replay.replay(engine, folder, Cursor.parse(options.since), store))


def _rebuild(options: argparse.Namespace) -> None:
    engine, folder = idle.open_feed(), settings().lake / "changes"
    store = objects.opened(settings().lake_store)
    _tell(engine, replay.rebuild(engine, folder, store, wait_seconds=options.wait))


def _tend(_: argparse.Namespace) -> None:
    print(upkeep.tend())


def _list(_: argparse.Namespace) -> None:
    entries = quarantine.load(settings().lake / "changes")
    for entry in entries:
        by = f", {entry.decision} by {entry.decided_by}" if entry.decided_by else ""
        print(f"{entry}, since {entry.found_at[:16]}{by}")
    if not entries:
        print("nothing is in quarantine")


def _decide(options: argparse.Namespace) -> None:
    if not options.change and not options.all:
        raise ValueError("name the changes as EPOCH:SEQ, or all that wait with --all")
    done = quarantine.decide(
        settings().lake / "changes",
        None if options.all else [quarantine.parse(text) for text in options.change],
        options.decision,
        getpass.getuser(),
        objects.opened(settings().lake_store),
    )
    for entry in done:
        print(f"{entry.decision}: {entry}")


def _tell(engine: Engine, done: Landing) -> None:
    engine.dispose()
    print(f"{done.rows:,} changes landed, the lake ends at {done.horizon.cursor}")
    print("the next run of the pipeline builds the warehouse anew")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pipelines.lake", description="Look after the lake.")
    parser.add_argument("--wait", type=float, default=900, help="seconds to wait for a run")
    commands = parser.add_subparsers(required=True)
    status = commands.add_parser("status", help="say where the lake ends; find holes")
    status.set_defaults(work=_status)
    again = commands.add_parser("replay", help="land again what came after a place in the feed")
    again.add_argument("--from", dest="since", default="0:0:0", help="epoch:xid:seq, the start")
    again.set_defaults(work=_replay)
    anew = commands.add_parser("rebuild", help="make the lake anew from the database")
    anew.set_defaults(work=_rebuild)
    tend = commands.add_parser("tend", help="merge small files, prune the log: once a day")
    tend.set_defaults(work=_tend)
    aside = commands.add_parser("quarantine", help="changes that were set aside, and what to do")
    actions = aside.add_subparsers(required=True)
    actions.add_parser("list", help="say which, why, and where they are").set_defaults(work=_list)
    for name, decision, meaning in (
        ("release", "released", "let changes into the warehouse as they are"),
        ("drop", "dropped", "keep changes out for good, and warn of them no more"),
    ):
        action = actions.add_parser(name, help=meaning)
        action.add_argument("change", nargs="*", metavar="EPOCH:SEQ", help="as the list has it")
        action.add_argument("--all", action="store_true", help="every one that waits")
        action.set_defaults(work=_decide, decision=decision)
    return parser


if __name__ == "__main__":
    sys.exit(main())
