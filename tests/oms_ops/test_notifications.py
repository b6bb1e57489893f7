"""Whatever the outbox holds leaves, at least once and under one id, however often it is tried."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email import message_from_bytes
from email.message import Message
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from oms_ops import clock, worker
from oms_ops.database import run
from oms_ops.notifications import delivery, outbox
from oms_ops.notifications.letters import Letter, compose
from oms_ops.notifications.smtp import Smtp
from oms_ops.orders import cancellation, queries
from oms_ops.orders.capture import capture
from oms_ops.settings import settings
from tests.oms_ops.shop import ADMIN, CLERK, Shop, order


class Sink:
    """Keeps what it is sent; refuses who is ``unknown``."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def handle_RCPT(  # noqa: N802 - the library calls it so
        self, server: Any, session: Any, envelope: Any, address: str, _: Any
    ) -> str:
        if address.startswith("unknown"):
            return "550 no such person"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.messages.append(message_from_bytes(envelope.content))
        return "250 OK"

    def ids(self) -> list[str]:
        return [message["Message-ID"] for message in self.messages]


@pytest.fixture
def sink() -> Iterator[Sink]:
    """Serve SMTP on a port of this machine."""
    kept = Sink()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(kept, hostname="127.0.0.1", port=port)
    controller.start()
    kept.url = f"smtp://127.0.0.1:{port}"
    yield kept
    controller.stop()


def smtp(sink: Any) -> Smtp:
    return Smtp(sink.url, "shop@example.com")


def deliver(shop: Shop, sender: delivery.Sender, **named: Any) -> int:
    return delivery.deliver(shop.engine, sender, queries.tracking_urls, **named)


def waiting(shop: Shop) -> int:
    return int(shop.rows("SELECT count(*) FROM outbox_messages WHERE delivered_at IS NULL")[0][0])


def queue(shop: Shop, *recipients: str) -> None:
    messages = [(to, {"order": "SO-10000001"}) for to in recipients]
    run(shop.engine, lambda c: outbox.post_many(c, "order.backorder_filled", messages))


def test_a_customer_hears_of_her_order_and_follows_the_link(shop: Shop, sink: Sink) -> None:
    shop.stock("SKU-1", 5)
    made = capture(shop.engine, CLERK, order(("SKU-1", 2)))
    run(shop.engine, lambda c: cancellation.cancel(c, ADMIN, [1], "changed her mind"))
    assert deliver(shop, smtp(sink)) == 2
    first, second = sink.messages
    assert (first["To"], first["Subject"]) == ("bob@example.com", f"Your order {made['number']}")
    text = first.get_payload()
    assert "3.98 USD" in text
    assert made["tracking_url"] in text
    assert "changed her mind" in second.get_payload()
    assert (waiting(shop), deliver(shop, smtp(sink))) == (0, 0)


def test_the_worker_delivers_where_a_mail_server_is_named(
    shop: Shop, sink: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue(shop, "ann@example.com")
    assert worker.work_once(shop.engine)["delivered messages"] == 0
    monkeypatch.setenv("OMS_SMTP_URL", sink.url)
    settings.cache_clear()
    try:
        assert worker.work_once(shop.engine)["delivered messages"] == 1
    finally:
        monkeypatch.undo()
        settings.cache_clear()


def test_who_cannot_be_reached_keeps_nobody_else_waiting(shop: Shop, sink: Sink) -> None:
    queue(shop, "unknown@example.com", "ann@example.com", "broken\naddress", "eve@example.com")
    assert deliver(shop, smtp(sink)) == 2
    assert [m["To"] for m in sink.messages] == ["ann@example.com", "eve@example.com"]
    rows = shop.rows(
        "SELECT attempts, problem FROM outbox_messages WHERE delivered_at IS NULL ORDER BY id"
    )
    assert [row[0] for row in rows] == [1, 1]
    assert "no such person" in rows[0][1]


def test_what_cannot_leave_now_leaves_later_with_growing_patience(shop: Shop, sink: Sink) -> None:
    queue(shop, "ann@example.com")
    nowhere = Smtp("smtp://127.0.0.1:1", "shop@example.com")
    now = clock.now()
    for minutes, attempts in ((0, 1), (1, 1), (3, 2), (5, 2), (8, 3)):
        with clock.at(now + timedelta(minutes=minutes)):
            assert deliver(shop, nowhere) == 0
        assert shop.rows("SELECT attempts FROM outbox_messages")[0][0] == attempts
    with clock.at(now + timedelta(hours=1)):
        assert deliver(shop, smtp(sink)) == 1


class DiesAfterwards:
    """Sends, and dies before it can tell."""

    def __init__(self, sender: Smtp) -> None:
        self.sender = sender

    def send(self, letters: Sequence[tuple[str, str, Letter]]) -> dict[str, str]:
        self.sender.send(letters)
        raise KeyboardInterrupt


def test_who_dies_after_sending_sends_again_under_the_same_id(shop: Shop, sink: Sink) -> None:
    queue(shop, "ann@example.com", "eve@example.com")
    with pytest.raises(KeyboardInterrupt):
        deliver(shop, DiesAfterwards(smtp(sink)))
    assert (waiting(shop), deliver(shop, smtp(sink))) == (2, 0)
    with clock.at(clock.now() + timedelta(hours=1)):
        assert deliver(shop, smtp(sink)) == 2
    assert sorted(sink.ids()) == sorted(sink.ids()[:2] * 2)


def test_several_workers_send_each_message_once(shop: Shop, sink: Sink) -> None:
    queue(shop, *(f"person-{number}@example.com" for number in range(40)))
    with ThreadPoolExecutor(4) as pool:
        rounds = [pool.submit(deliver, shop, smtp(sink), batch=3) for _ in range(4)]
        assert sum(each.result() for each in rounds) == 40
    assert len(sink.ids()) == len(set(sink.ids())) == 40


def test_a_supplier_gets_the_order_as_a_file(shop: Shop, sink: Sink) -> None:
    parts = [{"name": "PO-1.csv", "media_type": "text/csv", "body": "sku,quantity\n"}]
    document = {"subject": "Purchase order", "text": "Dear all", "reply_to": "buyer@example.com",
                "attachments": parts}  # fmt: skip
    run(
        shop.engine,
        lambda c: outbox.post(c, "purchase_order.sent", "acme@example.com", document),
    )
    assert deliver(shop, smtp(sink)) == 1
    (message,) = sink.messages
    assert message["Reply-To"] == "buyer@example.com"
    attached = [part.get_filename() for part in message.walk() if part.get_filename()]
    assert attached == ["PO-1.csv"]


def test_a_letter_says_what_is_known_and_leaves_out_the_rest() -> None:
    letter = compose("shipment.shipped", {"order": "SO-1", "shipment": "SH-1", "carrier": "post",
                                          "tracking_number": None})  # fmt: skip
    assert letter.text == "Parcel SH-1 of your order SO-1 has left.\nCarrier: post"
    low = {"levels": [{"sku": "A", "warehouse": "ATL", "available": 1, "threshold": 5}]}
    assert compose("stock.low", low).subject == "Low stock: A"
    assert compose("something.new", {"a": 1}) == Letter("something.new", "a: 1")
    # A header cannot be smuggled in.
    with pytest.raises(ValueError, match="mail server"):
        Smtp("http://localhost", "shop@example.com")


@pytest.mark.parametrize(
    ("kind", "payload", "subject", "says"),
    [
        ("payment.refunded",
         {"order": "SO-1", "amount": "3.98", "currency": "USD", "reason": "late"},
         "3.98 USD go back to you", "of your order SO-1 back to where you paid from"),
        ("payment.credited",
         {"order": "SO-1", "amount": "3.98", "currency": "USD", "reason": "late"},
         "3.98 USD of store credit for you", "of your order SO-1 are now store credit"),
        ("credit.issued", {"amount": "5.00", "currency": "EUR", "reason": "sorry"},
         "5.00 EUR of store credit for you", "The reason: sorry."),
    ],
)  # fmt: skip
def test_a_customer_reads_of_her_money(
    kind: str, payload: dict[str, str], subject: str, says: str
) -> None:
    letter = compose(kind, payload)
    assert letter.subject == subject
    assert says in letter.text
    assert "{" not in letter.text
