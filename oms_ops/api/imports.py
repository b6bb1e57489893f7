"""Routes of the imports: send a file, see what became of each of its rows."""

from __future__ import annotations

import io
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import PlainTextResponse

from oms_ops.api.parts import Caller, Cursor, Database, Limit, one_of
from oms_ops.database import reading
from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.exchange import files, mapping, runs
from oms_ops.exchange.tables import FATES

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
    """Import the file in the body (CSV, Parquet, or Shopify's JSON)."""
    named = mapping.parse(columns).with_constants({"channel": channel})
    return _render(files.import_bytes(engine, actor, kind, body, file_name, named))


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
    """Return the rejected rows as CSV, ready to be mended and sent again."""
    out = io.StringIO()
    with reading(engine) as connection:
        runs.write_report(runs.show(connection, actor, number), out)
    return PlainTextResponse(out.getvalue(), media_type="text/csv")
