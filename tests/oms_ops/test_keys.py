"""A key is stored as a hash, narrowed to scopes, ends when it should, and signs every change."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from oms_ops import clock
from oms_ops.access import keys
from oms_ops.access.actor import ROLES, SYSTEM
from oms_ops.cli import app
from oms_ops.database import reading, run
from oms_ops.demo import assumptions
from oms_ops.errors import Conflict, NotFound, Unauthorised, ValidationFailed
from oms_ops.exchange import shopify
from oms_ops.fulfilment.carriers import events
from oms_ops.returns.requests import CUSTOMER
from oms_ops.schema import metadata
from tests.oms_ops.app import app_over
from tests.oms_ops.shop import Shop, order

Call = Callable[..., Any]


def made(shop: Shop, role: str = "clerk", name: str = "desk", **more: Any) -> str:
    return str(run(shop.engine, lambda c: keys.create(c, role, name, **more)))


@pytest.fixture
def call(shop: Shop) -> Call:
    """Return what sends a request with a key, always to the same running API."""
    client = TestClient(app_over(shop.engine))

    def send(key: str, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {key}"}
        return client.request(method, f"/v1/{path}", json=body, headers=headers)

    return send


def test_the_key_itself_is_nowhere_in_the_database(shop: Shop) -> None:
    key = made(shop)
    with reading(shop.engine) as connection:
        for table in metadata.tables.values():
            for row in connection.execute(sa.select(table)):
                assert key not in str(row), table.name
                assert key.removeprefix("oms_") not in str(row), table.name
    assert len(key) > 40
    assert key != made(shop, name="other")


@pytest.mark.parametrize(
    "name",
    [SYSTEM.name, "System ", CUSTOMER, shopify.ACTOR.name, assumptions.ACTOR, "cli:root",
     events.actor_of("dhl").name],
)  # fmt: skip
def test_no_key_passes_for_the_house_itself(shop: Shop, name: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        made(shop, name=name)
    assert [(e.field, e.code) for e in refused.value.errors] == [("name", "reserved")]
    assert refused.value.status == 422


def test_a_scope_narrows_what_the_role_may(shop: Shop, call: Call) -> None:
    shop.stock("SKU-1", 5)
    whole = made(shop)
    narrow = made(shop, name="narrow", scopes=["orders:read"])
    number = call(whole, "POST", "orders", order(("SKU-1", 1))).json()["number"]
    assert call(narrow, "GET", f"orders/{number}").status_code == 200
    for path, body in (
        ("orders", order(("SKU-1", 1))),
        (f"orders/{number}/amend", {"lines": [{"line_no": 1, "quantity": 2}]}),
        (f"orders/{number}/cancel", {"reason": "no more"}),
        (f"orders/{number}/payments", {"method": "cash"}),
    ):
        refused = call(narrow, "POST", path, body)
        assert (refused.status_code, refused.json()["title"]) == (403, "forbidden"), path
    assert shop.count("orders") == 1
    nothing = made(shop, name="nothing", scopes=[])
    assert call(nothing, "GET", f"orders/{number}").status_code == 403


@pytest.mark.parametrize("role", sorted(ROLES))
def test_no_key_may_more_than_its_role(shop: Shop, role: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        made(shop, role, scopes=["everything", *sorted(ROLES["admin"] - ROLES[role])])
    codes = [error.code for error in refusal.value.errors]
    assert codes == ["unknown_scope"] + ["beyond_role"] * len(ROLES["admin"] - ROLES[role])


def test_a_key_ends_on_its_day(shop: Shop, call: Call) -> None:
    key = made(shop, lifetime=timedelta(days=90))
    now = clock.now()
    for days, status in ((0, 200), (89, 200), (91, 401)):
        with clock.at(now + timedelta(days=days)):
            assert call(key, "GET", "orders").status_code == status, days
            if status == 401:
                with pytest.raises(Unauthorised):
                    keys.authenticate(shop.engine, key)
    assert call(made(shop, name="lasting"), "GET", "orders").status_code == 200


def test_a_revoked_key_ends_at_once_and_its_name_stays_taken(shop: Shop, call: Call) -> None:
    key, other = made(shop), made(shop, name="other")
    # Whatever the running API remembers of a key that it has seen, it asks again.
    assert [call(key, "GET", "orders").status_code for _ in range(3)] == [200] * 3
    run(shop.engine, lambda c: keys.revoke(c, "desk"))
    answer = call(key, "GET", "orders")
    assert (answer.status_code, answer.json()["title"]) == (401, "unauthorised")
    assert call(key, "POST", "orders", order(("SKU-1", 1))).status_code == 401
    assert call(other, "GET", "orders").status_code == 200
    with pytest.raises(NotFound):
        run(shop.engine, lambda c: keys.revoke(c, "desk"))
    with pytest.raises(Conflict):
        made(shop)


def test_the_answer_does_not_say_whether_a_key_was_ever_one(shop: Shop, call: Call) -> None:
    ended = made(shop, lifetime=timedelta(seconds=-1))
    answers = {call(key, "GET", "orders").text for key in (ended, "oms_guess", f"{ended}x")}
    assert len(answers) == 1


def test_every_change_is_signed_with_the_keys_name(shop: Shop, call: Call) -> None:
    shop.stock("SKU-1", 9)
    begin = shop.rows("SELECT max(seq) FROM change_log")[0][0]
    desk, house = made(shop), made(shop, "warehouse", "house")
    number = call(desk, "POST", "orders", order(("SKU-1", 2))).json()["number"]
    call(desk, "POST", f"orders/{number}/amend", {"lines": [{"line_no": 1, "quantity": 3}]})
    seq = shop.rows("SELECT max(seq) FROM change_log")[0][0]
    assert call(house, "POST", "shipments/1/pick").status_code == 200
    signed = shop.rows(
        "SELECT DISTINCT seq <= :seq, changed_by FROM change_log WHERE seq > :begin",
        seq=seq, begin=begin,
    )  # fmt: skip
    assert {(bool(row[0]), row[1]) for row in signed} == {(True, "desk"), (False, "house")}


def test_the_command_line_makes_lists_and_revokes_keys() -> None:
    runner = CliRunner()
    runner.invoke(app, ["init"])
    wanted = ["--role", "clerk", "--name", "desk", "--scope", "orders:read", "--days", "90"]
    key = runner.invoke(app, ["key", "create", *wanted]).output.strip()
    whole = runner.invoke(app, ["key", "create", "--role", "clerk", "--name", "all"])
    assert whole.exit_code == 0
    listed = runner.invoke(app, ["key", "list"]).output
    assert "orders:read" in listed
    assert " all " in listed
    assert key not in listed
    assert runner.invoke(app, ["key", "revoke", "desk"]).exit_code == 0
    assert "revoked" in runner.invoke(app, ["key", "list"]).output
