"""Telephone numbers, by the rules of libphonenumber."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=65_536)
def phone_number(text: str, country: str | None) -> str | None:
    """Return the number in E.164 form (``+14045550100``), or None where it is no valid number.

    ``country`` is where a number without a country code is dialled.
    """
    import phonenumbers

    try:
        number = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
