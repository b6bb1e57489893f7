"""A gateway that goes wrong on demand: for tests, trials and benchmarks, never for money.

It keeps its own books in a SQLite file, so that they outlive a process that is killed, and many
processes can share it. What goes wrong is told by rows of ``faults``, each for the next call of a
kind; what it would send by webhook lies in ``events`` for whoever delivers it, signed, as often and
in whatever order he likes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from oms_ops import clock
from oms_ops.errors import FieldError, NotFound, Unauthorised, ValidationFailed
from oms_ops.payments.gateways.interface import Arrival, Call, Notice, NotNow, Outcome, Uncertain
from oms_ops.settings import secrets_folder, settings

#: What can go wrong with a call. ``lost_after``: done, and the answer is lost; ``lost_before``: the
#: call never arrives; ``error_500``: the gateway breaks, and does nothing; ``garbled``: done, and
#: the answer cannot be read; ``refused``: not now; ``declined``; ``wrong_amount``: one minor unit
#: less is done; ``slow``: answers late; ``waiting``: accepted, done at the next look-up.
FAULTS = (
    "lost_after", "lost_before", "error_500", "garbled", "refused", "declined", "wrong_amount",
    "slow", "waiting",
)  # fmt: skip

_EVENT_OF = {"authorise": "authorised", "capture": "captured", "void": "voided",
             "refund": "refunded"}  # fmt: skip
_TOLERANCE = timedelta(minutes=5)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS acts (key TEXT PRIMARY KEY, kind TEXT, payment TEXT, reference TEXT,
    target TEXT, amount INTEGER, currency TEXT, state TEXT);
CREATE INDEX IF NOT EXISTS acts_reference ON acts (kind, reference);
CREATE INDEX IF NOT EXISTS acts_target ON acts (kind, target);
CREATE TABLE IF NOT EXISTS faults (id INTEGER PRIMARY KEY, kind TEXT, what TEXT);
CREATE TABLE IF NOT EXISTS calls (id INTEGER PRIMARY KEY, key TEXT, kind TEXT, what TEXT);
CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, body TEXT);
"""


class FakeSettings(BaseSettings):
    """Where the books lie (below ``OMS_HOME`` if not said), the secret, how long calls take."""

    model_config = SettingsConfigDict(env_prefix="OMS_FAKE_", extra="ignore")

    enabled: bool = False
    file: Path | None = None
    secret: str = Field(default="fake-secret", repr=False)
    milliseconds: int = 0
    #: What a ``slow`` call takes beyond that.
    slow_milliseconds: int = 1000

    @classmethod
    def read(cls) -> FakeSettings:
        """Return the settings of the environment and of ``OMS_SECRETS_DIR``."""
        return cls(**secrets_folder())


class Fake:
    """The gateway; ``captures_in_parts`` can be set to have one that captures once."""

    captures_in_parts = True

    def __init__(self, chosen: FakeSettings) -> None:
        """Open the books."""
        self._path = chosen.file or settings().home / "fake-gateway.db"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._secret = chosen.secret
        self._seconds = chosen.milliseconds / 1000
        self._slow_seconds = chosen.slow_milliseconds / 1000
        with self.books() as books:
            books.executescript(_SCHEMA)

    @contextmanager
    def books(self) -> Iterator[sqlite3.Connection]:
        """Give the books for one transaction of the gateway's own."""
        connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            if connection.in_transaction:
                connection.execute("COMMIT")
        finally:
            connection.close()

    def break_next(self, kind: str, *faults: str) -> None:
        """Let the next calls of a kind go wrong, one after the other."""
        with self.books() as books:
            books.executemany(
                "INSERT INTO faults (kind, what) VALUES (?, ?)", [(kind, what) for what in faults]
            )

    def call(self, call: Call) -> Outcome:
        """Do what is asked, once per key, unless something is to go wrong."""
        if self._seconds:
            time.sleep(self._seconds)
        with self.books() as books:
            fault = self._fault(books, call)
            arrives = fault not in ("lost_before", "error_500", "refused")
            outcome = self._do(books, call, fault) if arrives else None
        if fault == "slow":
            time.sleep(self._slow_seconds)
        if fault == "refused":
            raise NotNow("busy")
        if fault == "garbled":
            raise ValueError("no answer of a gateway's")
        if fault in ("lost_before", "lost_after") or outcome is None:
            raise Uncertain("500" if fault == "error_500" else "time-out")
        return outcome

    def _fault(self, books: sqlite3.Connection, call: Call) -> str | None:
        row = books.execute(
            "SELECT id, what FROM faults WHERE kind = ? ORDER BY id LIMIT 1", (call.kind,)
        ).fetchone()
        if row is not None:
            books.execute("DELETE FROM faults WHERE id = ?", (row["id"],))
        what = row["what"] if row is not None else None
        books.execute(
            "INSERT INTO calls (key, kind, what) VALUES (?, ?, ?)", (call.key, call.kind, what)
        )
        return what

    def _do(self, books: sqlite3.Connection, call: Call, fault: str | None) -> Outcome:
        known = books.execute("SELECT * FROM acts WHERE key = ?", (call.key,)).fetchone()
        if known is not None:
            return _outcome(known)
        reason = "card_declined" if fault == "declined" else self._objection(books, call)
        if reason is not None:
            return Outcome("declined", code=reason, message=reason.replace("_", " "))
        number = books.execute("SELECT coalesce(max(rowid), 0) FROM acts").fetchone()[0] + 1
        books.execute(
            "INSERT INTO acts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                call.key,
                call.kind,
                call.payment or f"fp_{number}",
                f"f{call.kind[0]}_{number}",
                call.target,
                call.amount_minor - (1 if fault == "wrong_amount" else 0),
                call.currency,
                "waiting" if fault == "waiting" else "done",
            ),
        )
        act = books.execute("SELECT * FROM acts WHERE key = ?", (call.key,)).fetchone()
        if act["state"] == "done":
            self._tell(books, act)
        return _outcome(act)

    def _objection(self, books: sqlite3.Connection, call: Call) -> str | None:
        """Return why a real gateway would decline: it keeps its own count of the money."""

        def total(kind: str, condition: str, value: str | None) -> int:
            query = f"SELECT coalesce(sum(amount), 0) FROM acts WHERE kind = ? AND {condition} = ?"
            return int(books.execute(query, (kind, value)).fetchone()[0])

        if call.kind == "capture":
            held = total("authorise", "reference", call.target)
            taken = total("capture", "target", call.target)
            gone = total("void", "target", call.target)
            if gone or taken + call.amount_minor > held:
                return "exceeds_authorisation"
        if call.kind == "refund":
            captured = total("capture", "reference", call.target)
            if total("refund", "target", call.target) + call.amount_minor > captured:
                return "exceeds_capture"
        return None

    def look_up(self, call: Call) -> Outcome | None:
        """Return what became of a call; what waited is done by then."""
        with self.books() as books:
            act = books.execute("SELECT * FROM acts WHERE key = ?", (call.key,)).fetchone()
            if act is None:
                return None
            if act["state"] == "waiting":
                books.execute("UPDATE acts SET state = 'done' WHERE key = ?", (call.key,))
                act = books.execute("SELECT * FROM acts WHERE key = ?", (call.key,)).fetchone()
                self._tell(books, act)
        return _outcome(act)

    def _tell(self, books: sqlite3.Connection, act: sqlite3.Row) -> None:
        self.send(
            books,
            kind=_EVENT_OF[act["kind"]],
            **{name: act[name] for name in ("key", "payment", "reference", "target")},
            amount=act["amount"],
            currency=act["currency"],
        )

    def send(self, books: sqlite3.Connection, **event: Any) -> None:
        """Put an event (kind, key, payment, reference, target, amount, currency) on its way."""
        body = json.dumps({"at": clock.now().isoformat(), **event})
        books.execute("INSERT INTO events (body) VALUES (?)", (body,))

    def events(self) -> list[tuple[dict[str, str], bytes]]:
        """Return every message so far, signed now: headers and body."""
        with self.books() as books:
            rows = books.execute("SELECT id, body FROM events ORDER BY id").fetchall()
        return [self.signed(f"fe_{row['id']}", row["body"].encode()) for row in rows]

    def signed(self, event_id: str, body: bytes) -> tuple[dict[str, str], bytes]:
        """Return the headers of a message with its body."""
        at = clock.now().isoformat()
        return {
            "fake-id": event_id,
            "fake-time": at,
            "fake-signature": self._signature(event_id, at, body),
        }, body

    def _signature(self, event_id: str, at: str, body: bytes) -> str:
        text = f"{event_id}.{at}.".encode() + body
        return hmac.new(self._secret.encode(), text, hashlib.sha256).hexdigest()

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Arrival:
        """Check the signature and the age of a message."""
        event_id, at = headers.get("fake-id", ""), headers.get("fake-time", "")
        given = headers.get("fake-signature", "")
        expected = self._signature(event_id, at, body)
        if not hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace")):
            raise Unauthorised("The message is not signed by the gateway.")
        if not _is_recent(at, now):
            raise Unauthorised("The message is too old.")
        try:
            topic = str(json.loads(body)["kind"])
        except (ValueError, KeyError, TypeError):
            fault = FieldError("body", "unreadable", "is no event of the gateway's")
            raise ValidationFailed("The message cannot be read.", [fault]) from None
        return Arrival(event_id, topic)

    def parse(self, body: str) -> Notice | None:
        """Read an event."""
        event = json.loads(body)
        if event["kind"] == "ping":
            return None
        return Notice(
            kind=event["kind"],
            reference=event["reference"],
            amount_minor=event["amount"],
            currency=event["currency"],
            occurred_at=datetime.fromisoformat(event["at"]),
            payment=event.get("payment"),
            target=event.get("target"),
            key=event.get("key"),
        )


def _is_recent(at: str, now: datetime) -> bool:
    try:
        return abs(now - datetime.fromisoformat(at)) <= _TOLERANCE
    except (ValueError, TypeError):
        # No moment, or one without a time zone.
        return False


def _outcome(act: sqlite3.Row) -> Outcome:
    if act["state"] == "waiting":
        if act["kind"] != "authorise":
            return Outcome("waiting", act["reference"], act["payment"])
        action = {"redirect_url": f"https://fake.example/{act['payment']}"}
        return Outcome("waiting", payment=act["payment"], action=action)
    return Outcome("done", act["reference"], act["payment"], act["amount"], act["currency"])


def open_gateway() -> Fake:
    """Return the gateway over the books that the environment names.

    Raises:
        NotFound: ``OMS_FAKE_ENABLED`` is not set: no shop takes play money by accident.
    """
    chosen = FakeSettings.read()
    if not chosen.enabled:
        raise NotFound("The fake gateway is not enabled here (OMS_FAKE_ENABLED).")
    return Fake(chosen)
