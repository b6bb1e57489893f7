"""Card numbers never enter this system: what looks like one is refused before anything is kept.

The gateway's own form in the customer's browser takes the number and gives a token, and only the
token comes here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from oms_ops.errors import FieldError

CODE = "card_number"
MESSAGE = "looks like a card number: those go to the gateway's own form only, never here"

#: 13 to 19 digits, as people write them, with nothing of a longer number before or after.
_DIGITS = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?![ -]?\d)")

Path = tuple[str | int, ...]


def looks_like_card(text: str) -> bool:
    """Tell whether ``text`` holds what could be a card's number (ISO/IEC 7812, Luhn's check)."""
    return any(_passes(re.sub(r"\D", "", found)) for found in _DIGITS.findall(text))


def _passes(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (1 + place % 2)
        total += doubled - 9 * (doubled > 9)
    return total % 10 == 0


def found(data: Any, path: Path = ()) -> Iterator[Path]:
    """Yield where plain data holds what looks like a card number, in values and in names."""
    # Not by recursion: it is asked of what nobody has checked, however deep.
    waiting: list[tuple[Path, Any]] = [(path, data)]
    while waiting:
        where, value = waiting.pop()
        if isinstance(value, dict):
            for name, inner in value.items():
                if looks_like_card(str(name)):
                    # The name itself must not be told again.
                    yield where or ("body",)
                else:
                    waiting.append(((*where, str(name)), inner))
        elif isinstance(value, list):
            waiting += [((*where, index), inner) for index, inner in enumerate(value)]
        elif _is_plain(value) and looks_like_card(str(value)):
            yield where


def _is_plain(value: Any) -> bool:
    # Of a number with thousands of digits Python makes no text.
    return isinstance(value, str) or (isinstance(value, int) and value.bit_length() < 128)


def faults(data: Any, path: Path) -> list[FieldError]:
    """Return a fault for each place of ``data``, which stands at ``path`` of what was sent."""
    return [FieldError(_written(each), CODE, MESSAGE) for each in dict.fromkeys(found(data, path))]


def _written(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
