"""What every router needs: the engine, the actor behind the key, and the body as plain JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Annotated, Any

import sqlalchemy as sa
from anyio import CapacityLimiter
from fastapi import Body, Depends, Header, Path, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticSerializationError
from sqlalchemy.engine import Connection, Engine

from oms_ops.access.actor import Actor
from oms_ops.access.keys import authenticate
from oms_ops.database import run
from oms_ops.errors import FieldError, OmsError, Unauthorised, ValidationFailed
from oms_ops.orders.idempotency import once
from oms_ops.shapes import storable

_bearer = HTTPBearer(auto_error=False, description="An API key, made by `oms key create`.")


# Asynchronous, although it waits for nothing: a plain function would go to a thread of its own.
async def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


def turns_of(engine: Engine) -> CapacityLimiter:
    """Return how many threads of a process capture orders at once; others wait for their turn.

    More than that only take the interpreter from one another: while SQLite's one writer waits for
    it, all of its rivals in other processes do.
    """
    return CapacityLimiter(1 if engine.dialect.name == "sqlite" else 4)


def authenticated(engine: Engine, credentials: HTTPAuthorizationCredentials | None) -> Actor:
    """Return who sent the request.

    Raises:
        Unauthorised: without a valid key.
    """
    if credentials is None:
        raise Unauthorised("No API key was given: send Authorization: Bearer KEY.")
    return authenticate(engine, credentials.credentials)


def _actor(
    engine: Annotated[Engine, Depends(_engine)],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Actor:
    return authenticated(engine, credentials)


Database = Annotated[Engine, Depends(_engine)]
Caller = Annotated[Actor, Depends(_actor)]
#: For the hot route, which authenticates in its own thread instead of a second one.
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
JsonBody = Annotated[Any, Body()]
#: A caller's name for a submission, under which a repeat gets the first answer.
IdempotencyKey = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(storable)]
Units = Annotated[int, Field(gt=0, le=1_000_000)]
Money = Annotated[Decimal, Field(gt=0, le=1_000_000_000, allow_inf_nan=False)]
Key = Annotated[int, Path(ge=1, le=2**53)]
Limit = Annotated[int, Query(ge=1, le=200)]
#: Lines of one request, at most.
MOST_LINES = 1000
ShipmentIds = Annotated[
    list[Annotated[int, Field(ge=1, le=2**53)]], Field(min_length=1, max_length=MOST_LINES)
]
#: A part of what is looked for.
Search = Annotated[str, Query(max_length=200), AfterValidator(storable)]
Cursor = Annotated[int, Query(ge=0, le=2**53)]

#: What the database, and what hands it sets of rows, raise for a value that no check foresaw.
UNSTORABLE = (sa.exc.DataError, UnicodeEncodeError, OverflowError, PydanticSerializationError)


def refuse_unstorable() -> ValidationFailed:
    """Return the refusal of a value that the database cannot hold."""
    message = "A value is out of range or holds a character that cannot be stored."
    return ValidationFailed(message, [FieldError("body", "not_storable", message)])


@dataclass(frozen=True, slots=True)
class Submission:
    """A request that is done once: what makes a repeat the same, and its Idempotency-Key if any."""

    key: str | None
    request: tuple[str, Any]

    def run(
        self,
        engine: Engine,
        actor: Actor,
        work: Callable[[Connection], dict[str, Any]],
        *,
        attempts: int = 8,
    ) -> dict[str, Any]:
        """Do ``work`` in one transaction and return its answer, or the first answer to the key."""
        return run(
            engine,
            lambda c: once(c, actor, self.key, self.request, lambda: work(c)),
            attempts=attempts,
        )


async def _submission(
    request: Request, idempotency_key: Annotated[IdempotencyKey | None, Header()] = None
) -> Submission:
    if idempotency_key is None:
        return Submission(None, ("", None))
    body = await request.body()
    asked = f"{request.method} {request.url.path}?{request.url.query}"
    try:
        # The same body, however its JSON is written.
        return Submission(idempotency_key, (asked, json.loads(body) if body else None))
    except (ValueError, RecursionError):
        # The route refuses it.
        return Submission(idempotency_key, (asked, None))


#: For routes that a repeat would do twice; `POST /v1/orders` has its own, in its one write.
Once = Annotated[Submission, Depends(_submission)]


def one_of(values: Sequence[str]) -> str:
    """Return the pattern of a query parameter that is one of ``values``."""
    return f"^({'|'.join(values)})$"


def refuse_repeated(what: str, line_numbers: Sequence[int]) -> None:
    """Raise ValidationFailed where ``lines`` of a body name a line twice."""
    faults = [
        FieldError(f"lines[{index}].line_no", "repeated_line", "is there twice")
        for index, number in enumerate(line_numbers)
        if number in line_numbers[:index]
    ]
    if faults:
        raise ValidationFailed(f"{what} has bad fields.", faults)


@contextmanager
def callers_words(names: Mapping[str, str]) -> Iterator[None]:
    """Name the fields of a refusal as the caller sent them: ``names`` maps a pattern to his word.

    For routes that call a field otherwise than the service does, or send one of what it takes many.
    """
    try:
        yield
    except OmsError as refusal:
        for pattern, word in names.items():
            refusal.errors = [
                replace(fault, field=re.sub(pattern, word, fault.field)) for fault in refusal.errors
            ]
        raise


def described(model: type[BaseModel]) -> dict[str, Any]:
    """Return what the document of the API says of a raw body that a service reads as ``model``."""
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})

    def whole(part: Any) -> Any:
        # References inside a body's schema would point at the root of the document.
        if isinstance(part, dict):
            name = str(part.get("$ref", "")).rpartition("/")[2]
            return whole(parts[name]) if name else {key: whole(each) for key, each in part.items()}
        return [whole(each) for each in part] if isinstance(part, list) else part

    content = {"application/json": {"schema": whole(schema)}}
    return {"requestBody": {"required": True, "content": content}}
