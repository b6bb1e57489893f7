"""What is secret stays where it is needed: not in the feed, the outbox, the logs, or answers.

The same search finds what is planted, so it is able to fail.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from oms_ops.database import reading, run
from oms_ops.feed.reader import START, read
from oms_ops.notifications import outbox
from oms_ops.orders import collecting
from oms_ops.payments.gateways.fake import FakeSettings
from oms_ops.payments.gateways.interface import Call, Outcome
from oms_ops.payments.operations import Wanted
from oms_ops.settings import Settings
from tests.oms_ops.payments.desk import Desk, number
from tests.oms_ops.payments.till import Till

SECRET = "whsec-the-gateways-own"
TOKENS = ["tok_first_customer", "tok_second_customer"]


@pytest.fixture
def desk(till: Till, monkeypatch: pytest.MonkeyPatch) -> Desk:
    from oms_ops.payments.gateways.registry import gateway

    monkeypatch.setenv("OMS_FAKE_SECRET", SECRET)
    gateway.cache_clear()
    till.fake = gateway("fake")  # type: ignore[assignment]
    return Desk(till)


def everything_told(desk: Desk, caplog: pytest.LogCaptureFixture) -> dict[str, str]:
    """Return all that leaves the operational tables, or is kept of answers, by where it is."""
    shop = desk.till.shop
    with reading(desk.till.engine) as connection:
        feed = read(connection, START, 1_000_000)
    order_ids = [row[0] for row in shop.rows("SELECT id FROM orders")]
    answers = [
        desk.get(path, role=role).text
        for role in ("support", "analyst", "engineer")
        for path in (
            "/payments/attention", "/gateway-messages", "/customers/bob@example.com/credit",
            *(f"/orders/{number(order_id)}/payments" for order_id in order_ids),
            *(f"/orders/{number(order_id)}" for order_id in order_ids),
            *(f"/gift-cards/{row[0]}" for row in shop.rows("SELECT number FROM balances")),
        )
    ]  # fmt: skip
    return {
        # What is in the change log is what lands in the lake.
        "feed": "\n".join(str(row) for row in feed),
        "outbox": "\n".join(str(row) for row in shop.rows("SELECT * FROM outbox_messages")),
        "first answers": "\n".join(str(r) for r in shop.rows("SELECT * FROM idempotency_keys")),
        "balances": "\n".join(str(row) for row in shop.rows("SELECT * FROM balances")),
        "answers": "\n".join(answers),
        "logs": "\n".join([caplog.text, *(str(record.__dict__) for record in caplog.records)]),
    }


def leaks(told: dict[str, str], secrets: list[str]) -> list[tuple[str, str]]:
    """Return where a secret is told."""
    return [(where, s) for where, text in told.items() for s in secrets if s in text]


@pytest.fixture
def told(desk: Desk, caplog: pytest.LogCaptureFixture) -> Iterator[tuple[Desk, list[str]]]:
    """Let money go through all doors, well and badly; return the secrets that it needed."""
    caplog.set_level(logging.DEBUG)
    fake = desk.till.fake
    first = desk.till.sell(("SKU-1", 2))
    desk.post(f"/payments/{desk.till.payment(first)}/authorise", {"token": TOKENS[0]})
    desk.till.ship(first)
    fake.break_next("capture", "lost_after", "declined")
    collecting.perform(desk.till.engine)
    second = desk.till.sell(("SKU-1", 4))
    fake.break_next("authorise", "waiting")
    asked = desk.post(
        f"/payments/{desk.till.payment(second)}/authorise",
        {"token": TOKENS[1], "return_url": "https://shop.example/back?cart=secret-cart"},
    ).json()
    third = desk.till.sell(("SKU-1", 10), payment=None)
    card = desk.post("/gift-cards", {"currency": "USD", "amount": "5"}, key="g").json()
    desk.post(
        f"/orders/{number(third)}/payments", {"method": "gift_card", "code": card["code"]}, key="p"
    )
    desk.post("/gift-cards/balance", {"code": card["code"]})
    desk.post(f"/orders/{number(third)}/refunds", {"reason": "x", "goodwill": "1"}, key="r")
    for headers, body in fake.events():
        desk.client().post("/v1/webhooks/fake", content=body, headers=headers)
        desk.client().post("/v1/webhooks/fake", content=body, headers={**headers, "fake-id": "x"})
    collecting.hear(desk.till.engine)
    secrets = [SECRET, *TOKENS, asked["action"]["redirect_url"], "secret-cart", card["code"],
               card["code"].replace("-", "")]  # fmt: skip
    yield desk, secrets


def test_no_secret_is_told(told: tuple[Desk, list[str]], caplog: pytest.LogCaptureFixture) -> None:
    desk, secrets = told
    found = everything_told(desk, caplog)
    assert all(found.values()), "there is something to look through"
    assert leaks(found, secrets) == []
    # The hash of a gift card's code opens nothing, and stays at home all the same.
    hashes = [row[0] for row in desk.till.shop.rows("SELECT code_hash FROM balances")]
    del found["balances"]
    assert leaks(found, hashes) == []


@pytest.mark.parametrize("place", ["feed", "outbox", "logs", "answers"])
def test_the_search_finds_what_is_planted(
    told: tuple[Desk, list[str]], caplog: pytest.LogCaptureFixture, place: str
) -> None:
    desk, secrets = told
    planted = TOKENS[0]
    engine = desk.till.engine

    def change(connection: Any, statement: str) -> None:
        import sqlalchemy as sa

        connection.execute(sa.text(statement), {"planted": planted})

    if place == "feed":
        run(engine, lambda c: change(c, "UPDATE payments SET gateway_reference = :planted"))
    elif place == "outbox":
        run(engine, lambda c: outbox.post(c, "x", "a@example.com", {"token": planted}))
    elif place == "logs":
        logging.getLogger("oms_ops").warning("asked with %s", planted)
    else:
        run(engine, lambda c: change(c, "UPDATE payment_operations SET problem = :planted"))
    assert place in {where for where, _ in leaks(everything_told(desk, caplog), secrets)}


def test_what_holds_a_secret_does_not_print_it() -> None:
    call = Call("k", "authorise", 1, "USD", "SO-1", token=TOKENS[0])
    outcome = Outcome("waiting", action={"client_secret": SECRET})
    settings = Settings(shopify_secret=SECRET, smtp_url=f"smtp://u:{SECRET}@h")
    for each in (call, outcome, Wanted(1, "authorise", 1, token=TOKENS[0]), settings,
                 FakeSettings(secret=SECRET)):  # fmt: skip
        assert SECRET not in repr(each)
        assert TOKENS[0] not in repr(each)


def test_secrets_can_come_from_files(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from oms_ops.settings import settings

    (tmp_path / "oms_fake_secret").write_text("from a file\n")
    (tmp_path / "oms_shopify_secret").write_text("from another\n")
    monkeypatch.setenv("OMS_SECRETS_DIR", str(tmp_path))
    settings.cache_clear()
    assert FakeSettings.read().secret == "from a file"
    assert settings().shopify_secret == "from another"
    monkeypatch.setenv("OMS_FAKE_SECRET", "from the environment")
    assert FakeSettings.read().secret == "from the environment"
