"""Where the data's countries are. It holds no addresses: the ones here are invented.

An order goes to the capital of its country (for Japan, the United States and the like: the postal
code of one well-known place in it), because an address must pass the rules of its country.
"""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """A country's ISO code, and the invented address of everybody in it."""

    country: str
    city: str
    postal_code: str
    region: str | None = None


#: The name of a country in the data -> its place. ``EIRE`` is Ireland, ``RSA`` South Africa. Orders
#: of ``Unspecified`` are taken as of the shop's own country, those of the ``European Community`` as
#: of Belgium, of the ``Channel Islands`` as of Jersey, of the ``West Indies`` as of Barbados.
PLACES = {
    "Australia": Place("AU", "Canberra", "2600", "ACT"),
    "Austria": Place("AT", "Vienna", "1010"),
    "Bahrain": Place("BH", "Manama", "317"),
    "Belgium": Place("BE", "Brussels", "1000"),
    "Bermuda": Place("BM", "Hamilton", "HM 12"),
    "Brazil": Place("BR", "Brasília", "70040-010", "DF"),
    "Canada": Place("CA", "Ottawa", "K1A 0B1", "ON"),
    "Channel Islands": Place("JE", "St Helier", "JE2 4WD"),
    "Cyprus": Place("CY", "Nicosia", "1010"),
    "Czech Republic": Place("CZ", "Prague", "110 00"),
    "Denmark": Place("DK", "Copenhagen", "1050"),
    "EIRE": Place("IE", "Dublin", "D02 AF30", "Co. Dublin"),
    "European Community": Place("BE", "Brussels", "1000"),
    "Finland": Place("FI", "Helsinki", "00100"),
    "France": Place("FR", "Paris", "75001"),
    "Germany": Place("DE", "Berlin", "10115"),
    "Greece": Place("GR", "Athens", "104 31"),
    "Hong Kong": Place("HK", "Central", "", "Hong Kong Island"),
    "Iceland": Place("IS", "Reykjavík", "101"),
    "Israel": Place("IL", "Jerusalem", "9100000"),
    "Italy": Place("IT", "Rome", "00184", "RM"),
    "Japan": Place("JP", "Chiyoda", "100-0001", "Tokyo"),
    "Korea": Place("KR", "Jung-gu", "04524", "Seoul"),
    "Lebanon": Place("LB", "Beirut", "1100"),
    "Lithuania": Place("LT", "Vilnius", "01100"),
    "Malta": Place("MT", "Valletta", "VLT 1110"),
    "Netherlands": Place("NL", "Amsterdam", "1012 JS"),
    "Nigeria": Place("NG", "Abuja", "900001", "Federal Capital Territory"),
    "Norway": Place("NO", "Oslo", "0150"),
    "Poland": Place("PL", "Warsaw", "00-001"),
    "Portugal": Place("PT", "Lisbon", "1100-148"),
    "RSA": Place("ZA", "Pretoria", "0002"),
    "Saudi Arabia": Place("SA", "Riyadh", "11564"),
    "Singapore": Place("SG", "Singapore", "018956"),
    "Spain": Place("ES", "Madrid", "28001", "Madrid"),
    "Sweden": Place("SE", "Stockholm", "111 20"),
    "Switzerland": Place("CH", "Bern", "3011"),
    "Thailand": Place("TH", "Bangkok", "10200", "Bangkok"),
    "USA": Place("US", "Washington", "20001", "DC"),
    "United Arab Emirates": Place("AE", "Abu Dhabi", "", "Abu Dhabi"),
    "United Kingdom": Place("GB", "London", "SW1A 1AA"),
    "Unspecified": Place("GB", "London", "SW1A 1AA"),
    "West Indies": Place("BB", "Bridgetown", "BB11000"),
}
