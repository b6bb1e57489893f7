"""Turn a file's texts into typed fields, column by column, and name every row where that fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.exchange.mapping import Constant, Format
from oms_ops.exchange.mapping import Mapping as FileMapping
from oms_ops.exchange.reader import ROW, Table
from oms_ops.money import EXPONENTS
from oms_ops.settings import settings
from oms_ops.shapes import CONTROLS

if TYPE_CHECKING:
    import polars as pl

#: The columns of a report of rejected rows beside the file's own: they are for people.
REPORT_COLUMNS = ("import_row", "import_code", "import_reason", "import_surplus")
#: Money is read as ten-thousandths of a major unit: as many decimal places as any file writes.
E4 = 4
_LONGEST = 200
_LONGEST_NOTE = 2000
#: No import reaches it, and sums of it stay far from the end of 64 bits.
_DIGITS = 11

_ISO = (
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
)
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Spec:
    """What a field holds: ``text``, ``note``, ``units``, ``money``, ``time`` or ``flag``.

    ``refused`` says why a field that files have is not taken.
    """

    kind: str = "text"
    required: bool = False
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class RowFault:
    """What is wrong with one row (no field: with the row as it is); ``code`` is stable."""

    row_no: int
    field: str
    code: str
    message: str


def fields_of(
    table: Table, mapping: FileMapping, specs: Mapping[str, Spec]
) -> tuple[pl.DataFrame, list[RowFault]]:
    """Return a row of typed fields per row of the file (null where bad or not given), and faults.

    Money columns hold ten-thousandths of a major unit.

    Raises:
        ValidationFailed: the mapping names a field or a column that there is not, or a required
            field has no column; or a column is neither a field nor named in ``ignore``.
    """
    import polars as pl

    texts = table.frame.select(ROW, **_sources(table, mapping, specs))
    typed = [pl.col(ROW)]
    checks: list[tuple[str, str, str, pl.Expr]] = []
    for name, spec in specs.items():
        value, code, message = _typed(name, spec.kind, mapping.format)
        typed.append(value.alias(name))
        checks.append((name, code, message, pl.col(name).is_not_null() & value.is_null()))
        if spec.required:
            checks.append((name, "required", "must be given", pl.col(name).is_null()))
        if spec.refused:
            checks.append((name, "not_supported", spec.refused, pl.col(name).is_not_null()))
    faults = [
        RowFault(row, "", "wrong_number_of_cells", "does not have the header's columns")
        for row in table.ragged
    ] + [
        RowFault(row, "", "unbalanced_quote", "has a quote that is not closed or not at an end")
        for row in table.unquoted
    ]
    for name, code, message, test in checks:
        bad = texts.filter(test).select(ROW, name)
        faults += [
            RowFault(row, name, code, message if text is None else f"{text!r} {message}")
            for row, text in bad.iter_rows()
        ]
    return texts.select(typed), faults


def minor_of(amount: pl.Expr, currency: pl.Expr) -> pl.Expr:
    """Return ten-thousandths as minor units of a currency, null where that is not exact."""
    import polars as pl

    divisor = currency.replace_strict(
        {code: 10 ** (E4 - digits) for code, digits in EXPONENTS.items()},
        default=None,
        return_dtype=pl.Int64,
    )
    return pl.when(amount % divisor == 0).then(amount // divisor)


def _sources(table: Table, mapping: FileMapping, specs: Mapping[str, Spec]) -> dict[str, pl.Expr]:
    import polars as pl

    faults = [
        FieldError(f"fields.{name}", "unknown_field", f"one of {', '.join(specs)}")
        for name in mapping.fields
        if name not in specs
    ]
    sources: dict[str, pl.Expr] = {}
    for name, spec in specs.items():
        source = mapping.fields.get(name, name)
        if isinstance(source, Constant):
            sources[name] = pl.lit(source.value, pl.String)
        elif source in table.columns:
            sources[name] = pl.col(source)
        elif name in mapping.fields or spec.required:
            faults.append(FieldError(f"fields.{name}", "no_such_column", f"no column {source!r}"))
        else:
            sources[name] = pl.lit(None, pl.String)
    faults += _unmapped(table, mapping, specs)
    if faults:
        raise ValidationFailed("The mapping does not fit the file.", faults)
    return sources


def _unmapped(table: Table, mapping: FileMapping, specs: Mapping[str, Spec]) -> list[FieldError]:
    """Find the columns that nobody would read: what they say would be lost without a word.

    A column that says nothing (a separator at the end of every line makes one) may be there.
    """
    read = {source if isinstance(source := mapping.fields.get(name, name), str) else name
            for name in specs}  # fmt: skip
    known = {*read, *mapping.ignore, *REPORT_COLUMNS}
    if "*" in known:
        return []
    message = "is no field: map it in [fields], or name it in ignore"
    return [
        FieldError(f"columns.{name}", "unmapped_column", message)
        for name in table.columns
        if name not in known and table.frame[name].null_count() < table.frame.height
    ]


def _typed(name: str, kind: str, form: Format) -> tuple[pl.Expr, str, str]:
    """Return the typed column, and what a text that it cannot hold is called."""
    import polars as pl

    text = pl.col(name)
    if kind == "units":
        # Spreadsheets write whole numbers as 6.0.
        digits = text.str.extract(rf"^([+-]?\d{{1,{_DIGITS}}})(?:\.0+)?$", 1)
        return digits.cast(pl.Int64, strict=False), "not_a_whole_number", "is no whole number"
    if kind == "money":
        return _e4(text, form), "not_an_amount", "is no amount with at most four decimal places"
    if kind == "time":
        return _moment(text, form), "not_a_time", "is no time of a known form"
    if kind == "flag":
        flag = text.str.to_lowercase().replace_strict(_FLAGS, default=None, return_dtype=pl.Boolean)
        return flag, "not_a_flag", "is none of true, false, yes, no, 1, 0"
    longest = _LONGEST_NOTE if kind == "note" else _LONGEST
    fits = (text.str.len_chars() <= longest) & ~text.str.contains(CONTROLS)
    return pl.when(fits).then(text), "not_storable", f"is longer than {longest} or not storable"


def _e4(text: pl.Expr, form: Format) -> pl.Expr:
    import polars as pl

    point, group = (r",", r"\.") if form.decimal_comma else (r"\.", r",")
    whole = rf"\d{{1,{_DIGITS}}}|\d{{1,3}}(?:{group}\d{{3}})+"
    pattern = rf"^([+-]?)({whole})?(?:{point}(\d*?)0*)?$"
    fraction = text.str.extract(pattern, 3).fill_null("")
    units = text.str.extract(pattern, 2).str.replace_all(group, "").fill_null("")
    digits = (units + fraction.str.pad_end(E4, "0")).cast(pl.Int64, strict=False)
    # A text without any digit is no amount, nor one that holds more places than are kept.
    readable = text.str.contains(pattern) & text.str.contains(r"\d")
    readable &= (fraction.str.len_chars() <= E4) & (units.str.len_chars() <= _DIGITS)
    signed = pl.when(text.str.starts_with("-")).then(-digits).otherwise(digits)
    return pl.when(readable).then(signed)


def _moment(text: pl.Expr, form: Format) -> pl.Expr:
    import polars as pl

    zone = form.timezone or settings().timezone
    tries = []
    for layout in (*form.date_formats, *_ISO):
        parsed = text.str.to_datetime(layout, strict=False, time_unit="us")
        if "z" not in layout:
            # The hour that a clock shows twice is its first; one that it never shows is no time.
            parsed = parsed.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        tries.append(parsed.dt.convert_time_zone("UTC"))
    day = text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    tries.append(day.dt.replace_time_zone(zone, non_existent="null").dt.convert_time_zone("UTC"))
    return pl.coalesce(tries)


def by_row(faults: Iterable[RowFault]) -> dict[int, list[RowFault]]:
    """Return the faults of each row."""
    found: dict[int, list[RowFault]] = {}
    for fault in faults:
        found.setdefault(fault.row_no, []).append(fault)
    return found
