"""A label is booked once whoever asks; what a carrier's files say is taken once."""

from __future__ import annotations

import csv
import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from oms_ops import clock
from oms_ops.access.actor import Actor
from oms_ops.database import reading, run
from oms_ops.errors import Conflict, Forbidden, NotFound, OmsError, ValidationFailed
from oms_ops.fulfilment import commands, delivery, labels
from oms_ops.fulfilment.carriers import events, registry
from oms_ops.fulfilment.carriers.interface import Booking
from oms_ops.fulfilment.code128 import symbols
from oms_ops.orders.holds import hold
from oms_ops.reconcile import reconcile
from oms_ops.rules import store
from oms_ops.settings import settings
from tests.oms_ops.shop import ADMIN, CLERK, Shop
from tests.oms_ops.test_order_life import advance, placed
from tests.oms_ops.test_races import both

WORKER = Actor("wanda", "warehouse")
LEFT = datetime(2026, 11, 2, 16, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _sound_afterwards(shop: Shop) -> Iterator[None]:
    """Whatever a test did, the ledgers agree."""
    yield
    assert [finding for finding in reconcile(shop.engine) if finding.count] == []


@pytest.fixture
def folder(shop: Shop) -> Path:
    """Return the drop folder of the carrier ``post``; files in it are read at once."""
    shop.stock("SKU-1", 100)
    rules = {
        "carriers": {"post": {"adapter": "file", "quiet_seconds": 0}, "odd": {"adapter": "x25"}}
    }
    run(shop.engine, lambda c: store.publish(c, ADMIN, rules))
    return settings().carriers / "post"


def packed(shop: Shop, count: int = 1) -> list[int]:
    """Return the ids of packed shipments."""
    for _ in range(count):
        order_id = placed(shop, ("SKU-1", 2))
        advance(shop, order_id, "pick", "pack")
    rows = shop.rows("SELECT id FROM shipments WHERE status = 'packed' ORDER BY id")
    return [row[0] for row in rows]


def shipped(shop: Shop, count: int = 1) -> list[int]:
    """Return the ids of shipments that left on 2 November with tracking numbers P1, P2, ..."""
    with clock.at(LEFT):
        ids = packed(shop, count)
        numbers = {shipment: f"P{place}" for place, shipment in enumerate(ids, start=1)}
        run(
            shop.engine,
            lambda c: commands.ship(c, WORKER, ids, carrier="post", tracking_numbers=numbers),
        )
    return ids


def drop(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    """Let the carrier write a file."""
    path = folder / "in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".json"):
        path.write_text(json.dumps(rows))
        return path
    names = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as out:
        writer = csv.DictWriter(out, names)
        writer.writeheader()
        writer.writerows(rows)
    return path


def at(hour: int) -> str:
    return (LEFT + timedelta(hours=hour)).isoformat()


def event(kind: str, hour: int, parcel: str = "P1", **more: str) -> dict[str, str]:
    return {"event": kind, "at": at(hour), "tracking_number": parcel, **more}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def state(shop: Shop) -> list[tuple[Any, ...]]:
    """Return what is known of shipments, and how often customers were told."""
    told = shop.count("outbox_messages")
    rows = shop.rows(
        "SELECT id, status, carrier, tracking_number, delivered_at, failed_at, failure_reason,"
        " returned_at, version FROM shipments ORDER BY id"
    )
    return [*map(tuple, rows), (told,)]


def test_a_typed_number_makes_a_label_and_ships_under_it(shop: Shop, folder: Path) -> None:
    (shipment,) = packed(shop)
    (made,) = labels.book(
        shop.engine, WORKER, [shipment], carrier="manual", tracking_numbers={shipment: " T-77 "}
    )
    assert (made["status"], made["tracking_number"]) == ("booked", "T-77")
    with reading(shop.engine) as connection:
        page = labels.printed(connection, Actor("sue", "support"), shipment)
        number = shop.rows("SELECT number FROM shipments")[0][0]
    for part in (
        "Bob",
        "1 Main Street",
        "Atlanta GA 30301",
        number,
        "1 of 1",
        "T-77",
        "SO-",
        "<svg",
    ):
        assert part in page.body
    run(shop.engine, lambda c: commands.ship(c, WORKER, [shipment]))
    assert state(shop)[0][1:4] == ("shipped", "manual", "T-77")
    payload = shop.rows("SELECT payload FROM outbox_messages ORDER BY id DESC LIMIT 1")[0][0]
    assert "T-77" in str(payload)


def test_a_label_shows_each_parcel_and_escapes_what_customers_write(
    shop: Shop, folder: Path
) -> None:
    address = {"name": "<b>Eve</b>", "line1": "1 & 2", "city": "Atlanta", "region": "GA",
               "postal_code": "30301", "country": "US"}  # fmt: skip
    advance(shop, placed(shop, ("SKU-1", 2), ship_to=address), "pick", "pack")
    (shipment,) = packed(shop, 0)
    with shop.engine.begin() as connection:
        for parcel, weight in ((1, 1250), (2, None)):
            connection.exec_driver_sql(
                "INSERT INTO parcels (shipment_id, parcel_no, weight_grams, contents, version,"
                f" changed_by, changed_at) VALUES ({shipment}, {parcel}, {weight or 'NULL'},"
                " '{}', 1, 'x', '2026-01-01T00:00:00.000000Z')"
            )
    labels.book(shop.engine, WORKER, [shipment], carrier="manual", tracking_numbers={shipment: "T"})
    with reading(shop.engine) as connection:
        body = labels.printed(connection, WORKER, shipment).body
    for part in ("1 of 2", "2 of 2", "1.250 kg", "not weighed", "&lt;b&gt;Eve", "1 &amp; 2"):
        assert part in body
    assert "<b>" not in body


def test_a_code_128_carries_its_check_symbol() -> None:
    # The published example "Wikipedia" in set B has check symbol 88.
    assert symbols("Wikipedia") == [104, 55, 73, 75, 73, 80, 69, 68, 73, 65, 88]


def test_a_drop_folder_gets_a_manifest_and_its_answer_ships(shop: Shop, folder: Path) -> None:
    first, second = packed(shop, 2)
    asked = labels.book(shop.engine, WORKER, [first, second], carrier="post")
    assert [row["status"] for row in asked] == ["requested", "requested"]
    (manifest,) = names(folder / "out")
    with (folder / "out" / manifest).open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert [row["reference"] for row in rows] == [row["reference"] for row in asked]
    assert (rows[0]["to_city"], rows[0]["from_city"], rows[0]["parcels"]) == ("Atlanta", "ATL", "1")
    with pytest.raises(Conflict) as early:
        run(shop.engine, lambda c: commands.ship(c, WORKER, [first]))
    assert early.value.errors[0].code == "label_not_ready"
    drop(
        folder,
        "labels-1.csv",
        [
            {"reference": rows[0]["reference"], "tracking_number": "P1"},
            {"reference": rows[1]["reference"], "tracking_number": "P2",
             "media_type": "application/pdf", "label": "JVBERi0="},
        ],
    )  # fmt: skip
    (done,) = events.sync(shop.engine, "post")
    assert (done.messages, done.faults, names(folder / "done")) == (1, (), ["labels-1.csv"])
    with reading(shop.engine) as connection:
        assert "P1" in labels.printed(connection, WORKER, first).body
        assert labels.printed(connection, WORKER, second).media_type == "application/pdf"
    run(shop.engine, lambda c: commands.ship(c, WORKER, [first, second]))
    assert [row[1:4] for row in state(shop)[:2]] == [
        ("shipped", "post", "P1"),
        ("shipped", "post", "P2"),
    ]


def test_what_a_carrier_refuses_can_be_booked_anew(shop: Shop, folder: Path) -> None:
    (shipment,) = packed(shop)
    (asked,) = labels.book(shop.engine, WORKER, [shipment], carrier="post")
    drop(folder, "labels.json", [{"reference": asked["reference"], "problem": "no such street"}])
    events.sync(shop.engine)
    with reading(shop.engine) as connection:
        (label,) = labels.listing(connection, WORKER, [shipment])
        with pytest.raises(NotFound):
            labels.printed(connection, WORKER, shipment)
    assert (label["status"], label["problem"]) == ("void", "no such street")
    (again,) = labels.book(shop.engine, WORKER, [shipment], carrier="post")
    assert again["reference"] != asked["reference"]


def test_a_label_is_refused_for_each_shipment_by_name(shop: Shop, folder: Path) -> None:
    ready, labelled, held = packed(shop, 3)
    placed(shop, ("SKU-1", 1))
    labels.book(shop.engine, WORKER, [labelled], carrier="post")
    order = shop.rows("SELECT order_id FROM shipments WHERE id = :i", i=held)[0][0]
    run(shop.engine, lambda c: hold(c, CLERK, [order], "check"))
    with pytest.raises(Conflict) as refused:
        labels.book(shop.engine, WORKER, [ready, labelled, held, held + 1, 99], carrier="post")
    assert [error.code for error in refused.value.errors] == [
        "already_labelled", "order_not_open", "wrong_status", "unknown_shipment"
    ]  # fmt: skip
    assert len(names(folder / "out")) == 1
    with pytest.raises(ValidationFailed):
        labels.book(shop.engine, WORKER, [ready], carrier="manual")
    for carrier in ("nobody", "odd"):
        with pytest.raises(ValidationFailed):
            labels.book(shop.engine, WORKER, [ready], carrier=carrier)
    with pytest.raises(Forbidden):
        labels.book(shop.engine, CLERK, [ready], carrier="post")


def _race(shop: Shop, shipment: int) -> list[Any]:
    """Let four people book one shipment at once; return how it ended for each."""
    start = threading.Barrier(4)

    def try_it(_: int) -> Any:
        start.wait(10)
        try:
            return labels.book(shop.engine, WORKER, [shipment], carrier="post")
        except OmsError as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(try_it, range(4)))


def test_a_shipment_is_booked_once_however_many_ask(shop: Shop, folder: Path) -> None:
    (shipment,) = packed(shop)
    ended = _race(shop, shipment)
    assert sum(isinstance(end, list) for end in ended) == 1
    assert all(isinstance(end, list | Conflict) for end in ended)
    assert len(names(folder / "out")) == 1


def test_without_the_request_written_first_it_is_booked_twice(
    shop: Shop, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: whoever only looks for a label before asking books several."""
    (shipment,) = packed(shop)
    looked = threading.Barrier(4)
    asked: list[Booking] = []

    def only_look(connection: Connection, *_: Any, **__: Any) -> list[Booking]:
        found = connection.exec_driver_sql("SELECT count(*) FROM shipment_labels").scalar()
        place = ({"name": "", "city": ""}, {"name": "", "city": ""})
        return [] if found else [Booking("LB-1", str(threading.get_ident()), 1, "", "", *place, ())]

    def without_a_lock(_: Any, work: Any) -> Any:
        with reading(shop.engine) as connection:
            answer = work(connection)
        looked.wait(10)
        return answer

    monkeypatch.setattr(labels, "request", only_look)
    monkeypatch.setattr(labels, "run", without_a_lock)
    monkeypatch.setattr(labels, "_ask", lambda *given: asked.extend(given[3]))
    _race(shop, shipment)
    assert len(asked) > 1


def test_a_request_that_was_lost_is_repeated_under_its_reference(
    shop: Shop, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shipment,) = packed(shop)
    folder.mkdir(parents=True)
    (folder / "out").write_text("a file where the folder should be")
    (asked,) = labels.book(shop.engine, WORKER, [shipment], carrier="post")
    assert (asked["status"], asked["sent_at"]) == ("requested", None)
    (folder / "out").unlink()
    assert events.sync(shop.engine, "post")[0].asked_again == 0  # it may still be on its way
    with clock.at(clock.now() + timedelta(minutes=2)):
        assert events.sync(shop.engine, "post")[0].asked_again == 1
        assert events.sync(shop.engine, "post")[0].asked_again == 0
    (manifest,) = names(folder / "out")
    assert asked["reference"] in (folder / "out" / manifest).read_text()


def test_no_transaction_is_open_while_the_carrier_is_spoken_to(
    shop: Shop, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shipment,) = packed(shop)
    ended: list[Any] = []

    class Slow(registry.Manual):
        needs_tracking_number = False

        def book(self, bookings: Any) -> Any:
            # Somebody else writes while the carrier thinks: on SQLite, too.
            order = shop.rows("SELECT order_id FROM shipments")[0][0]
            ended.append(run(shop.engine, lambda c: hold(c, CLERK, [order], "check")))
            ended.append(shop.engine.pool.checkedout())
            return super().book(bookings)

    monkeypatch.setitem(registry.ADAPTERS, "file", lambda code, rule: Slow())
    labels.book(shop.engine, WORKER, [shipment], carrier="post", tracking_numbers={shipment: "T"})
    assert ended[1] == 0


def test_events_move_parcels_and_tell_customers(shop: Shop, folder: Path) -> None:
    shipped(shop, 3)
    drop(
        folder,
        "events-1.csv",
        [
            event("failed", 20, "P1", reason="nobody home"),
            event("delivered", 20, "P2"),
            event("failed", 21, "P3", reason="refused"),
            event("out_for_delivery", 40, "P1"),
            event("delivered", 44, "P1"),
            event("returned", 90, "P3"),
        ],
    )
    (done,) = events.sync(shop.engine, "post")
    assert done.faults == ()
    rows = shop.rows("SELECT status, failure_reason FROM shipments ORDER BY id")
    assert list(map(tuple, rows)) == [
        ("delivered", "nobody home"), ("delivered", None), ("returned", "refused"),
    ]  # fmt: skip
    told = [row[0] for row in shop.rows("SELECT kind FROM outbox_messages ORDER BY id")]
    assert [kind for kind in told if kind.startswith("shipment.")][3:] == [
        "shipment.delivered", "shipment.delivery_failed", "shipment.delivery_failed",
        "shipment.returned", "shipment.out_again", "shipment.delivered",
    ]  # fmt: skip
    assert shop.level("SKU-1") == (94, 0)
    assert shop.count("returns") == shop.count("refunds") == 0
    assert {row[0] for row in shop.rows("SELECT status FROM orders")} == {"closed"}


def test_a_bad_row_does_not_keep_back_the_good_ones(shop: Shop, folder: Path) -> None:
    shipped(shop, 2)
    bad = [
        event("delivered", 20, "P1"),
        event("lost", 20, "P2"),
        event("failed", 20, "P2"),
        event("delivered", 20, "P9"),
        event("delivered", -1, "P2"),
        {"event": "delivered", "at": "2026-11-03T10:00:00", "tracking_number": "P2"},
        {"event": "delivered", "at": "2999-01-01T00:00:00Z", "tracking_number": "P2"},
        {"event": "returned", "at": "soon", "tracking_number": "P2"},
        {"event": "delivered", "at": at(20)},
        event("returned", 30, "P1"),
        event("delivered", 25, "P2"),
    ]
    drop(folder, "events-2.csv", bad)
    (done,) = events.sync(shop.engine, "post")
    assert [(fault.row, fault.code) for _, fault in done.faults] == [
        (3, "unknown_event"), (4, "required"), (5, "unknown_parcel"), (6, "before_it_left"),
        (7, "no_time_zone"), (8, "in_the_future"), (9, "not_a_time"), (10, "required"),
        (11, "wrong_status"),
    ]  # fmt: skip
    assert [row[1] for row in state(shop)[:2]] == ["delivered", "delivered"]
    assert names(folder / "failed") == ["events-2.csv", "events-2.csv.reasons.csv"]
    assert names(folder / "in") == names(folder / "done") == []
    with (folder / "failed" / "events-2.csv.reasons.csv").open(newline="") as text:
        reasons = list(csv.DictReader(text))
    assert (reasons[2]["code"], reasons[2]["tracking_number"]) == ("unknown_parcel", "P9")


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("events.csv", b"\xff\xfe\x00", "not_utf8"),
        ("events.json", b'[{"event": "deliv', "not_json"),
        ("events.json", b'{"event": 1}', "not_a_list"),
        ("events.csv", b'event,at\n"delivered,1', "not_csv"),
        ("invoice.csv", b"a,b\n1,2\n", "unknown_kind"),
        ("labels.xml", b"<x/>", "unknown_format"),
    ],
)
def test_a_file_that_cannot_be_read_is_put_aside_with_its_reason(
    shop: Shop, folder: Path, name: str, content: bytes, code: str
) -> None:
    (folder / "in").mkdir(parents=True)
    (folder / "in" / name).write_bytes(content)
    (done,) = events.sync(shop.engine, "post")
    assert [fault.code for _, fault in done.faults] == [code]
    assert names(folder / "failed") == [name, f"{name}.reasons.csv"]


def test_a_half_written_file_is_left_until_it_is_whole(shop: Shop, folder: Path) -> None:
    shipped(shop, 2)
    rules = {"carriers": {"post": {"adapter": "file", "quiet_seconds": 30}}}
    run(shop.engine, lambda c: store.publish(c, ADMIN, rules))
    whole = drop(
        folder, "events-3.csv", [event("delivered", 20, "P1"), event("delivered", 21, "P2")]
    )
    text = whole.read_text()
    whole.write_text(text[:-20])
    (folder / "in" / "events-4.csv.part").write_text("event")
    assert events.sync(shop.engine, "post")[0].messages == 0
    whole.write_text(text)
    quiet = time.time() - 60
    os.utime(whole, (quiet, quiet))
    assert events.sync(shop.engine, "post")[0].messages == 1
    assert [row[1] for row in state(shop)[:2]] == ["delivered", "delivered"]
    assert names(folder / "in") == ["events-4.csv.part"]


def test_a_file_that_grew_while_it_was_taken_is_taken_again(shop: Shop, folder: Path) -> None:
    shipped(shop, 2)
    path = drop(folder, "events-5.csv", [event("delivered", 20, "P1")])
    with reading(shop.engine) as connection:
        carrier = registry.open_carrier(connection, "post")
    (message,) = carrier.events()
    faults = events.take(shop.engine, "post", message)
    drop(folder, "events-5.csv", [event("delivered", 20, "P1"), event("delivered", 21, "P2")])
    carrier.settle(message, faults)
    assert path.exists()
    events.sync(shop.engine, "post")
    assert [row[1] for row in state(shop)[:2]] == ["delivered", "delivered"]
    assert names(folder / "done") == ["events-5.csv"]


def test_a_replay_and_a_crash_before_the_rename_change_nothing_twice(
    shop: Shop, folder: Path
) -> None:
    shipped(shop, 2)
    (waiting,) = packed(shop)
    (asked,) = labels.book(shop.engine, WORKER, [waiting], carrier="post")
    story = [
        event("failed", 20, "P1", reason="nobody home"),
        event("out_for_delivery", 30, "P1"),
        event("delivered", 31, "P1"),
        event("failed", 20, "P2", reason="closed"),
        event("out_for_delivery", 30, "P2"),
    ]
    answer = [{"reference": asked["reference"], "tracking_number": "P3"}]
    drop(folder, "events-6.csv", story)
    drop(folder, "labels-6.csv", answer)
    with reading(shop.engine) as connection:
        carrier = registry.open_carrier(connection, "post")
    for message in carrier.events():
        assert events.take(shop.engine, "post", message) == []
    # Killed here: committed, and the files are where they were.
    once = state(shop)
    booked = shop.rows("SELECT * FROM shipment_labels")
    assert [row[1] for row in once[:3]] == ["delivered", "shipped", "packed"]
    assert events.sync(shop.engine, "post")[0].messages == 2
    drop(folder, "events-6.csv", story)
    drop(folder, "labels-6.csv", answer)
    assert events.sync(shop.engine, "post")[0].faults == ()
    assert state(shop) == once
    assert shop.rows("SELECT * FROM shipment_labels") == booked
    assert names(folder / "done") == [
        "events-6.2.csv", "events-6.csv", "labels-6.2.csv", "labels-6.csv"
    ]  # fmt: skip
    drop(folder, "labels-7.csv", [{"reference": asked["reference"], "tracking_number": "P4"}])
    ((_, fault),) = events.sync(shop.engine, "post")[0].faults
    assert fault.code == "label_booked"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
def test_files_in_any_order_end_in_the_same_state(
    shop: Shop, folder: Path, order: tuple[int, ...]
) -> None:
    shipped(shop, 1)
    story = [
        event("failed", 20, reason="nobody home"),
        event("failed", 40, reason="no bell"),
        event("delivered", 44),
    ]
    for place in order:
        drop(folder, f"events-{place}.csv", [story[place]])
        assert events.sync(shop.engine, "post")[0].faults == ()
    (row,) = shop.rows("SELECT status, failure_reason, failed_at, delivered_at FROM shipments")
    assert tuple(row)[:2] == ("delivered", "no bell")
    assert [str(moment)[:13].replace("T", " ") for moment in tuple(row)[2:]] == [
        "2026-11-04 08", "2026-11-04 12"
    ]  # fmt: skip


def test_a_carrier_tells_only_of_its_own_parcels(shop: Shop, folder: Path) -> None:
    with clock.at(LEFT):
        (shipment,) = packed(shop)
        run(
            shop.engine,
            lambda c: commands.ship(c, WORKER, [shipment], carrier="other",
                                    tracking_numbers={shipment: "P1"}),
        )  # fmt: skip
    number = shop.rows("SELECT number FROM shipments")[0][0]
    drop(folder, "events.json", [event("delivered", 5), event("delivered", 5, "", shipment=number)])
    ((_, first), (_, second)) = events.sync(shop.engine, "post")[0].faults
    assert first.code == second.code == "unknown_parcel"


def test_an_event_and_a_person_do_not_both_move_a_parcel(shop: Shop, folder: Path) -> None:
    first, _ = shipped(shop, 2)
    drop(folder, "events.json", [event("delivered", 5, "P1"), event("delivered", 5, "P2")])
    with reading(shop.engine) as connection:
        (message,) = registry.open_carrier(connection, "post").events()
    faults = both(
        shop,
        lambda c: delivery.deliver(c, WORKER, [first]),
        lambda c: events.apply(c, "post", message),
    )
    assert faults == []
    assert [row[1] for row in state(shop)[:2]] == ["delivered", "delivered"]
    told = [row[0] for row in shop.rows("SELECT kind FROM outbox_messages")]
    assert told.count("shipment.delivered") == 2


def test_one_carrier_out_of_order_does_not_keep_the_others(shop: Shop, folder: Path) -> None:
    rules = {"carriers": {"post": {"adapter": "file", "quiet_seconds": 0},
                          "bad": {"adapter": "file"}}}  # fmt: skip
    run(shop.engine, lambda c: store.publish(c, ADMIN, rules))
    shipped(shop)
    drop(folder, "events.json", [event("delivered", 5)])
    bad = settings().carriers / "bad"
    bad.mkdir(parents=True)
    (bad / "in").symlink_to(bad / "in")
    done = {each.carrier: each for each in events.sync(shop.engine)}
    assert (done["post"].messages, done["bad"].messages) == (1, 0)


def test_a_voided_label_makes_room_for_another(shop: Shop, folder: Path) -> None:
    (shipment,) = packed(shop)
    (first,) = labels.book(shop.engine, WORKER, [shipment], carrier="post")
    run(shop.engine, lambda c: labels.void(c, WORKER, shipment))
    drop(folder, "labels.json", [{"reference": first["reference"], "tracking_number": "P1"}])
    ((_, fault),) = events.sync(shop.engine, "post")[0].faults
    assert fault.code == "label_void"
    labels.book(shop.engine, WORKER, [shipment], carrier="manual", tracking_numbers={shipment: "A"})
    labels.book(
        shop.engine, WORKER, [shipment], carrier="manual", tracking_numbers={shipment: "B"},
        replace=True,
    )  # fmt: skip
    run(shop.engine, lambda c: commands.ship(c, WORKER, [shipment]))
    assert state(shop)[0][3] == "B"
    with pytest.raises(NotFound):
        run(shop.engine, lambda c: labels.void(c, WORKER, shipment))
