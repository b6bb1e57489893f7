"""Names and files of the lake: the newest file name is the cursor.

A file holds the changes of one cursor range, ``after`` (exclusive) to ``upto`` (inclusive), and its
name says so: landing and advancing are one act. Names sort in commit order. A file is written
aside, fsynced, renamed, and the folder is fsynced: after a crash at any point the batch is either
there, and the next read begins behind it, or it is not, and the next read begins with it again.

A file whose range lies within another's is what a merge or a cut did not come to remove; it is
nobody's. So a merge writes the larger file first, and removes the smaller ones after it.

The lake may be an object store: then its files are there first, and the folder is a copy that
whoever reads them here (DuckDB, Polars) finds at the speed of a disk. The copy may be lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from oms_ops.feed.reader import Cursor
from pipelines.lib.failpoints import reach
from pipelines.lib.files import exclusive, sync_file, sync_folder

if TYPE_CHECKING:
    from pipelines.lib.objects import Objects

_NAME = re.compile(r"(\d{6})-(\d{20})-(\d{20})--(\d{6})-(\d{20})-(\d{20})\.parquet")

#: Files beside the changes that are copied with them.
PAST = "past.json"
QUARANTINE = "quarantine.json"
_BESIDE = (PAST, QUARANTINE)


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


def parsed(path: Path) -> LakeFile:
    """Return the range that the name of a file says; raise ValueError where it says none."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path.name} is no name of a lake file")
    numbers = [int(part) for part in match.groups()]
    return LakeFile(path, Cursor(*numbers[:3]), Cursor(*numbers[3:]))


def landed(folder: Path) -> list[LakeFile]:
    """Return the files of the lake in commit order; none when there is no lake yet."""
    found: list[LakeFile] = []
    for file in sorted(map(parsed, folder.glob("*.parquet")), key=_widest_first):
        if not found or file.upto > found[-1].upto:
            found.append(file)
    return found


def leftovers(folder: Path) -> list[LakeFile]:
    """Return the files whose range lies within another's: nobody reads them."""
    known = {file.path for file in landed(folder)}
    return [parsed(path) for path in sorted(folder.glob("*.parquet")) if path not in known]


def _widest_first(file: LakeFile) -> tuple[Cursor, tuple[int, int, int]]:
    return file.after, (-file.upto.epoch, -file.upto.xid, -file.upto.seq)


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


def aside(folder: Path, after: Cursor, upto: Cursor) -> Path:
    """Return where a file is written before it gets its name.

    Readers take ``*.parquet``; a leading dot and another ending keep a half-written one from them.
    """
    return folder / f".{Path(file_name(after, upto)).stem}.tmp"


def write(
    folder: Path,
    after: Cursor,
    upto: Cursor,
    fill: Callable[[Path], None],
    remote: Objects | None = None,
) -> LakeFile:
    """Land one batch: ``fill`` writes its Parquet file to the path that it is given."""
    path = folder / file_name(after, upto)
    written = aside(folder, after, upto)
    fill(written)
    sync_file(written)
    reach("landing.before_rename")
    if remote is not None:
        remote.put(written, path.name)
        reach("landing.after_upload")
    written.replace(path)
    sync_folder(folder)
    reach("landing.after_rename")
    return LakeFile(path, after, upto)


def remove(file: LakeFile, remote: Objects | None = None, *, keep: Path | None = None) -> None:
    """Remove a file from the lake; it goes to the folder ``keep`` where one is named."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        file.path.replace(keep / file.path.name)
        sync_folder(keep)
    else:
        file.path.unlink(missing_ok=True)
    sync_folder(file.path.parent)
    if remote is not None:
        remote.remove(file.path.name)


@contextmanager
def landing(
    folder: Path, remote: Objects | None = None, *, wait_seconds: float = 60.0
) -> Iterator[None]:
    """Be the only process that lands; remove what a crashed one left behind.

    An object store's copy is made the same as it first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / ".lock", wait_seconds=wait_seconds):
        for leftover in folder.glob(".*.tmp"):
            leftover.unlink()
        if remote is not None:
            _agree(folder, remote)
        yield


def _agree(folder: Path, remote: Objects) -> None:
    """Fetch what only the object store has; bring there what only the folder has, if it is newer.

    So a lake that was a folder moves into an object store by itself. What the object store has in
    another file, because it was merged, goes from the folder.
    """
    there = remote.names()
    for name in sorted(name for name in there if _NAME.fullmatch(name) or name in _BESIDE):
        path = folder / name
        if not path.exists() or name in _BESIDE:
            aside = folder / f".{name}.tmp"
            remote.get(name, aside)
            sync_file(aside)
            aside.replace(path)
    sync_folder(folder)
    end = max((parsed(Path(name)).upto for name in there if _NAME.fullmatch(name)),
              default=Cursor())  # fmt: skip
    for file in landed(folder) + leftovers(folder):
        if file.path.name in there:
            continue
        if file.upto <= end:
            file.path.unlink()
        else:
            remote.put(file.path, file.path.name)
    for name in _BESIDE:
        if (folder / name).exists() and name not in there:
            remote.put(folder / name, name)
