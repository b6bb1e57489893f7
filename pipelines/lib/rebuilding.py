"""When the warehouse has to be built anew from the lake, because increments would be wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import duckdb

from oms_ops.feed.reader import Cursor
from pipelines.lib import lake, past, status
from pipelines.lib.files import replace_text
from pipelines.lib.rehung import rehung


def reason(warehouse: Path, folder: Path, today: date) -> str | None:
    """Return why the warehouse file has to be built anew, None where increments will do.

    ``today`` is the business date of the build.
    """
    if not warehouse.exists():
        return None
    noted = _Note.of(warehouse)
    if not noted.code:
        return "it was not built to its end"
    if noted.code != status.code_version(status.DBT_PROJECT):
        return "the models changed"
    if noted.past != past.number(folder):
        return "the lake's past was made anew"
    if noted.begun > today.isoformat():
        return f"it was built on a later day, {noted.begun}"
    newest = processed_upto(warehouse)
    if newest is not None and _is_overtaken(newest, folder):
        return "it is older than the merged files of the lake"
    done = newest.path.name if newest else ""
    if moved := rehung(warehouse, folder, _after(_place(newest), folder), done):
        return f"{moved} changed"
    return None


def begin_anew(warehouse: Path) -> None:
    """Forget what the warehouse was built with, before it is built anew.

    What a build anew leaves half done no increment can mend, whichever models make it: they know
    what has changed since the build before, and nothing of what the one between them made.
    """
    _path(warehouse).unlink(missing_ok=True)


def begin(warehouse: Path, today: date) -> None:
    """Note the business date of increments before they are made: they may not come to their end."""
    noted = _Note.of(warehouse)
    if noted.code and noted.begun != today.isoformat():
        replace(noted, begun=today.isoformat()).save(warehouse)


def is_tested(warehouse: Path, today: date) -> bool:
    """Tell whether a whole build on the business date ``today`` tested all that the marts have."""
    return _Note.of(warehouse).tested == today.isoformat()


def remember(warehouse: Path, folder: Path, today: date) -> None:
    """Note what the warehouse was built with and tested, after a whole build without a failure.

    It tested all of the marts, or what it touched after one that did on the same business date.
    """
    code = status.code_version(status.DBT_PROJECT)
    day = today.isoformat()
    _Note(code, past.number(folder), day, day).save(warehouse)


@dataclass(frozen=True, slots=True)
class _Note:
    """What is noted beside a warehouse: its code, its lake's past, the days of tests and builds."""

    code: str = ""
    past: int = 0
    #: The business date of the last build that tested all of it.
    tested: str = ""
    #: The business date of the last build, whether or not it came to its end.
    begun: str = ""

    @classmethod
    def of(cls, warehouse: Path) -> _Note:
        path = _path(warehouse)
        if not path.exists():
            return cls()
        code, times, tested, begun = [*path.read_text("utf-8").split(), "", "", ""][:4]
        return cls(code, int(times or 0), tested, begun or tested)

    def save(self, warehouse: Path) -> None:
        replace_text(_path(warehouse), f"{self.code} {self.past} {self.tested} {self.begun}")


def _path(warehouse: Path) -> Path:
    return warehouse.with_suffix(".code")


def _is_overtaken(newest: lake.LakeFile, folder: Path) -> bool:
    """Tell whether the place that the warehouse reached lies inside of a file.

    A build reads files by their names: it would take such a file for one that it knows.
    """
    return any(file.after < newest.upto < file.upto for file in lake.landed(folder))


def reached(warehouse: Path) -> Cursor:
    """Return the place in the feed that a whole build has gone past, the start before the first."""
    return _place(processed_upto(warehouse) if warehouse.exists() else None)


def _place(newest: lake.LakeFile | None) -> Cursor:
    return newest.upto if newest else Cursor()


def to_read(warehouse: Path, folder: Path, *, anew: bool) -> int:
    """Return how many changes a build takes in: those of the files that none has gone through."""
    landed = [file.path for file in lake.landed(folder)]
    files = landed if anew else _after(reached(warehouse), folder)
    if not files:
        return 0
    with duckdb.connect() as connection:
        row = connection.execute(
            "SELECT CAST(sum(num_rows) AS BIGINT) FROM parquet_file_metadata(?)",
            [[str(file) for file in files]],
        ).fetchone()
    return int(row[0]) if row else 0


def _after(place: Cursor, folder: Path) -> list[Path]:
    """Return the files of the lake that have what comes after a place in the feed."""
    return [file.path for file in lake.landed(folder) if file.upto > place]


def processed_upto(warehouse: Path) -> lake.LakeFile | None:
    """Return the newest file that a whole build has gone through, None before the first."""
    with duckdb.connect(warehouse, read_only=True) as connection:
        try:
            row = connection.execute(
                "SELECT max(file_name) FROM intermediate.processed_files"
            ).fetchone()
        except duckdb.CatalogException:
            return None
    return lake.parsed(Path(row[0])) if row and row[0] else None
