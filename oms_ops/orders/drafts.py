"""Orders in the making: kept as far as they are known, priced on demand, placed once.

A draft is a submission that may still lack things. Placing one captures it under an idempotency key
of the draft: placed twice, or by two at once, it is one order. While it is placed nobody changes
it, so that the order is what the draft shows. Its version is that of the document and of its end: a
placing that was refused changed neither.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from pydantic_core import PydanticCustomError
from sqlalchemy.engine import Connection, Engine

from oms_ops import cards, clock
from oms_ops.access.actor import ORDERS_READ, ORDERS_WRITE, Actor
from oms_ops.database import as_json, as_time, execute, for_update, read_time, reading, run
from oms_ops.errors import Conflict, FieldError, KeyReused, NotFound, ValidationFailed
from oms_ops.orders import idempotency
from oms_ops.orders import queries as orders
from oms_ops.orders.capture import capture, quote
from oms_ops.orders.tables import Draft
from oms_ops.shapes import refuse_unstorable

_MOST_CHARACTERS = 200_000
#: What other systems number: it may look like a card's number and is none.
_NUMBERS = ("external_id", "basket")
#: No name of a key begins like this, so no caller's own keys are in the way.
_SCOPE = "/drafts"


def create(connection: Connection, actor: Actor, document: Any) -> dict[str, Any]:
    """Keep ``document``, a submission as far as it is known; return the draft."""
    actor.require(ORDERS_WRITE)
    now = clock.now()
    number = connection.execute(
        sa.insert(Draft)
        .values(
            status="open",
            document=_checked(document, ()),
            created_at=now,
            changed_by=actor.name,
            changed_at=now,
        )
        .returning(Draft.number)
    ).scalar_one()
    return _shown(connection, number)


def edit(
    connection: Connection, actor: Actor, number: str, document: Any, version: int
) -> dict[str, Any]:
    """Replace an open draft's document; ``version`` is the one that the caller saw.

    Raises:
        NotFound: there is no such draft.
        Conflict: somebody else changed it since, or it is placed or discarded.
    """
    actor.require(ORDERS_WRITE)
    return _change(connection, actor, number, version, "open", _checked(document, ("document",)))


def discard(connection: Connection, actor: Actor, number: str, version: int) -> dict[str, Any]:
    """Give an open draft up; it stays to be read."""
    actor.require(ORDERS_WRITE)
    return _change(connection, actor, number, version, "discarded", None)


def priced(engine: Engine, actor: Actor, number: str) -> dict[str, Any]:
    """Return the order that placing the draft would make now, without a number.

    Raises:
        ValidationFailed, OutOfStock: with all that still stands in its way.
    """
    with reading(engine) as connection:
        document = get(connection, actor, number)["document"]
    return quote(engine, actor, document)


def place(engine: Engine, actor: Actor, number: str) -> dict[str, Any]:
    """Capture the draft as an order and return the order; a repeat returns the same order.

    From here on it is ``placing`` and nobody can change it; refused, it is open again. Whoever
    stops in between leaves it ``placing``: it is placed again, under the same key.

    Raises:
        Conflict: the draft is discarded; or somebody else placed it at the same time and was
            refused, so that it is open again.
        ValidationFailed, OutOfStock: as :func:`oms_ops.orders.capture.capture` does.
    """
    actor.require(ORDERS_WRITE)
    draft = run(engine, lambda connection: _begin(connection, number))
    if draft["status"] == "placed":
        with reading(engine) as connection:
            return orders.get(connection, draft["order"])
    # The key belongs to the draft, not to who places it: two clerks at once make one order.
    key = draft["key"]
    try:
        answer = capture(engine, actor, draft["document"], idempotency_key=key, key_scope=_SCOPE)
    except KeyReused:
        raise Conflict(f"{number} was refused to somebody else and is open again.") from None
    except Exception:
        if not run(engine, lambda connection: _reopen(connection, number, key)):
            # Somebody else has made the order meanwhile.
            return place(engine, actor, number)
        raise
    run(engine, lambda connection: _mark_placed(connection, actor, number, answer["number"]))
    return answer


def get(connection: Connection, actor: Actor, number: str) -> dict[str, Any]:
    """Return a draft: number, status, version, document, order, who changed it last and when.

    Raises:
        NotFound: there is no such draft.
    """
    actor.require(ORDERS_READ)
    return _shown(connection, number)


def _shown(connection: Connection, number: str) -> dict[str, Any]:
    row = connection.execute(sa.text(f"{_SELECT} WHERE d.number = :number"), {"number": number})
    found = row.mappings().one_or_none()
    if found is None:
        raise NotFound(f"There is no draft {number!r}.")
    return _render(found)


def listing(
    connection: Connection, actor: Actor, *, before: int = 0, limit: int = 50
) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of drafts without an order, newest first, and the cursor of the next page."""
    actor.require(ORDERS_READ)
    rows = connection.execute(
        sa.text(
            f"{_SELECT} WHERE d.status IN ('open', 'placing') AND (:before = 0 OR d.id < :before)"
            " ORDER BY d.id DESC LIMIT :limit"
        ),
        {"before": before, "limit": limit + 1},
    ).mappings()
    found = list(rows)
    cursor = found[limit - 1]["id"] if len(found) > limit else None
    return [_render(row) for row in found[:limit]], cursor


_SELECT = (
    "SELECT d.id, d.number, d.status, d.version, d.document, d.created_at, d.changed_by,"
    " d.changed_at, o.number AS order_number FROM drafts AS d"
    " LEFT JOIN orders AS o ON o.id = d.order_id"
)


def _render(row: Any) -> dict[str, Any]:
    document = row["document"]
    moments = {name: read_time(row[name]) for name in ("created_at", "changed_at")}
    return {
        **{key: row[key] for key in ("number", "status", "version", "changed_by")},
        "order": row["order_number"],
        "document": json.loads(document) if isinstance(document, str) else document,
        **{name: moment.isoformat() if moment else None for name, moment in moments.items()},
    }


def _checked(document: Any, path: cards.Path) -> dict[str, Any]:
    """Return a document that can be kept; it stands at ``path`` of what was sent."""
    try:
        refuse_unstorable(document)
    except PydanticCustomError as error:
        raise _refusal(path, error.type, error.message()) from None
    if not isinstance(document, dict) or len(json.dumps(document, default=str)) > _MOST_CHARACTERS:
        size = f"{_MOST_CHARACTERS:,} characters"
        raise _refusal(path, "invalid", f"a JSON object of at most {size}")
    # A draft may be wrong in every way but this one: it would be stored.
    written = {name: value for name, value in document.items() if name not in _NUMBERS}
    if faults := cards.faults(written, path):
        raise ValidationFailed("The draft has bad fields.", faults)
    return document


def _refusal(path: cards.Path, code: str, message: str) -> ValidationFailed:
    field = ".".join(map(str, path)) or "body"
    return ValidationFailed("The draft has bad fields.", [FieldError(field, code, message)])


def _change(
    connection: Connection, actor: Actor, number: str, version: int, status: str, document: Any
) -> dict[str, Any]:
    changed = connection.execute(
        sa.text(
            "UPDATE drafts SET status = :status, document = coalesce(CAST(:document AS"
            f" {'text' if connection.dialect.name == 'sqlite' else 'json'}), document),"
            " version = version + 1, changed_by = :actor, changed_at = :now"
            " WHERE number = :number AND status = 'open' AND version = :version"
        ),
        {
            "status": status,
            "document": None if document is None else as_json(document),
            "actor": actor.name,
            "now": as_time(connection, clock.now()),
            "number": number,
            "version": version,
        },
    ).rowcount
    draft = _shown(connection, number)
    if not changed:
        now = f"{draft['status']} in version {draft['version']}"
        fault = FieldError("version", "changed_meanwhile", f"now {draft['version']}")
        if draft["status"] != "open":
            fault = FieldError("number", draft["status"], f"is {now}")
        raise Conflict(f"{number} is {now}, not open in {version}.", [fault])
    return draft


def _begin(connection: Connection, number: str) -> dict[str, Any]:
    """Make an open draft ``placing``; return it with the ``key`` of this attempt to place it."""
    # Locked, so that status and attempt are of one moment: a key of the next attempt, taken while
    # the draft is still that of the one before, would be spent without a new one following.
    lock = f"SELECT id FROM drafts WHERE number = :number {for_update(connection)}"
    connection.execute(sa.text(lock), {"number": number})
    connection.execute(
        sa.text("UPDATE drafts SET status = 'placing' WHERE number = :number AND status = 'open'"),
        {"number": number},
    )
    draft = _shown(connection, number)
    if draft["status"] == "discarded":
        raise Conflict(f"{number} is discarded.")
    attempt = connection.scalar(sa.select(Draft.attempt).where(Draft.number == number))
    return {**draft, "key": f"{number}/{attempt}" if attempt else number}


def _reopen(connection: Connection, number: str, key: str) -> bool:
    """Open a draft again whose placing was refused; False where there is an order all the same.

    The key is spent: whoever still places the draft as it was finds that he is late.
    """
    if not idempotency.spend(connection, _SCOPE, key):
        row = execute(
            connection,
            "SELECT 1 FROM idempotency_keys"
            " WHERE scope = :scope AND key = :key AND request_hash = 'spent'",
            {"scope": _SCOPE, "key": key},
        ).fetchone()
        return row is not None
    connection.execute(
        sa.text(
            "UPDATE drafts SET status = 'open', attempt = attempt + 1"
            " WHERE number = :number AND status = 'placing'"
        ),
        {"number": number},
    )
    return True


def _mark_placed(connection: Connection, actor: Actor, number: str, order: str) -> None:
    connection.execute(
        sa.text(
            "UPDATE drafts SET status = 'placed', order_id = :order_id, version = version + 1,"
            " changed_by = :actor, changed_at = :now"
            " WHERE number = :number AND status = 'placing'"
        ),
        {
            "order_id": orders.order_id(connection, order),
            "number": number,
            "actor": actor.name,
            "now": as_time(connection, clock.now()),
        },
    )
