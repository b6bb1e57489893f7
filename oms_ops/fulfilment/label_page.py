"""The labels that we print ourselves: one page a parcel, with the shipment's number to scan."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from oms_ops.fulfilment.carriers.interface import Booking, ParcelOf
from oms_ops.fulfilment.code128 import svg

MEDIA_TYPE = "text/html"

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{shipment}</title>
<style>@page{{size:100mm 150mm;margin:0}}body{{margin:0;font:11pt/1.35 sans-serif}}
section{{box-sizing:border-box;width:100mm;height:150mm;padding:6mm;page-break-after:always;
border:1px dashed #999}}section:last-child{{page-break-after:auto}}
@media print{{section{{border:0}}}}small{{font-size:8pt}}p{{margin:0 0 4mm}}
.to{{font-size:14pt;font-weight:600}}dl{{display:grid;grid-template-columns:auto 1fr;
gap:0 3mm;margin:0 0 4mm}}dd{{margin:0}}svg{{width:88mm;height:18mm;display:block}}</style>
{sections}</html>"""

_SECTION = """<section><p><small>From<br>{ship_from}</small></p>
<p>To</p><p class="to">{ship_to}</p>
<dl><dt>Order</dt><dd>{order}</dd><dt>Shipment</dt><dd>{shipment}</dd>
<dt>Parcel</dt><dd>{parcel_no} of {parcels}</dd><dt>Weight</dt><dd>{weight}</dd>
<dt>Tracking</dt><dd>{tracking}</dd></dl>
{bars}<p>{shipment}</p></section>"""


def render(booking: Booking, tracking_number: str) -> str:
    """Return the page with the labels of all parcels of a shipment."""
    sections = "".join(_section(booking, parcel, tracking_number) for parcel in booking.parcels)
    return _PAGE.format(shipment=escape(booking.shipment), sections=sections)


def _section(booking: Booking, parcel: ParcelOf, tracking_number: str) -> str:
    grams = parcel.weight_grams
    return _SECTION.format(
        ship_from=_lines(booking.ship_from),
        ship_to=_lines(booking.ship_to),
        order=escape(booking.order),
        shipment=escape(booking.shipment),
        parcel_no=parcel.parcel_no,
        parcels=len(booking.parcels),
        weight=f"{grams / 1000:.3f} kg" if grams else "not weighed",
        tracking=escape(tracking_number),
        bars=svg(booking.shipment),
    )


def _lines(address: Mapping[str, str | None]) -> str:
    """Return an address line by line, leaving out what it does not have."""
    place = " ".join(filter(None, (address["city"], address["region"], address["postal_code"])))
    lines = (address["name"], address["line1"], address["line2"], place, address["country"])
    return "<br>".join(escape(line) for line in lines if line)
