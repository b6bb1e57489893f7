"""How numbers, money, dates and ages are written, the same on every page."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

Number = Decimal | float | int

#: ISO 4217 codes with a sign of their own; any other currency is written by its code.
SIGNS = {"USD": "$", "EUR": "€", "GBP": "£", "CAD": "CA$", "AUD": "A$", "JPY": "¥"}
_NO_CENTS = 10_000


def count(value: Number | None) -> str:
    """Return a whole number with thousands separators: ``12,345``."""
    return "–" if value is None else f"{value:,.0f}"


def money(value: Number | None, currency: str, *, cents: bool | None = None) -> str:
    """Return an amount such as ``$1,234.50``; without ``cents`` given, large ones show none."""
    if value is None:
        return "–"
    if cents is None:
        cents = abs(float(value)) < _NO_CENTS
    places = 2 if cents else 0
    sign = SIGNS.get(currency, f"{currency} ")
    return f"{'-' if value < 0 else ''}{sign}{abs(value):,.{places}f}"


def percent(share: Number | None, places: int = 1) -> str:
    """Return a share as a percentage: ``0.3412`` is ``34.1%``."""
    return "–" if share is None else f"{share:.{places}%}"


def change(now: Number | None, before: Number | None) -> str | None:
    """Return the relative change such as ``+4.2%``, or None when there is nothing to compare."""
    if now is None or not before:
        return None
    ratio = float(now) / float(before) - 1
    return "0" if abs(ratio) < 0.0005 else f"{ratio:+,.1%}"


def points(now: Number | None, before: Number | None) -> str | None:
    """Return the difference of two shares in percentage points: ``+1.2 pp``."""
    if now is None or before is None:
        return None
    difference = (float(now) - float(before)) * 100
    return "0" if abs(difference) < 0.05 else f"{difference:+.1f} pp"


def day(value: date) -> str:
    """Return a day that reads the same everywhere: ``22 Nov 2026``."""
    return f"{value.day} {value:%b %Y}"


def span(start: date, end: date) -> str:
    """Return a range of days, the common parts said once: ``26 Oct – 22 Nov 2026``."""
    if start == end:
        return day(end)
    first = f"{start.day}" if (start.year, start.month) == (end.year, end.month) else (
        f"{start.day} {start:%b}" if start.year == end.year else day(start)
    )  # fmt: skip
    return f"{first} – {day(end)}"


def moment(value: datetime, zone: ZoneInfo) -> str:
    """Return a moment in ``zone``: ``Sun 22 Nov 2026, 18:04 EST``."""
    local = value.astimezone(zone)
    return f"{local:%a} {day(local.date())}, {local:%H:%M %Z}"


def age(span_: timedelta) -> str:
    """Return an age in its largest fitting unit: ``3 days``, ``2 hours``, ``just now``."""
    seconds = max(0, int(span_.total_seconds()))
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            n = seconds // size
            return f"{n} {unit}{'s' if n > 1 else ''}"
    return "less than a minute"


def seconds(value: float) -> str:
    """Return a duration: ``0.8 s``, ``48 s``, ``3 min 20 s``."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 120:
        return f"{minutes} min {rest} s"
    return age(timedelta(seconds=value))


def words(value: str) -> str:
    """Return a code such as ``partly_shipped`` as words: ``Partly shipped``."""
    return value.replace("_", " ").capitalize()


def plural(n: int, noun: str) -> str:
    """Return ``1 line`` or ``1,204 lines``."""
    return f"{count(n)} {noun}{'' if n == 1 else 's'}"


def difference(now: int | None, before: int | None) -> str | int | None:
    """Return the difference of two counts such as ``+14``, or None when one is missing."""
    if now is None or before is None:
        return None
    return f"{now - before:+,d}" if now != before else 0


def decimal(value: Number | None, places: int = 1) -> str:
    """Return a number with decimals and thousands separators: ``12.4``."""
    return "–" if value is None else f"{value:,.{places}f}"


def share(part: Number, whole: Number) -> str:
    """Return ``part`` of ``whole`` as a percentage, or a dash when there is no whole."""
    return percent(float(part) / float(whole), 0) if whole else "–"
