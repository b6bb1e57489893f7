"""Read a CSV or Parquet file as a table of texts; what a text means is not decided here."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.exchange.mapping import Format

if TYPE_CHECKING:
    import polars as pl

#: The column that numbers the rows of a file, from 1 for the first one after the header.
ROW = "row_no"

_PARQUET = b"PAR1"
#: A cell may hold a long note; the driver's own limit is smaller.
_LONGEST_CELL = 10_000_000
#: Lines of one row, at most: a note has some, a quote that nothing closes takes all that follow.
_MOST_LINES = 100


@dataclass(frozen=True, slots=True)
class Table:
    """A file's rows: every column as text (null where empty), and :data:`ROW`.

    ``ragged`` are the rows whose number of cells is not that of the header, ``unquoted`` those
    whose quotes do not match. ``surplus`` is what such a row holds beyond the header's columns.
    """

    file_name: str
    sha256: str
    columns: tuple[str, ...]
    frame: pl.DataFrame
    ragged: tuple[int, ...] = ()
    unquoted: tuple[int, ...] = ()
    surplus: dict[int, str] = field(default_factory=dict)


def read(path: Path, form: Format) -> Table:
    """Read a file.

    Raises:
        ValidationFailed: it is neither Parquet nor text of the stated encoding, or has no header.
    """
    return parse(content_of(path), path.name, form)


def content_of(path: Path) -> bytes:
    """Return the bytes of a file; raise ValidationFailed where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable("unreadable", f"{path}: {error.strerror}") from None


def parse(content: bytes, file_name: str, form: Format) -> Table:
    """Read the bytes of a file; as :func:`read`."""
    digest = hashlib.sha256(content).hexdigest()
    odd = _Odd()
    frame = _parquet(content) if content[:4] == _PARQUET else _csv(content, form, odd)
    columns = tuple(frame.columns)
    if ROW in columns:
        frame = frame.drop(ROW)
        columns = tuple(frame.columns)
    import polars as pl

    numbered = _cleaned(frame, form).with_columns(
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias(ROW)
    )
    return Table(
        file_name, digest, columns, numbered, tuple(odd.ragged), tuple(odd.unquoted), odd.surplus
    )


@dataclass(slots=True)
class _Odd:
    """The rows that are not as the header says; see :class:`Table`."""

    ragged: list[int] = field(default_factory=list)
    unquoted: list[int] = field(default_factory=list)
    surplus: dict[int, str] = field(default_factory=dict)


def _csv(content: bytes, form: Format, odd: _Odd) -> pl.DataFrame:
    import polars as pl

    try:
        text = content.decode(form.encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise _unreadable("wrong_encoding", f"is no {form.encoding} text: {error}") from None
    records = _records(list(io.StringIO(text, newline="")), form)
    header = [name.strip() for name in next(records, ([], True))[0]]
    if not any(header):
        raise _unreadable("no_header", "has no header line")
    if len(set(header)) != len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise _unreadable("repeated_column", f"has columns twice: {', '.join(twice)}")
    rows: list[list[str]] = []
    for cells, sound in records:
        number = len(rows) + 1
        if not sound:
            odd.unquoted.append(number)
        elif len(cells) != len(header):
            odd.ragged.append(number)
        if more := cells[len(header) :]:
            odd.surplus[number] = form.separator.join(more)
        rows.append([*cells, *[""] * len(header)][: len(header)])
    return pl.DataFrame(rows, schema=dict.fromkeys(header, pl.String), orient="row")


def _records(lines: Sequence[str], form: Format) -> Iterator[tuple[list[str], bool]]:
    """Return the cells of each row that is not blank, and whether its quotes match.

    A quote that is not closed would take the rows after it for a part of its cell, up to the next
    quote. Such a line is a row of its own, cut at its separators, and reading goes on behind it.
    """
    csv.field_size_limit(_LONGEST_CELL)
    begin = width = 0
    while begin < len(lines):
        following = _Lines(lines, begin)
        reader = csv.reader(following, delimiter=form.separator, quotechar=form.quote, strict=True)
        try:
            for cells in reader:
                record = islice(lines, begin, following.position)
                if following.position - begin > 1 and _swallows(record, width, form.separator):
                    raise csv.Error("each of its lines is a row")
                begin = following.begin = following.position
                width = width or len(cells)
                if cells:
                    yield cells, True
        except csv.Error:
            yield lines[begin].rstrip("\r\n").split(form.separator), False
            begin += 1


class _Lines:
    """The lines from ``begin`` on; those of one row end where there are too many."""

    def __init__(self, lines: Sequence[str], begin: int) -> None:
        self.lines = lines
        self.begin = self.position = begin

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self.position >= len(self.lines):
            raise StopIteration
        if self.position - self.begin >= _MOST_LINES:
            raise csv.Error("a row of too many lines")
        self.position += 1
        return self.lines[self.position - 1]


def _swallows(lines: Iterator[str], width: int, separator: str) -> bool:
    """Tell whether every line of a row has the separators of a row: nobody's note has."""
    return width > 1 and all(line.count(separator) >= width - 1 for line in lines)


def _parquet(content: bytes) -> pl.DataFrame:
    import polars as pl

    try:
        frame = pl.read_parquet(io.BytesIO(content))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable("unreadable", f"is no Parquet file: {error}") from None
    texts = []
    for name, kind in frame.schema.items():
        column = pl.col(name)
        if isinstance(kind, pl.Datetime):
            column = column.dt.convert_time_zone("UTC") if kind.time_zone else column
            column = column.dt.to_string("%Y-%m-%dT%H:%M:%S%.6f" + ("Z" if kind.time_zone else ""))
        texts.append(column.cast(pl.String, strict=False))
    return frame.select(texts)


def _cleaned(frame: pl.DataFrame, form: Format) -> pl.DataFrame:
    """Trim the cells; an empty one and what the format calls null are none."""
    import polars as pl

    empty = ["", *form.null_values]
    trimmed = [pl.col(name).str.strip_chars() for name in frame.columns]
    return frame.select(trimmed).select(
        pl.when(~pl.col(name).is_in(empty)).then(pl.col(name)).alias(name) for name in frame.columns
    )


def _unreadable(code: str, message: str) -> ValidationFailed:
    return ValidationFailed("The file cannot be read.", [FieldError("file", code, message)])
