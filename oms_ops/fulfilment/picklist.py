"""The pick list of a wave, one stop after the other as the picker walks; as data, CSV and page."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.access.actor import STOCK_READ, Actor
from oms_ops.cells import cell
from oms_ops.database import execute, read_time
from oms_ops.errors import NotFound
from oms_ops.fulfilment.code128 import svg
from oms_ops.fulfilment.picks import stopped
from oms_ops.orders.queries import id_of

_COLUMNS = ("pick_id", "location", "zone", "sku", "name", "barcode", "units", "picked", "shipment",
            "order", "blocked")  # fmt: skip


def get(connection: Connection, actor: Actor, number: str) -> dict[str, Any]:
    """Return a wave with its stops in the order of the walk; the floor comes last.

    A stop has a place, a SKU, the units to take and for which shipment; ``picked`` is None as long
    as nobody was there, and ``blocked`` says why nobody is to go there now.

    Raises:
        NotFound: there is no such wave.
    """
    actor.require(STOCK_READ)
    return of_wave(connection, number)


def of_wave(connection: Connection, number: str) -> dict[str, Any]:
    """Return what :func:`get` does, to answer for a change of it."""
    wave_id = id_of(number.strip().upper(), "WV")
    row = execute(
        connection, f"SELECT {_WAVE} WHERE v.id = :id GROUP BY v.id, w.code", {"id": wave_id}
    ).fetchone()
    if row is None:
        raise NotFound(f"There is no wave {number}.")
    stops = execute(
        connection,
        "SELECT k.id, p.code, p.zone, u.code, u.name, u.barcode, k.quantity, k.picked, s.number,"
        " o.number, o.status, o.hold_reason FROM picks AS k"
        " JOIN locations AS p ON p.id = k.location_id"
        " JOIN skus AS u ON u.id = k.sku_id JOIN shipments AS s ON s.id = k.shipment_id"
        " JOIN orders AS o ON o.id = s.order_id WHERE k.wave_id = :id"
        " ORDER BY p.kind = 'storage', coalesce(p.pick_sequence, 2147483647), p.code, u.code, k.id",
        {"id": wave_id},
    )
    return {**_wave(row), "stops": [_stop(stop) for stop in stops]}


def _stop(row: Sequence[Any]) -> dict[str, Any]:
    *values, order, status, hold_reason = row
    stop = dict(zip(_COLUMNS, (*values, order, None), strict=True))
    if stop["picked"] is None:
        stop["blocked"] = stopped(order, status, hold_reason)
    return stop


def listing(
    connection: Connection,
    actor: Actor,
    *,
    status: str | None = None,
    warehouse: str | None = None,
    before: int = 0,
    limit: int = 50,
) -> tuple[list[dict[str, Any]], int | None]:
    """Return waves, the newest first, and the cursor for ``before``, None at the end."""
    actor.require(STOCK_READ)
    rows = execute(
        connection,
        f"SELECT {_WAVE} WHERE (:before = 0 OR v.id < :before)"
        " AND v.status = coalesce(CAST(:status AS text), v.status)"
        " AND w.code = coalesce(CAST(:warehouse AS text), w.code)"
        " GROUP BY v.id, w.code ORDER BY v.id DESC LIMIT :limit",
        {"before": before, "status": status, "warehouse": warehouse, "limit": limit + 1},
    ).fetchall()
    page = [_wave(row) for row in rows[:limit]]
    return page, rows[limit - 1][0] if len(rows) > limit else None


_WAVE = (
    "v.id, v.number, w.code, v.zone, v.status, v.created_at, v.finished_at,"
    " count(DISTINCT k.shipment_id), count(k.id), count(k.picked),"
    " CAST(coalesce(sum(k.quantity), 0) AS bigint), CAST(coalesce(sum(k.picked), 0) AS bigint)"
    " FROM pick_waves AS v JOIN warehouses AS w ON w.id = v.warehouse_id"
    " LEFT JOIN picks AS k ON k.wave_id = v.id"
)


def _wave(row: Sequence[Any]) -> dict[str, Any]:
    _, number, warehouse, zone, status, created, finished, *counts = row
    opened, closed = read_time(created), read_time(finished)
    names = ("shipments", "picks", "picks_done", "units", "units_picked")
    return {
        "number": number,
        "warehouse": warehouse,
        "zone": zone,
        "status": status,
        "created_at": opened.isoformat() if opened else None,
        "finished_at": closed.isoformat() if closed else None,
        **dict(zip(names, counts, strict=True)),
    }


def as_csv(wave: Mapping[str, Any]) -> str:
    """Return the stops as CSV with a header; no cell can be taken for a formula."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for stop in wave["stops"]:
        writer.writerow([cell(stop[name]) for name in _COLUMNS])
    return text.getvalue()


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{number}</title>
<meta name="viewport" content="width=device-width">
<style>@page{{size:A4;margin:12mm}}body{{margin:0 auto;max-width:190mm;padding:4mm;
font:12pt/1.35 sans-serif;color:#000}}header{{display:flex;justify-content:space-between;
align-items:flex-start;gap:8mm;border-bottom:2px solid #000;padding-bottom:3mm}}
h1{{margin:0;font-size:22pt}}header p{{margin:1mm 0 0}}figure{{margin:0;width:70mm;
text-align:center}}svg{{width:70mm;height:14mm;display:block}}
table{{width:100%;border-collapse:collapse;margin-top:3mm}}th{{text-align:left;font-size:9pt;
border-bottom:1px solid #000;padding:1mm 2mm}}td{{padding:2.2mm 2mm;border-bottom:1px solid #bbb;
vertical-align:top}}tr{{page-break-inside:avoid}}thead{{display:table-header-group}}
.place{{font-size:16pt;font-weight:700;white-space:nowrap}}.units{{font-size:20pt;font-weight:700;
text-align:right}}.sku{{font-weight:700;font-size:13pt}}small{{font-size:9pt;color:#333}}
.box{{display:inline-block;width:7mm;height:7mm;border:2px solid #000}}
.done td{{color:#777;text-decoration:line-through}}</style>
<header><div><h1>{number}</h1><p>{summary}</p></div>
<figure>{bars}<figcaption>{number}</figcaption></figure></header>
<table><thead><tr><th>Place</th><th>SKU</th><th style="text-align:right">Units</th><th>For</th>
<th>Done</th></tr></thead><tbody>{rows}</tbody></table></html>"""

_ROW = """<tr{done}><td class="place">{place}</td><td>{goods}</td><td class="units">{units}</td>
<td>{shipment}<br><small>{order}</small></td><td>{box}</td></tr>"""


_GOODS = """<span class="sku">{sku}</span><br>{name}<br><small>{barcode}</small>"""


def as_page(wave: Mapping[str, Any]) -> str:
    """Return the list as a page to print or to hold in one's hand."""
    zone = f", zone {wave['zone']}" if wave["zone"] else ""
    summary = (
        f"{wave['warehouse']}{zone}: {wave['units']} units from"
        f" {len({stop['location'] for stop in wave['stops']})} places"
        f" for {wave['shipments']} shipments. {wave['status'].capitalize()}."
    )
    return _PAGE.format(
        number=escape(wave["number"]),
        summary=escape(summary),
        bars=svg(wave["number"]),
        rows="".join(_rows(wave["stops"])),
    )


def _rows(stops: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Return the rows; what is taken from one place for several shipments is named once."""
    for (place, sku), group in groupby(stops, key=lambda stop: (stop["location"], stop["sku"])):
        same = list(group)
        units = sum(stop["units"] for stop in same)
        first = same[0]
        goods = _GOODS.format(
            sku=escape(sku), name=escape(first["name"]), barcode=escape(first["barcode"] or "")
        )
        where = escape(place) + (f"<br><small>{units} in all</small>" if len(same) > 1 else "")
        for index, stop in enumerate(same):
            yield _row(stop, where if index == 0 else "", goods if index == 0 else "")


def _row(stop: Mapping[str, Any], where: str, goods: str) -> str:
    picked = stop["picked"]
    box = "on hold" if stop["blocked"] else '<span class="box"></span>'
    return _ROW.format(
        done="" if picked is None else ' class="done"',
        place=where,
        goods=goods,
        units=stop["units"],
        shipment=escape(stop["shipment"]),
        order=escape(stop["order"]),
        box=box if picked is None else picked,
    )
