"""Code 128 (set B) as SVG: what every hand scanner reads (ISO/IEC 15417)."""

from __future__ import annotations

#: By the symbol's value, the widths of three bars and three spaces in turn, in modules.
_WIDTHS = (
    "212222222122222221121223121322131222122213122312132212221213221312231212112232122132"
    "122231113222123122123221223211221132221231213212223112312131311222321122321221312212"
    "322112322211212123212321232121111323131123131321112313132113132311211313231113231311"
    "112133112331132131113123113321133121313121211331231131213113213311213131311123311321"
    "331121312113312311332111314111221411431111111224111422121124121421141122141221112214"
    "112412122114122411142112142211241211221114413111241112134111111242121142121241114212"
    "124112124211411212421112421211212141214121412121111143111341131141114113114311411113"
    "411311113141114131311141411131211412211214211232"
)
_START_B = 104
_STOP = "2331112"
#: Modules of white that a scanner needs at either end.
_QUIET = 10


def symbols(text: str) -> list[int]:
    """Return the values of the start symbol, the text and its check symbol.

    Raises:
        ValueError: a character is not printable ASCII.
    """
    if not all(" " <= character <= "~" for character in text):
        raise ValueError("Code 128 B holds printable ASCII only")
    values = [_START_B, *(ord(character) - ord(" ") for character in text)]
    check = values[0] + sum(place * value for place, value in enumerate(values[1:], start=1))
    return [*values, check % 103]


def svg(text: str) -> str:
    """Return an inline SVG of ``text``; its width is what the style makes it."""
    widths = "".join(_WIDTHS[6 * v : 6 * v + 6] for v in symbols(text)) + _STOP
    bars, x = [], _QUIET
    for place, width in enumerate(map(int, widths)):
        if place % 2 == 0:
            bars.append(f"M{x} 0h{width}v1h-{width}z")
        x += width
    return (
        f'<svg viewBox="0 0 {x + _QUIET} 1" preserveAspectRatio="none" role="img"'
        f' aria-label="barcode"><path d="{"".join(bars)}"/></svg>'
    )
