"""What the dashboards do to the shop: always through a service of ``oms_ops``, as one actor.

The actor is whoever holds the key in ``OMS_API_KEY``. Without a key that permits it, pages that
could write are read-only and say why.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from dashboards.lib import snapshot as published
from dashboards.lib.snapshot import Snapshot
from oms_ops import clock
from oms_ops.settings import settings

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from oms_ops.access.actor import Actor
    from oms_ops.feed.reader import Lag
    from oms_ops.purchasing.reorder import ApprovalLine

KEY_VARIABLE = "OMS_API_KEY"
HOW_TO_GET_A_KEY = (
    f"Set `{KEY_VARIABLE}` to a merchandiser's key and start the dashboards again; make one with"
    " `oms key create --role merchandiser --name NAME`."
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an action: the purchase orders made, or the refusal with every bad line."""

    orders: list[dict[str, Any]] = field(default_factory=list)
    refusal: str = ""
    details: list[str] = field(default_factory=list)


class Unavailable(Exception):
    """The operational database cannot be reached; the text says so to people."""


@st.cache_resource(max_entries=2, show_spinner=False)
def _engine(url: str) -> Engine:
    from oms_ops.database import make_engine

    return make_engine(url, pool_size=4)


def engine() -> Engine:
    """Return the operational database.

    Raises:
        Unavailable: there is no database file yet.
    """
    url = settings().url
    # SQLite would make an empty file rather than say that there is none.
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        raise Unavailable("There is no operational database yet; `oms init` makes one.")
    return _engine(url)


def buyer() -> tuple[Actor | None, str]:
    """Return the actor who may place purchase orders, or None and the reason why nobody may."""
    from sqlalchemy.exc import SQLAlchemyError

    from oms_ops.access.actor import PURCHASING_WRITE
    from oms_ops.access.keys import authenticate
    from oms_ops.errors import OmsError

    key = os.environ.get(KEY_VARIABLE, "")
    if not key:
        return None, f"No API key is set. {HOW_TO_GET_A_KEY}"
    try:
        actor = authenticate(engine(), key)
        actor.require(PURCHASING_WRITE)
    except OmsError as error:
        return None, f"{error.message.rstrip('.')}. {HOW_TO_GET_A_KEY}"
    except Unavailable as error:
        return None, str(error)
    except SQLAlchemyError:
        return None, "The operational database does not answer."
    return actor, ""


def approved(list_id: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what was approved from a list, per SKU and warehouse.

    Raises:
        Unavailable: the operational database does not answer.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from oms_ops.database import reading
    from oms_ops.purchasing import reorder

    try:
        with reading(engine()) as connection:
            return reorder.approved(connection, list_id)
    except SQLAlchemyError as error:
        raise Unavailable("The operational database does not answer.") from error


def approve(snapshot: Snapshot, lines: Sequence[ApprovalLine]) -> Outcome:
    """Approve lines of the list that ``snapshot`` shows; refusals come back as text, not raised."""
    from sqlalchemy.exc import SQLAlchemyError

    from oms_ops.errors import OmsError
    from oms_ops.feed.reader import Cursor
    from oms_ops.purchasing import reorder

    newest = published.current()
    if newest is None or newest.list_id != snapshot.list_id:
        return Outcome(
            refusal="This list is stale: a newer one was published while you were working. Nothing"
            " was ordered. Your edits are kept where the line is still on the list; check them and"
            " approve again."
        )
    actor, reason = buyer()
    if actor is None:
        return Outcome(refusal=reason)
    try:
        made = reorder.approve(
            engine(), actor, snapshot.list_id, snapshot.list_as_of, lines,
            list_cursor=Cursor.parse(snapshot.cursor),
        )  # fmt: skip
    except OmsError as error:
        return Outcome(
            refusal=f"{error.message} Nothing was ordered.",
            details=[fault.message for fault in error.errors],
        )
    except (SQLAlchemyError, Unavailable):
        return Outcome(refusal="The operational database does not answer. Nothing was ordered.")
    return Outcome(orders=made)


def list_age_hours(snapshot: Snapshot) -> tuple[float, int]:
    """Return the age of the list in hours and the age from which approvals are refused."""
    age = (clock.now() - snapshot.list_as_of).total_seconds() / 3600
    return age, settings().reorder_max_age_hours


def feed_lag(snapshot: Snapshot) -> Lag:
    """Return how far the snapshot is behind the operational database.

    Raises:
        Unavailable: the operational database does not answer.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from oms_ops.database import reading
    from oms_ops.feed.reader import Cursor, lag

    try:
        with reading(engine()) as connection:
            return lag(connection, Cursor.parse(snapshot.cursor), clock.now())
    except SQLAlchemyError as error:
        raise Unavailable("The operational database does not answer.") from error
