"""One application for all tests: FastAPI would make its routes anew for each of them."""

from __future__ import annotations

from fastapi import FastAPI
from sqlalchemy.engine import Engine

from oms_ops.api.app import create_app, serve_from

_made: list[FastAPI] = []


def app_over(engine: Engine) -> FastAPI:
    """Return the application; it serves ``engine`` until somebody asks for it over another one."""
    if not _made:
        _made.append(create_app(engine))
    serve_from(_made[0], engine)
    return _made[0]
