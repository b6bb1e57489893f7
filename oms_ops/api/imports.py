"""Routes of the imports: send a file, see what became of each of its rows."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import PlainTextResponse

from oms_ops.api.parts import Caller, Cursor, Database, Limit, one_of
from oms_ops.database import reading
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.exchange import files, mapping, runs
from oms_ops.exchange.tables import FATES
from oms_ops.exchange.values import E4

router = APIRouter(tags=["imports"])

#: Bytes of a file; larger ones go through the command line.
LARGEST = 64_000_000
#: Rejected rows that stand in the answer; the report has them all.
SHOWN = 100


async def _raw(request: Request) -> bytes:
    """Return the body: the file as it is."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST:
            fault = FieldError("body", "too_large", f"more than {LARGEST} bytes")
            raise ValidationFailed("The file is too large.", [fault])
    return bytes(body)


def _render(done: runs.Report) -> dict[str, Any]:
    rejected = [
        {"row": bad.row_no, "code": bad.reason, "reason": bad.message}
        for bad in done.rejected[:SHOWN]
    ]
    return {
        "number": done.number,
        "kind": done.kind,
        "file_name": done.file_name,
        "rows": done.rows,
        "counts": done.counts,
        "rejected": rejected,
    }


def _proof(done: runs.Report) -> dict[str, Any]:
    """Return the money of each fate, in the file and in our tables, where it is proven."""
    proof = done.reconciliation
    if proof is None:
        return {}
    lines = [
        {
            "fate": line.fate,
            "reason": line.reason,
            "rows": line.rows,
            "file": _major(line.file_e4),
            "ours": _major(line.ours_e4),
            "remainder": _major(line.remainder_e4),
            "holds": line.holds,
        }
        for line in proof.lines
    ]
    return {"reconciliation": {"holds": proof.holds, "lines": lines}}


def _major(amount_e4: int) -> str:
    return str(Decimal(amount_e4).scaleb(-E4))


@router.post("/imports/{kind}", status_code=201)
def create_import(
    engine: Database,
    actor: Caller,
    kind: str,
    body: Annotated[bytes, Depends(_raw)],
    file_name: Annotated[str, Query(max_length=200)] = "upload",
    channel: Annotated[str | None, Query(max_length=200)] = None,
    columns: Annotated[str, Query(alias="mapping", description="A TOML document.")] = "",
) -> dict[str, Any]:
    """Import the file in the body: CSV or Parquet, of kind ``shopify`` its JSON.

    ``reconciliation`` tells of a history whether its money agrees.
    """
    files.permitted(actor, kind)
    named = mapping.parse(columns).with_constants({"channel": channel})
    done = files.import_bytes(engine, actor, kind, body, file_name, named)
    return {**_render(done), **_proof(done)}


@router.get("/imports")
def list_imports(
    engine: Database, actor: Caller, limit: Limit = 50, after: Cursor = 0
) -> dict[str, Any]:
    """Return the imports, newest first; ``next`` is the cursor for ``after``."""
    with reading(engine) as connection:
        return runs.listing(connection, actor, limit=limit, after=after)


@router.get("/imports/{number}")
def get_import(engine: Database, actor: Caller, number: str) -> dict[str, Any]:
    """Return what an import did."""
    with reading(engine) as connection:
        return _render(runs.show(connection, actor, number))


@router.get("/imports/{number}/rows")
def get_rows(
    engine: Database,
    actor: Caller,
    number: str,
    fate: Annotated[str | None, Query(pattern=one_of(FATES))] = None,
    limit: Limit = 50,
    after: Cursor = 0,
) -> dict[str, Any]:
    """Return the rows of an import with the fate of each; ``after`` is the row to go on after."""
    with reading(engine) as connection:
        return runs.rows(connection, actor, number, fate=fate, limit=limit, after=after)


@router.get("/imports/{number}/report", response_class=PlainTextResponse)
def get_report(engine: Database, actor: Caller, number: str) -> PlainTextResponse:
    """Return the rejected rows, ready to be mended and sent again: CSV, Shopify's as JSON lines."""
    out = io.StringIO()
    with reading(engine) as connection:
        done = runs.show(connection, actor, number)
    files.write_report(done, out)
    return PlainTextResponse(out.getvalue(), media_type=files.media_type(done))
