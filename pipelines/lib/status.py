"""``status.json``: how the last run ended, for dashboards and for the next run.

It is rewritten atomically at the end of every run. The next run may skip its work only when the
last one published or found nothing to do, and nothing that a snapshot depends on has changed since:
the feed, the shop's day, its time zone and currency, or the code.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Literal

from oms_ops import clock
from oms_ops.feed.reader import Cursor
from oms_ops.settings import settings
from pipelines.lib import past
from pipelines.lib.files import replace_text

_ROOT = Path(__file__).parents[2]

#: The dbt project, and everything else whose change may change a figure.
DBT_PROJECT = _ROOT / "dbt_project"
SOURCES = (_ROOT / "pipelines", DBT_PROJECT)

State = Literal["published", "unchanged", "failed"]


@dataclass(frozen=True, slots=True)
class Basis:
    """What a snapshot is made from; equal bases give equal snapshots.

    ``past`` counts how often the lake's past was made anew (:mod:`pipelines.lib.past`).
    """

    cursor: str
    business_date: str
    code: str
    past: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """The end of a run.

    ``snapshot`` is the file that dashboards read after it, and ``basis`` what that was made from;
    both are None as long as nothing was published. ``warnings`` are the checks that it warned of.
    From ``look_again_at`` on, that nothing changes is odd: a run is to say so.
    """

    state: State
    run_id: str
    started_at: str
    finished_at: str
    message: str
    failed_checks: tuple[str, ...] = ()
    snapshot: str | None = None
    basis: Basis | None = field(default=None)
    warnings: tuple[str, ...] = ()
    look_again_at: str | None = None

    def save(self, published: Path) -> None:
        """Put the status into the folder of the snapshots."""
        replace_text(published / "status.json", json.dumps(asdict(self), indent=1))


def load(published: Path) -> Status | None:
    """Return the status of the last run, None when there is none that can be read."""
    try:
        content = json.loads((published / "status.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    basis = content.pop("basis", None)
    content["failed_checks"] = tuple(content["failed_checks"])
    content["warnings"] = tuple(content.get("warnings", ()))
    return Status(**content, basis=Basis(**basis) if basis else None)


def failed(
    published: Path, run_id: str, began: datetime, message: str, checks: tuple[str, ...] = ()
) -> None:
    """Write that a run failed; the snapshot before it stays."""
    last = load(published)
    Status(
        "failed",
        run_id,
        began.isoformat(),
        clock.now().isoformat(),
        message,
        checks,
        current_snapshot(published),
        last.basis if last else None,
        last.warnings if last else (),
        last.look_again_at if last else None,
    ).save(published)


def last_basis(published: Path) -> Basis | None:
    """Return what the newest snapshot was made from."""
    last = load(published)
    return last.basis if last else None


def is_current(published: Path, basis: Basis) -> bool:
    """Tell whether the published snapshot is the one that a run on ``basis`` would make."""
    last = load(published)
    return (
        last is not None
        and last.state in ("published", "unchanged")
        and last.basis == basis
        and current_snapshot(published) == last.snapshot
        and last.snapshot is not None
        and not (last.look_again_at and clock.now() >= datetime.fromisoformat(last.look_again_at))
    )


def current_snapshot(published: Path) -> str | None:
    """Return the name of the snapshot that readers open, None when there is none."""
    link = published / "current.duckdb"
    return link.resolve().name if link.exists() else None


def basis(cursor: Cursor, moment: datetime) -> Basis:
    """Return what a snapshot made at ``moment`` from the lake up to ``cursor`` is made from."""
    code = code_version(*SOURCES)
    times = past.number(settings().lake / "changes")
    return Basis(str(cursor), business_date(moment).isoformat(), code, times)


def business_date(moment: datetime) -> date:
    """Return the shop's day of ``moment``, in the shop's own time zone."""
    return moment.astimezone(settings().zone).date()


def code_version(*folders: Path) -> str:
    """Return a digest of the sources below ``folders`` and of the shop's settings in the models.

    Other code may give other numbers, and so may another time zone or currency.
    """
    digest = sha256(f"{settings().timezone} {settings().currency}".encode())
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix in _SOURCES and not _MADE.intersection(path.relative_to(folder).parts):
                digest.update(path.relative_to(folder).as_posix().encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


_SOURCES = frozenset({".py", ".sql", ".yml", ".yaml", ".csv"})
_MADE = frozenset({"target", "logs", "dbt_packages", "__pycache__"})
