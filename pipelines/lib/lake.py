"""Names and files of the lake: the newest file name is the cursor.

A file holds the changes of one cursor range, ``after`` (exclusive) to ``upto`` (inclusive), and its
name says so: landing and advancing are one act. Names sort in commit order. A file is written
aside, fsynced, renamed, and the folder is fsynced: after a crash at any point the batch is either
there, and the next read begins behind it, or it is not, and the next read begins with it again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from oms_ops.feed.reader import Cursor
from pipelines.lib.failpoints import reach
from pipelines.lib.files import exclusive, sync_file, sync_folder

_NAME = re.compile(r"(\d{6})-(\d{20})-(\d{20})--(\d{6})-(\d{20})-(\d{20})\.parquet")


@dataclass(frozen=True, slots=True)
class LakeFile:
    """A landed file and the cursor range in it."""

    path: Path
    after: Cursor
    upto: Cursor


class BrokenChain(RuntimeError):
    """A lake file does not begin where the one before it ended."""


def file_name(after: Cursor, upto: Cursor) -> str:
    """Return the name of the file with the changes after ``after`` up to and with ``upto``."""
    return f"{_text(after)}--{_text(upto)}.parquet"


def _text(cursor: Cursor) -> str:
    return f"{cursor.epoch:06d}-{cursor.xid:020d}-{cursor.seq:020d}"


def landed(folder: Path) -> list[LakeFile]:
    """Return the files of the lake in commit order; none when there is no lake yet."""
    found = []
    for path in sorted(folder.glob("*.parquet")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise ValueError(f"{path.name} is no name of a lake file")
        numbers = [int(part) for part in match.groups()]
        found.append(LakeFile(path, Cursor(*numbers[:3]), Cursor(*numbers[3:])))
    return found


def cursor(folder: Path) -> Cursor:
    """Return the place of the last change that has landed."""
    files = landed(folder)
    return files[-1].upto if files else Cursor()


def verify_chain(files: list[LakeFile]) -> None:
    """Raise :class:`BrokenChain` unless the files cover the feed from its start without a hole."""
    end = Cursor()
    for file in files:
        if file.after != end or file.upto <= file.after:
            raise BrokenChain(f"{file.path.name} should begin after {end}")
        end = file.upto


def write(folder: Path, after: Cursor, upto: Cursor, fill: Callable[[Path], None]) -> LakeFile:
    """Land one batch: ``fill`` writes its Parquet file to the path that it is given."""
    path = folder / file_name(after, upto)
    # Readers take *.parquet; a leading dot and another ending keep a half-written file from them.
    aside = folder / f".{path.stem}.tmp"
    fill(aside)
    sync_file(aside)
    reach("landing.before_rename")
    aside.replace(path)
    sync_folder(folder)
    reach("landing.after_rename")
    return LakeFile(path, after, upto)


@contextmanager
def landing(folder: Path, *, wait_seconds: float = 60.0) -> Iterator[None]:
    """Be the only process that lands; remove what a crashed one left behind."""
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / ".lock", wait_seconds=wait_seconds):
        for leftover in folder.glob(".*.tmp"):
            leftover.unlink()
        yield
