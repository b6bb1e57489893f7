"""The FastAPI application."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.engine import Engine
from starlette.exceptions import HTTPException

from oms_ops import cards
from oms_ops.api import (
    balances,
    baskets,
    bins,
    care,
    catalog,
    changes,
    counts,
    customers,
    drafts,
    fulfilment,
    imports,
    inbox,
    metrics,
    orders,
    payments,
    payments_desk,
    purchasing,
    returns,
    routing,
    rules,
    stock,
    suppliers,
    tracking,
    tracking_care,
    transfers,
    warehouses,
    waves,
    webhooks,
)
from oms_ops.api.parts import UNSTORABLE, refuse_unstorable, turns_of
from oms_ops.api.sizes import LimitedBodies
from oms_ops.database import Retry, make_engine, retryable, unavailable
from oms_ops.errors import FieldError, OmsError, Unavailable, ValidationFailed
from oms_ops.schema import metadata
from oms_ops.settings import settings
from oms_ops.shapes import fault_code, path_of


def create_app(engine: Engine | None = None) -> FastAPI:
    """Return the application over ``engine``, or over the configured database."""
    app = FastAPI(title="Order platform", version="1", docs_url="/docs", redoc_url=None)
    serve_from(app, engine or make_engine(settings().url))
    # The history of an order shows the columns of every room by their types.
    app.state.tables = metadata.tables
    for router in (
        orders.router,
        changes.router,
        drafts.router,
        catalog.router,
        routing.router,
        rules.router,
        payments.router,
        payments_desk.router,
        balances.router,
        waves.router,
        fulfilment.router,
        returns.router,
        care.router,
        customers.router,
        warehouses.router,
        stock.router,
        baskets.router,
        bins.router,
        counts.router,
        transfers.router,
        purchasing.router,
        suppliers.router,
        imports.router,
        inbox.router,
        webhooks.router,
    ):
        app.include_router(router, prefix="/v1")
    app.include_router(metrics.router)
    app.include_router(tracking.router)
    app.include_router(tracking_care.router)
    app.add_middleware(LimitedBodies)
    app.add_exception_handler(OmsError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http_error)
    for unstorable in UNSTORABLE:
        app.add_exception_handler(unstorable, _unstorable)
    for thrown in (sa.exc.SQLAlchemyError, Retry):
        app.add_exception_handler(thrown, _unavailable)
    app.add_exception_handler(Exception, _failed)
    app.add_api_route("/healthz", healthz, methods=["GET"], tags=["health"])
    return app


def serve_from(app: FastAPI, engine: Engine) -> None:
    """Make ``engine`` the database of ``app``, and forget what was kept of another one."""
    app.state.engine = engine
    app.state.turns = turns_of(engine)
    app.state.metrics = metrics.Kept()


def healthz(request: Request) -> JSONResponse:
    """Tell whether the database answers and carries the schema."""
    try:
        with request.app.state.engine.connect() as connection:
            epoch = connection.execute(sa.text("SELECT epoch FROM feed_state")).scalar()
    except sa.exc.SQLAlchemyError:
        return JSONResponse({"status": "unavailable", "database": "unreachable"}, 503)
    return JSONResponse({"status": "ok", "database": "ok", "feed_epoch": epoch})


def _problem(body: dict[str, Any], headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(
        body, body["status"], media_type="application/problem+json", headers=headers
    )


def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OmsError)  # noqa: S101 - registered for this type only
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
    return _problem(error.problem(), headers)


def _malformed(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type only
    fields = [_bad_field(fault) for fault in error.errors()]
    return _problem(ValidationFailed("The request has bad fields.", fields).problem())


def _bad_field(fault: Any) -> FieldError:
    where = _where(fault["loc"])
    if cards.looks_like_card(where):
        # The name of a field is told, and must not tell of a card.
        return FieldError("body", cards.CODE, cards.MESSAGE)
    message = str(fault["msg"]).removeprefix("Value error, ")
    return FieldError(where, fault_code(str(fault["type"])), message)


def _unstorable(_: Request, __: Exception) -> JSONResponse:
    return _problem(refuse_unstorable().problem())


def _unavailable(_: Request, error: Exception) -> JSONResponse:
    """Answer for a database that is away or too busy; anything else is a fault of ours.

    Whoever does not know whether a request was done sends it again with its idempotency key.
    """
    if not (unavailable(error) or retryable(error)):
        raise error
    refusal = Unavailable("The database cannot be reached or is too busy; send it again.")
    return _problem(refusal.problem(), {"Retry-After": "1"})


def _failed(_: Request, __: Exception) -> JSONResponse:
    """Answer for a fault of ours; the server logs it."""
    return _problem(
        {
            "type": "urn:oms:problem:internal",
            "title": "internal error",
            "status": 500,
            "detail": "The request could not be served; nothing of it was kept.",
            "errors": [],
        }
    )


def _where(location: tuple[str | int, ...]) -> str:
    """Return the path of a fault: ``lines[0].quantity``, or ``body`` for text that is no JSON."""
    path = path_of(location[1:])
    return path if path and not path.startswith("[") else str(location[0])


def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type only
    if error.status_code == 400:
        # FastAPI refuses so what is no UTF-8, or nested too deep; both are no JSON to us.
        fault = FieldError("body", "json_invalid", "JSON decode error")
        return _problem(ValidationFailed("The request has bad fields.", [fault]).problem())
    return _problem(
        {
            "type": "about:blank",
            "title": error.detail,
            "status": error.status_code,
            "detail": error.detail,
            "errors": [],
        },
        dict(error.headers or {}),
    )
