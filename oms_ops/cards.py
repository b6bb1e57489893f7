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

#: What may stand between the digits of one number: what is neither letter nor digit, seen or not.
_BETWEEN = r"(?:[\W_]|&nbsp;){0,4}"
_RUN = re.compile(rf"\d(?:{_BETWEEN}\d){{13,}}")
#: Beginnings and lengths of the numbers that the networks give out (ISO/IEC 7812). Shorter ones are
#: of no card any more, and phone numbers would be taken for them.
_NETWORKS = re.compile(
    r"4\d{15}(?:\d{3})?|5[0-8]\d{14}|5[06-8]\d{16,17}|2[2-7]\d{14}|6\d{15,18}"
    r"|3[47]\d{13}|35\d{14,17}|3(?:0[0-5]|[689]\d)\d{11,16}"
)
_SHORTEST, _LONGEST = 14, 19
#: Where another number begins: the code of a country, or that of an area after a slash, or a
#: number that is said to be one. Cards are not written so, phones are.
_ANOTHER = re.compile(r"(?<=\D)\+(?=\d{1,3}\D)|/\W{0,2}(?=\(\d{2,3}\))|\(#")

Path = tuple[str | int, ...]


def looks_like_card(text: str) -> bool:
    """Tell whether ``text`` holds what could be a card's number, with whatever beside it.

    A number is looked for in whole groups of digits: before it may stand another, and behind it the
    month until which the card is good. Part of a longer group is none.
    """
    if len(text) < _SHORTEST:
        return False
    return any(_holds_card(part) for run in _RUN.findall(text) for part in _ANOTHER.split(run))


def _holds_card(run: str) -> bool:
    # Digits of any script are digits.
    groups = ["".join(str(int(digit)) for digit in group) for group in re.findall(r"\d+", run)]
    for first in range(len(groups)):
        number = ""
        # No number has more groups than digits.
        for group in groups[first : first + _LONGEST]:
            number += group
            if len(number) > _LONGEST:
                break
            if len(number) >= _SHORTEST and _NETWORKS.fullmatch(number) and _passes(number):
                return True
    return False


def _passes(digits: str) -> bool:
    """Tell whether Luhn's check digit is right."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (1 + place % 2)
        total += doubled - 9 * (doubled > 9)
    return total % 10 == 0


def found(data: Any, path: Path = (), *, longest: int | None = None) -> Iterator[Path]:
    """Yield where plain data holds what looks like a card number, in values and in names.

    Texts of more than ``longest`` characters are passed over, where they are refused in any case.
    """
    # Not by recursion: it is asked of what nobody has checked, however deep.
    waiting: list[tuple[Path, Any]] = [(path, data)]
    while waiting:
        where, value = waiting.pop()
        if isinstance(value, dict):
            for name, inner in value.items():
                if _is_seen(str(name), longest):
                    # The name itself must not be told again.
                    yield where or ("body",)
                else:
                    waiting.append(((*where, str(name)), inner))
        elif isinstance(value, list):
            waiting += [((*where, index), inner) for index, inner in enumerate(value)]
        elif _is_plain(value) and _is_seen(str(value), longest):
            yield where


def _is_seen(text: str, longest: int | None) -> bool:
    return (longest is None or len(text) <= longest) and looks_like_card(text)


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
