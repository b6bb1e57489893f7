"""A database of the first revision is brought up with all it holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy.engine import Engine

from oms_ops.database import make_engine, transaction
from oms_ops.exchange import inbox
from oms_ops.orders.idempotency import caller_scope
from oms_ops.payments.ledger import fold
from oms_ops.reconcile import reconcile
from oms_ops.setup import _without_foreign_keys, alembic_config, init
from tests.conftest import administer, named

#: A shop of the first revision: one SKU, one order that was cancelled and one that is allocated.
_ROWS = (
    *(
        f"INSERT INTO idempotency_keys (scope, key, request_hash, response, created_at)"
        f" VALUES ('{scope}', 'k', 'h', '{{}}', :now)"
        for scope in ("carla", "shopify", "/drafts", "import:web")
    ),
    "INSERT INTO feed_state (id, epoch) VALUES (1, 1)",
    "INSERT INTO skus (id, code, name, department, category, brand, pack_size, currency,"
    " price_minor, changed_by, changed_at)"
    " VALUES (1, 'A', 'A', 'd', 'c', 'b', '1', 'USD', 500, 't', :now)",
    "INSERT INTO customers (id, email, name, created_at, changed_by, changed_at)"
    " VALUES (1, 'a@example.com', 'A', :now, 't', :now)",
    "INSERT INTO warehouses (id, code, name, line1, city, region, postal_code, country,"
    " changed_by, changed_at) VALUES (1, 'W', 'W', '', 'C', 'GA', '3', 'US', 't', :now)",
    "INSERT INTO locations (id, code, kind, warehouse_id, changed_by, changed_at) VALUES"
    " (1001, 'W-STORAGE', 'storage', 1, 't', :now),"
    " (1002, 'ADJUSTMENT', 'adjustment', NULL, 't', :now)",
    "INSERT INTO stock_levels (warehouse_id, sku_id, on_hand, allocated, changed_by, changed_at)"
    " VALUES (1, 1, 9, 2, 't', :now)",
    "INSERT INTO stock_moves (sku_id, from_location_id, to_location_id, quantity, reason,"
    " occurred_at, changed_by, unit_cost_minor) VALUES"
    " (1, 1002, 1001, 6, 'opening', :now, 't', 100), (1, 1002, 1001, 3, 'opening', :now, 't', 250)",
    *(
        f"INSERT INTO orders (id, channel, customer_id, warehouse_id, status, placed_at, ship_name,"
        f" ship_line1, ship_city, ship_country, currency, gross_minor, total_minor,"
        f" allow_backorder, allow_split, routing, tracking_token, changed_by, changed_at)"
        f" VALUES ({number}, 'web', 1, 1, '{status}', :now, 'n', 'l', 'c', 'US', 'USD', 1000, 1000,"
        f" false, false, '{{}}', 'token-{number}', 't', :now)"
        for number, status in ((1, "cancelled"), (2, "open"))
    ),
    *(
        f"INSERT INTO order_lines (id, order_id, line_no, sku_id, quantity, unit_price_minor,"
        f" gross_minor, net_minor, allocated, cancelled, changed_by, changed_at) VALUES"
        f" ({number}, {number}, 1, 1, 2, 500, 1000, 1000, {allocated}, {cancelled}, 't', :now)"
        for number, allocated, cancelled in ((1, 0, 2), (2, 2, 0))
    ),
    "INSERT INTO shipments (id, order_id, warehouse_id, status, allocated_at, changed_by,"
    " changed_at) VALUES (1, 2, 1, 'allocated', :now, 't', :now)",
    "INSERT INTO shipment_lines (shipment_id, order_line_id, sku_id, quantity, changed_by)"
    " VALUES (1, 2, 1, 2, 't')",
    # A third order, whose one unit was shipped, paid, sent back and refunded.
    "INSERT INTO locations (id, code, kind, changed_by, changed_at)"
    " VALUES (1003, 'CUSTOMER', 'customer', 't', :now)",
    "INSERT INTO orders (id, channel, customer_id, warehouse_id, status, placed_at, ship_name,"
    " ship_line1, ship_city, ship_country, currency, gross_minor, total_minor, allow_backorder,"
    " allow_split, routing, tracking_token, changed_by, changed_at)"
    " VALUES (3, 'web', 1, 1, 'closed', :now, 'n', 'l', 'c', 'US', 'USD', 500, 500, false, false,"
    " '{}', 'token-3', 't', :now)",
    "INSERT INTO order_lines (id, order_id, line_no, sku_id, quantity, unit_price_minor,"
    " gross_minor, net_minor, shipped, returned, changed_by, changed_at)"
    " VALUES (3, 3, 1, 1, 1, 500, 500, 500, 1, 1, 't', :now)",
    "INSERT INTO shipments (id, order_id, warehouse_id, status, allocated_at, changed_by,"
    " changed_at) VALUES (2, 3, 1, 'delivered', :now, 't', :now)",
    "INSERT INTO shipment_lines (shipment_id, order_line_id, sku_id, quantity, changed_by)"
    " VALUES (2, 3, 1, 1, 't')",
    "INSERT INTO stock_moves (sku_id, from_location_id, to_location_id, quantity, reason,"
    " occurred_at, changed_by) VALUES (1, 1001, 1003, 1, 'shipment', :now, 't'),"
    " (1, 1003, 1001, 1, 'return', :now, 't')",
    "INSERT INTO payments (id, order_id, gateway, method, currency, amount_minor, captured_minor,"
    " refunded_minor, created_at, changed_by, changed_at)"
    " VALUES (1, 3, 'manual', 'cash', 'USD', 500, 500, 500, :now, 't', :now)",
    "INSERT INTO payment_events (payment_id, kind, amount_minor, currency, gateway_reference,"
    " occurred_at, changed_by) VALUES (1, 'captured', 500, 'USD', 'a', :now, 't'),"
    " (1, 'refunded', 500, 'USD', 'b', :now, 't')",
    "INSERT INTO returns (id, order_id, warehouse_id, status, reason, requested_at, received_at,"
    " changed_by, changed_at) VALUES (1, 3, 1, 'refunded', 'small', :now, :now, 't', :now)",
    "INSERT INTO return_lines (return_id, order_line_id, sku_id, quantity, refund_minor,"
    " disposition, changed_by, changed_at) VALUES (1, 3, 1, 1, 500, 'restock', 't', :now)",
    "INSERT INTO refunds (payment_id, order_id, return_id, status, reason, currency, amount_minor,"
    " requested_at, refunded_at, changed_by, changed_at)"
    " VALUES (1, 3, 1, 'settled', 'small', 'USD', 500, :now, :now, 't', :now)",
)


@pytest.fixture(params=["sqlite", "postgres"])
def first_revision(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Return a database at the first revision, with rows."""
    if request.param == "sqlite":
        engine = make_engine(f"sqlite:///{tmp_path / 'first.db'}")
    else:
        uri = request.getfixturevalue("postgres_server")
        administer(uri, "CREATE DATABASE first_revision")
        engine = make_engine(named(uri, "first_revision"))
    with transaction(engine) as connection:
        command.upgrade(alembic_config(connection), "0001")
        for statement in _ROWS:
            connection.execute(sa.text(statement), {"now": "2026-01-01T00:00:00.000000Z"})
    yield engine
    engine.dispose()
    if request.param == "postgres":
        administer(uri, "DROP DATABASE first_revision WITH (FORCE)")


def test_what_a_shop_holds_survives_the_second_revision(first_revision: Engine) -> None:
    init(first_revision)
    assert [finding.name for finding in reconcile(first_revision) if finding.count] == []
    with first_revision.connect() as connection:
        orders = connection.exec_driver_sql(
            "SELECT number, total_minor, cancelled_minor FROM orders ORDER BY id"
        ).all()
        places = connection.exec_driver_sql("SELECT code FROM locations ORDER BY code").scalars()
        assert [tuple(row) for row in orders] == [
            ("SO-10000001", 1000, 1000),
            ("SO-10000002", 1000, 0),
            ("SO-10000003", 500, 0),
        ]
        costs = connection.exec_driver_sql("SELECT average_cost_e4 FROM stock_levels").scalars()
        assert list(costs) == [1_500_000]
        assert {"W-QUARANTINE", "TRANSIT", "SCRAP"} <= set(places)


def test_ids_go_on_after_all_that_there_ever_were(first_revision: Engine) -> None:
    with transaction(first_revision) as connection:
        connection.execute(
            sa.text(
                "INSERT INTO change_log (epoch, entity, entity_id, op, version, payload,"
                " changed_by, occurred_at)"
                " VALUES (1, 'shipment_lines', 7, 'D', 1, '{}', 't', :now)"
            ),
            {"now": "2026-01-01T00:00:00.000000Z"},
        )
    init(first_revision)
    with transaction(first_revision) as connection:
        lines = connection.exec_driver_sql(
            "INSERT INTO shipment_lines (shipment_id, order_line_id, sku_id, quantity, changed_by)"
            " VALUES (1, 2, 1, 1, 't') RETURNING id"
        )
        assert lines.scalar_one() == (8 if connection.dialect.name == "sqlite" else 3)


def test_drafts_survive_the_revision_that_lets_them_be_placing(first_revision: Engine) -> None:
    with _without_foreign_keys(first_revision), transaction(first_revision) as connection:
        command.upgrade(alembic_config(connection), "0005")
        connection.execute(
            sa.text(
                "INSERT INTO drafts (id, status, document, created_at, changed_by, changed_at)"
                " VALUES (7, 'open', '{}', :now, 't', :now)"
            ),
            {"now": "2026-01-01T00:00:00.000000Z"},
        )
    init(first_revision)
    with transaction(first_revision) as connection:
        connection.exec_driver_sql("UPDATE drafts SET status = 'placing'")
        found = connection.exec_driver_sql("SELECT number, status, attempt FROM drafts").all()
        assert [tuple(row) for row in found] == [("DR-10000007", "placing", 0)]
    with pytest.raises(sa.exc.IntegrityError), transaction(first_revision) as connection:
        connection.exec_driver_sql("UPDATE drafts SET status = 'nowhere'")


def test_returns_of_the_first_revision_were_received_inspected_and_refunded(
    first_revision: Engine,
) -> None:
    init(first_revision)
    with first_revision.connect() as connection:
        back = connection.exec_driver_sql(
            "SELECT r.number, r.resolution, r.refund_minor, l.received, l.restocked, l.reason"
            " FROM returns AS r JOIN return_lines AS l ON l.return_id = r.id"
        ).all()
    assert [tuple(row) for row in back] == [("RM-10000001", "refund", 500, 1, 1, "other")]


def test_the_rules_of_the_second_revision_hold_on_old_rows(first_revision: Engine) -> None:
    init(first_revision)
    for broken in (
        "UPDATE order_lines SET rounding_minor = 1 WHERE id = 2",
        "UPDATE orders SET cancelled_minor = total_minor + 1 WHERE id = 2",
        "UPDATE locations SET kind = 'nowhere' WHERE id = 1001",
        "DELETE FROM skus",
        "UPDATE return_lines SET scrapped = 1 WHERE id = 1",
        "UPDATE returns SET status = 'lost' WHERE id = 1",
        "INSERT INTO return_lines (return_id, order_line_id, sku_id, quantity, changed_by,"
        " changed_at) SELECT return_id, order_line_id, sku_id, 1, 't', changed_at"
        " FROM return_lines",
    ):
        with pytest.raises(sa.exc.IntegrityError), transaction(first_revision) as connection:
            connection.exec_driver_sql(broken)


def test_callers_keys_keep_their_first_answers_apart_from_the_houses(
    first_revision: Engine,
) -> None:
    init(first_revision)
    with first_revision.connect() as connection:
        query = "SELECT scope FROM idempotency_keys"
        scopes = set(connection.exec_driver_sql(query).scalars())
    assert scopes == {caller_scope("carla"), "shopify", "/drafts", "import:web"}


def test_messages_that_nothing_tried_again_are_tried_by_the_worker(first_revision: Engine) -> None:
    with _without_foreign_keys(first_revision), transaction(first_revision) as connection:
        command.upgrade(alembic_config(connection), "0002")
        connection.execute(
            sa.text(
                "INSERT INTO inbox_messages (source, external_id, topic, body, status, received_at)"
                " VALUES ('shopify', '1', 'orders/create', 'no json', 'failed', :now),"
                " ('shopify', '2', 'orders/create', '{}', 'processed', :now)"
            ),
            {"now": "2026-01-01T00:00:00.000000Z"},
        )
    init(first_revision)
    inbox.retry_due(first_revision)
    with first_revision.connect() as connection:
        tried = connection.exec_driver_sql("SELECT attempts FROM inbox_messages ORDER BY id")
        assert list(tried.scalars()) == [1, 0]


def test_a_refund_of_a_cancellation_is_known_as_one_by_a_column(first_revision: Engine) -> None:
    with _without_foreign_keys(first_revision), transaction(first_revision) as connection:
        command.upgrade(alembic_config(connection), "0007")
        now = {"now": "2026-01-01T00:00:00.000000Z"}
        for statement in (
            "INSERT INTO payments (id, order_id, gateway, method, currency, created_at, changed_by,"
            " changed_at) VALUES (9, 1, 'manual', 'cash', 'USD', :now, 't', :now)",
            *(
                "INSERT INTO refunds (id, payment_id, order_id, status, reason, currency,"
                " amount_minor, requested_at, changed_by, changed_at) VALUES"
                f" ({place}, 9, 1, 'failed', '{reason}', 'USD', 1, :now, 't', :now)"
                for place, reason in ((91, "order cancelled"), (92, "late"))
            ),
        ):
            connection.execute(sa.text(statement), now)
    init(first_revision)
    with first_revision.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT lowers_cost FROM refunds WHERE id > 90 ORDER BY id"
        )
        assert [bool(row[0]) for row in found] == [True, False]


def test_what_was_captured_twice_and_refunded_there_is_folded_anew(first_revision: Engine) -> None:
    with _without_foreign_keys(first_revision), transaction(first_revision) as connection:
        command.upgrade(alembic_config(connection), "0012")
        now = {"now": "2026-01-01T00:00:00.000000Z"}
        connection.execute(
            sa.text(
                "INSERT INTO payments (id, order_id, gateway, method, currency, amount_minor,"
                " captured_minor, refunded_minor, created_at, changed_by, changed_at)"
                " VALUES (9, 1, 'fake', 'card', 'USD', 500, 500, 300, :now, 't', :now)"
            ),
            now,
        )
        told = (("captured", 500), ("captured", 200), ("refunded", 300), ("charged_back", 450))
        for place, (kind, amount) in enumerate(told):
            connection.execute(
                sa.text(
                    "INSERT INTO payment_events (payment_id, kind, amount_minor, currency,"
                    " gateway_reference, occurred_at, changed_by)"
                    f" VALUES (9, '{kind}', {amount}, 'USD', 'r{place}', :now, 't')"
                ),
                now,
            )
    init(first_revision)
    with first_revision.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT refunded_minor, charged_back_minor FROM payments WHERE id = 9"
        ).one()
    sums = fold(500, {"captured": 700, "refunded": 300, "charged_back": 450})
    assert tuple(found) == (sums.refunded, sums.charged_back) == (100, 400)


def test_what_went_back_elsewhere_gave_back_no_double_capture(first_revision: Engine) -> None:
    with _without_foreign_keys(first_revision), transaction(first_revision) as connection:
        command.upgrade(alembic_config(connection), "0014")
        now = {"now": "2026-01-01T00:00:00.000000Z"}
        statements = [
            "INSERT INTO payments (id, order_id, gateway, method, currency, amount_minor,"
            " captured_minor, refunded_minor, created_at, changed_by, changed_at)"
            f" VALUES ({payment}, 1, 'fake', 'card', 'USD', 500, 500, {back}, :now, 't', :now)"
            for payment, back in ((8, 40), (9, 100))
        ]
        told = (
            (8, "captured", 500, "r0"), (8, "refunded", 40, "r1"), (9, "captured", 500, "r2"),
            (9, "captured", 200, "r3"), (9, "refunded", 300, "refund-91"),
        )  # fmt: skip
        statements += [
            "INSERT INTO payment_events (payment_id, kind, amount_minor, currency,"
            " gateway_reference, occurred_at, changed_by)"
            f" VALUES ({payment}, '{kind}', {amount}, 'USD', '{reference}', :now, 't')"
            for payment, kind, amount, reference in told
        ]
        statements += [
            "INSERT INTO refunds (id, payment_id, order_id, status, destination, reason, currency,"
            " amount_minor, requested_at, refunded_at, changed_by, changed_at) VALUES"
            f" ({place}, {payment}, 1, 'settled', '{where}', 'made at the gateway', 'USD',"
            f" {amount}, :now, :now, 't', :now)"
            for place, payment, where, amount in (
                (81, 8, "original", 40),
                (91, 9, "elsewhere", 300),
            )
        ]
        for statement in statements:
            connection.execute(sa.text(statement), now)
    init(first_revision)
    with first_revision.connect() as connection:
        back = connection.exec_driver_sql("SELECT refunded_minor FROM payments ORDER BY id")
        assert list(back.scalars())[-2:] == [40, 300]
        items = connection.exec_driver_sql("SELECT refund_id, kind, amount_minor FROM refund_items")
        assert [tuple(row) for row in items] == [(81, "goodwill", 40)]
