"""Where countries, US states and Canadian provinces are, roughly, for distances.

Each entry is about the centre of the population, in degrees north and east, to a tenth: near
enough to rank warehouses, not to plan a trip. An address with coordinates of its own needs none of
this.
"""

from __future__ import annotations

from functools import lru_cache
from math import asin, cos, radians, sin, sqrt

#: Kilometres; the mean radius of the Earth.
_RADIUS = 6371.0

_COUNTRIES = {
    "AE": (25.0, 55.2), "AR": (-33.9, -60.5), "AT": (47.9, 15.2), "AU": (-33.5, 147.0),
    "BD": (23.8, 90.3), "BE": (50.9, 4.4), "BG": (42.7, 24.8), "BR": (-18.5, -45.5),
    "CA": (46.5, -85.0), "CH": (47.0, 8.0), "CL": (-34.5, -71.2), "CN": (32.5, 114.0),
    "CO": (5.5, -74.5), "CY": (35.0, 33.2), "CZ": (49.8, 15.7), "DE": (50.8, 9.6),
    "DK": (55.8, 11.2), "EE": (59.0, 25.5), "EG": (30.2, 31.2), "ES": (39.8, -3.0),
    "FI": (61.5, 25.0), "FR": (47.2, 2.6), "GB": (52.6, -1.6), "GR": (38.6, 23.2),
    "HK": (22.3, 114.2), "HR": (45.4, 16.0), "HU": (47.3, 19.3), "ID": (-6.6, 109.5),
    "IE": (53.2, -7.2), "IL": (32.1, 34.9), "IN": (22.5, 79.5), "IS": (64.3, -21.3),
    "IT": (42.9, 12.3), "JP": (35.6, 137.7), "KE": (-0.6, 36.6), "KR": (36.7, 127.5),
    "LT": (55.1, 24.2), "LU": (49.6, 6.1), "LV": (56.8, 24.4), "MA": (33.2, -6.8),
    "MT": (35.9, 14.5), "MX": (20.7, -100.8), "MY": (3.6, 102.2), "NG": (8.8, 6.6),
    "NL": (52.1, 5.1), "NO": (60.7, 9.7), "NZ": (-39.2, 175.2), "PE": (-10.2, -76.3),
    "PH": (13.2, 121.9), "PK": (31.0, 71.2), "PL": (51.8, 19.3), "PT": (39.8, -8.5),
    "RO": (45.6, 25.4), "RS": (44.5, 20.6), "RU": (54.5, 47.0), "SA": (24.0, 44.0),
    "SE": (58.8, 15.6), "SG": (1.4, 103.8), "SI": (46.1, 14.8), "SK": (48.7, 19.0),
    "TH": (14.5, 101.0), "TR": (39.3, 32.5), "TW": (24.4, 120.9), "UA": (49.3, 31.5),
    "US": (37.4, -92.4), "VN": (15.5, 106.7), "ZA": (-27.5, 28.3),
}  # fmt: skip

_REGIONS = {
    "US": {
        "AL": (33.0, -86.8), "AK": (61.4, -149.0), "AZ": (33.4, -111.8), "AR": (35.1, -92.6),
        "CA": (35.5, -119.4), "CO": (39.5, -105.2), "CT": (41.5, -72.9), "DE": (39.4, -75.6),
        "DC": (38.9, -77.0), "FL": (27.8, -81.6), "GA": (33.3, -83.9), "HI": (21.1, -157.5),
        "ID": (44.2, -115.1), "IL": (41.3, -88.4), "IN": (40.2, -86.3), "IA": (42.0, -93.0),
        "KS": (38.5, -96.5), "KY": (37.8, -85.2), "LA": (30.7, -91.5), "ME": (44.3, -69.7),
        "MD": (39.1, -76.8), "MA": (42.3, -71.4), "MI": (42.9, -84.2), "MN": (45.2, -93.6),
        "MS": (32.6, -89.6), "MO": (38.4, -92.2), "MT": (46.8, -111.2), "NE": (41.2, -97.4),
        "NV": (37.2, -116.3), "NH": (43.2, -71.5), "NJ": (40.4, -74.4), "NM": (34.6, -106.3),
        "NY": (41.5, -74.6), "NC": (35.6, -79.7), "ND": (47.4, -99.3), "OH": (40.4, -82.8),
        "OK": (35.6, -97.0), "OR": (44.7, -122.6), "PA": (40.5, -77.1), "RI": (41.8, -71.4),
        "SC": (34.0, -81.0), "SD": (44.0, -99.0), "TN": (35.8, -86.4), "TX": (30.9, -97.4),
        "UT": (40.5, -111.9), "VT": (44.1, -72.8), "VA": (37.8, -77.9), "WA": (47.4, -121.6),
        "WV": (38.8, -80.8), "WI": (43.7, -89.0), "WY": (42.7, -107.0), "PR": (18.3, -66.4),
    },
    "CA": {
        "AB": (52.3, -113.8), "BC": (49.7, -122.6), "MB": (50.0, -97.4), "NB": (46.2, -66.1),
        "NL": (48.0, -54.3), "NS": (45.0, -63.2), "NT": (62.6, -115.1), "NU": (65.4, -85.0),
        "ON": (43.9, -79.5), "PE": (46.3, -63.1), "QC": (46.1, -72.8), "SK": (51.3, -106.0),
        "YT": (60.9, -135.2),
    },
}  # fmt: skip


def centre(country: str, region: str | None) -> tuple[float, float] | None:
    """Return (latitude, longitude) of about the middle of a region or country, if it is known."""
    of_region = _REGIONS.get(country, {}).get(region.upper()) if region else None
    return of_region or _COUNTRIES.get(country)


@lru_cache(maxsize=4096)
def kilometres(
    latitude: float, longitude: float, other_latitude: float, other_longitude: float
) -> int:
    """Return the great-circle distance of two points in degrees, in whole kilometres."""
    phi, other_phi = radians(latitude), radians(other_latitude)
    half_chord = (
        sin((other_phi - phi) / 2) ** 2
        + cos(phi) * cos(other_phi) * sin(radians(other_longitude - longitude) / 2) ** 2
    )
    return round(2 * _RADIUS * asin(min(1.0, sqrt(half_chord))))
