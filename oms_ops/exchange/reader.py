"""Read a CSV or Parquet file as a table of texts; what a text means is not decided here."""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Table:
    """A file's rows: every column as text (null where empty), and :data:`ROW`.

    ``ragged`` are the rows whose number of cells is not that of the header.
    """

    file_name: str
    sha256: str
    columns: tuple[str, ...]
    frame: pl.DataFrame
    ragged: tuple[int, ...] = ()


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
    ragged: tuple[int, ...] = ()
    if content[:4] == _PARQUET:
        frame = _parquet(content)
    else:
        frame, ragged = _csv(content, form)
    columns = tuple(frame.columns)
    if ROW in columns:
        frame = frame.drop(ROW)
        columns = tuple(frame.columns)
    import polars as pl

    numbered = _cleaned(frame, form).with_columns(
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias(ROW)
    )
    return Table(file_name, digest, columns, numbered, ragged)


def _csv(content: bytes, form: Format) -> tuple[pl.DataFrame, tuple[int, ...]]:
    import polars as pl

    try:
        text = content.decode(form.encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise _unreadable("wrong_encoding", f"is no {form.encoding} text: {error}") from None
    csv.field_size_limit(_LONGEST_CELL)
    lines = csv.reader(
        io.StringIO(text, newline=""), delimiter=form.separator, quotechar=form.quote, strict=False
    )
    header = [name.strip() for name in next(lines, [])]
    if not any(header):
        raise _unreadable("no_header", "has no header line")
    if len(set(header)) != len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise _unreadable("repeated_column", f"has columns twice: {', '.join(twice)}")
    rows: list[list[str]] = []
    ragged: list[int] = []
    for cells in lines:
        if not cells:
            continue
        if len(cells) != len(header):
            ragged.append(len(rows) + 1)
            cells = [*cells, *[""] * len(header)][: len(header)]  # noqa: PLW2901 - made to fit
        rows.append(cells)
    schema = dict.fromkeys(header, pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row"), tuple(ragged)


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
