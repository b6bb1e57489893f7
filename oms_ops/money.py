"""Money as integer minor units of an ISO 4217 currency, and its decimal text at the edges."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

#: Decimal places per currency; every currency that the shop accepts stands here (ISO 4217).
EXPONENTS = {"USD": 2, "EUR": 2, "GBP": 2, "CAD": 2, "AUD": 2, "CHF": 2, "JPY": 0, "KWD": 3}


def to_minor(amount: Decimal | str | int, currency: str) -> int:
    """Turn a decimal amount of major units into minor units, exactly.

    Raises:
        ValueError: the text is no finite number, the currency is unknown, or the amount has more
            decimal places than the currency. Nothing is rounded silently.
    """
    if currency not in EXPONENTS:
        raise ValueError(f"currency {currency!r} is not accepted")
    if isinstance(amount, str) and "_" in amount:
        # Python's own way to group digits, nobody else's.
        raise ValueError(f"{amount!r} is not a number")
    try:
        scaled = Decimal(amount).scaleb(EXPONENTS[currency])
    except InvalidOperation:
        raise ValueError(f"{str(amount)!r} is not a number") from None
    if not scaled.is_finite() or scaled != scaled.to_integral_value():
        raise ValueError(f"{str(amount)!r} has more decimal places than {currency} allows")
    return int(scaled)


def to_text(minor: int, currency: str) -> str:
    """Return the decimal text of ``minor`` units: ``to_text(1999, "USD") == "19.99"``."""
    exponent = EXPONENTS[currency]
    if not exponent:
        return str(minor)
    # Integers all the way: an order shows some twenty amounts, and Decimal is five times slower.
    whole, part = divmod(abs(minor), 10**exponent)
    return f"{'-' if minor < 0 else ''}{whole}.{part:0{exponent}d}"


def spread(total: int, weights: list[int]) -> list[int]:
    """Split ``total`` minor units over ``weights`` so that the parts sum to ``total`` exactly.

    Largest remainder method: each part is rounded toward zero, then the remaining units go one by
    one to the parts with the largest remainders, the earlier part first on a tie. Weights must not
    be negative; when all are zero, the first part takes the whole.
    """
    if not weights:
        return []
    if any(weight < 0 for weight in weights):
        raise ValueError("weights must not be negative")
    whole = sum(weights)
    if whole == 0:
        return [total] + [0] * (len(weights) - 1)
    sign = -1 if total < 0 else 1
    shares = [divmod(abs(total) * weight, whole) for weight in weights]
    parts = [share for share, _ in shares]
    order = sorted(range(len(weights)), key=lambda i: (-shares[i][1], i))
    for i in order[: abs(total) - sum(parts)]:
        parts[i] += 1
    return [sign * part for part in parts]
