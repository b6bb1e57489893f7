"""Complete the write path: rules, prices, bins, transfers, counts, waves, imports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from oms_ops.database import UtcDateTime
from oms_ops.migrations.sqlite import rebuild

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    _create_tables()
    _add_columns()
    if op.get_bind().dialect.name == "sqlite":
        _rebuild_tables()
    else:
        _alter_tables()
    op.create_index("ix_shipments_day", "shipments", ["warehouse_id", "allocated_at"])
    op.create_index(
        "ix_shipments_staged",
        "shipments",
        ["warehouse_id"],
        sqlite_where=sa.text("status IN ('picked', 'packed')"),
        postgresql_where=sa.text("status IN ('picked', 'packed')"),
    )
    op.create_index(
        "ix_shipments_tracking",
        "shipments",
        ["tracking_number"],
        sqlite_where=sa.text("tracking_number IS NOT NULL"),
        postgresql_where=sa.text("tracking_number IS NOT NULL"),
    )
    # Orders were cancelled as a whole until now: nothing of them is owed.
    op.execute(
        "UPDATE orders SET cancelled_minor = total_minor, cancel_reason = hold_reason,"
        " hold_reason = NULL WHERE status = 'cancelled'"
    )
    op.execute(
        "UPDATE order_lines SET cancelled_minor = net_minor + tax_minor WHERE cancelled = quantity"
    )


def _create_tables() -> None:
    op.create_table(
        "imports",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "number",
            sa.Text(),
            sa.Computed("'IM-' || CAST(10000000 + id AS TEXT)", persisted=True),
            nullable=False,
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("file_sha256", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
    )
    op.create_table(
        "inbox_messages",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=True),
        sa.Column("problem", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.Column("processed_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint(
            "status IN ('received', 'processed', 'ignored', 'failed')",
            name=op.f("ck_inbox_messages_status_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbox_messages")),
        sa.UniqueConstraint(
            "source", "external_id", name=op.f("uq_inbox_messages_source_external_id")
        ),
    )
    op.create_table(
        "price_lists",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("customer_group", sa.Text(), nullable=True),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("valid_from", UtcDateTime(), nullable=True),
        sa.Column("valid_to", UtcDateTime(), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "valid_from IS NULL OR valid_to IS NULL OR valid_from < valid_to",
            name=op.f("ck_price_lists_valid_for_a_while"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_price_lists")),
        sa.UniqueConstraint("code", name=op.f("uq_price_lists_code")),
    )
    op.create_table(
        "shop_rules",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shop_rules")),
    )
    op.create_table(
        "basket_holds",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("basket", sa.Text(), nullable=False),
        sa.Column(
            "warehouse_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("sku_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_basket_holds_quantity_positive")),
        sa.ForeignKeyConstraint(["sku_id"], ["skus.id"], name=op.f("fk_basket_holds_sku_id")),
        sa.ForeignKeyConstraint(
            ["warehouse_id"], ["warehouses.id"], name=op.f("fk_basket_holds_warehouse_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_basket_holds")),
        sa.UniqueConstraint(
            "basket",
            "sku_id",
            "warehouse_id",
            name=op.f("uq_basket_holds_basket_sku_id_warehouse_id"),
        ),
    )
    op.create_table(
        "discounts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("percent_ppm", sa.BigInteger(), nullable=True),
        sa.Column("amount_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=True),
        sa.Column("sku_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("customer_group", sa.Text(), nullable=True),
        sa.Column("min_net_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("valid_from", UtcDateTime(), nullable=True),
        sa.Column("valid_to", UtcDateTime(), nullable=True),
        sa.Column("use_limit", sa.BigInteger(), nullable=True),
        sa.Column("used", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "(percent_ppm IS NULL OR percent_ppm BETWEEN 1 AND 1000000) AND (amount_minor IS NULL OR amount_minor > 0)",
            name=op.f("ck_discounts_value_in_range"),
        ),
        sa.CheckConstraint(
            "(percent_ppm IS NULL) <> (amount_minor IS NULL) AND (amount_minor IS NULL) = (currency IS NULL)",
            name=op.f("ck_discounts_percent_or_amount"),
        ),
        sa.CheckConstraint("code = upper(code)", name=op.f("ck_discounts_code_upper_case")),
        sa.CheckConstraint(
            "used >= 0 AND (use_limit IS NULL OR used <= use_limit)",
            name=op.f("ck_discounts_within_use_limit"),
        ),
        sa.ForeignKeyConstraint(["sku_id"], ["skus.id"], name=op.f("fk_discounts_sku_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_discounts")),
        sa.UniqueConstraint("code", name=op.f("uq_discounts_code")),
    )
    op.create_table(
        "import_rows",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "import_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("row_no", sa.BigInteger(), nullable=False),
        sa.Column("fate", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("document", sa.Text(), nullable=True),
        sa.Column("amount_e4", sa.BigInteger(), nullable=True),
        sa.Column("content", sa.JSON(none_as_null=True), nullable=True),
        sa.CheckConstraint(
            "fate IN ('order', 'return', 'adjustment', 'charge', 'record', 'rejected', 'repeated')",
            name=op.f("ck_import_rows_fate_known"),
        ),
        sa.ForeignKeyConstraint(
            ["import_id"], ["imports.id"], name=op.f("fk_import_rows_import_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_rows")),
        sa.UniqueConstraint("import_id", "row_no", name=op.f("uq_import_rows_import_id_row_no")),
    )
    op.create_table(
        "pick_waves",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "number",
            sa.Text(),
            sa.Computed("'WV-' || CAST(10000000 + id AS TEXT)", persisted=True),
            nullable=False,
        ),
        sa.Column(
            "warehouse_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "status IN ('open', 'done', 'cancelled')", name=op.f("ck_pick_waves_status_known")
        ),
        sa.ForeignKeyConstraint(
            ["warehouse_id"], ["warehouses.id"], name=op.f("fk_pick_waves_warehouse_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pick_waves")),
    )
    op.create_table(
        "prices",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "price_list_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("sku_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("min_quantity", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("price_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "price_minor >= 0 AND min_quantity >= 1", name=op.f("ck_prices_price_in_range")
        ),
        sa.ForeignKeyConstraint(
            ["price_list_id"], ["price_lists.id"], name=op.f("fk_prices_price_list_id")
        ),
        sa.ForeignKeyConstraint(["sku_id"], ["skus.id"], name=op.f("fk_prices_sku_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prices")),
        sa.UniqueConstraint(
            "sku_id",
            "price_list_id",
            "min_quantity",
            name=op.f("uq_prices_sku_id_price_list_id_min_quantity"),
        ),
    )
    op.create_table(
        "stock_alerts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "warehouse_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("sku_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("threshold", sa.BigInteger(), nullable=False),
        sa.Column("available", sa.BigInteger(), nullable=False),
        sa.Column("raised_at", UtcDateTime(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["sku_id"], ["skus.id"], name=op.f("fk_stock_alerts_sku_id")),
        sa.ForeignKeyConstraint(
            ["warehouse_id"], ["warehouses.id"], name=op.f("fk_stock_alerts_warehouse_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stock_alerts")),
    )
    op.create_table(
        "stock_counts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "number",
            sa.Text(),
            sa.Computed("'SC-' || CAST(10000000 + id AS TEXT)", persisted=True),
            nullable=False,
        ),
        sa.Column(
            "warehouse_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("counted_at", UtcDateTime(), nullable=True),
        sa.Column("decided_at", UtcDateTime(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "status IN ('open', 'counted', 'approved', 'rejected')",
            name=op.f("ck_stock_counts_status_known"),
        ),
        sa.ForeignKeyConstraint(
            ["warehouse_id"], ["warehouses.id"], name=op.f("fk_stock_counts_warehouse_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stock_counts")),
    )
    op.create_table(
        "transfers",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "number",
            sa.Text(),
            sa.Computed("'TR-' || CAST(10000000 + id AS TEXT)", persisted=True),
            nullable=False,
        ),
        sa.Column(
            "from_warehouse_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column(
            "to_warehouse_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expected_on", sa.Date(), nullable=True),
        sa.Column("sent_at", UtcDateTime(), nullable=True),
        sa.Column("received_at", UtcDateTime(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "status IN ('draft', 'in_transit', 'partly_received', 'received', 'cancelled')",
            name=op.f("ck_transfers_status_known"),
        ),
        sa.CheckConstraint(
            "from_warehouse_id <> to_warehouse_id", name=op.f("ck_transfers_goes_somewhere")
        ),
        sa.ForeignKeyConstraint(
            ["from_warehouse_id"], ["warehouses.id"], name=op.f("fk_transfers_from_warehouse_id")
        ),
        sa.ForeignKeyConstraint(
            ["to_warehouse_id"], ["warehouses.id"], name=op.f("fk_transfers_to_warehouse_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfers")),
    )
    op.create_table(
        "discount_uses",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "discount_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("order_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=False),
        sa.Column("released_at", UtcDateTime(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["discount_id"], ["discounts.id"], name=op.f("fk_discount_uses_discount_id")
        ),
        sa.ForeignKeyConstraint(
            ["order_id"], ["orders.id"], name=op.f("fk_discount_uses_order_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_discount_uses")),
        sa.UniqueConstraint(
            "discount_id", "order_id", name=op.f("uq_discount_uses_discount_id_order_id")
        ),
    )
    op.create_table(
        "drafts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "number",
            sa.Text(),
            sa.Computed("'DR-' || CAST(10000000 + id AS TEXT)", persisted=True),
            nullable=False,
        ),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("order_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "status IN ('open', 'placed', 'discarded')", name=op.f("ck_drafts_status_known")
        ),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_drafts_order_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drafts")),
    )
    op.create_table(
        "location_levels",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "location_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("sku_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("quantity", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("quantity >= 0", name=op.f("ck_location_levels_quantity_not_negative")),
        sa.ForeignKeyConstraint(
            ["location_id"], ["locations.id"], name=op.f("fk_location_levels_location_id")
        ),
        sa.ForeignKeyConstraint(["sku_id"], ["skus.id"], name=op.f("fk_location_levels_sku_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_location_levels")),
        sa.UniqueConstraint(
            "sku_id", "location_id", name=op.f("uq_location_levels_sku_id_location_id")
        ),
    )
    op.create_table(
        "stock_count_lines",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "stock_count_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "location_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("sku_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("expected", sa.BigInteger(), nullable=True),
        sa.Column("counted", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "counted IS NULL OR counted >= 0",
            name=op.f("ck_stock_count_lines_counted_not_negative"),
        ),
        sa.ForeignKeyConstraint(
            ["location_id"], ["locations.id"], name=op.f("fk_stock_count_lines_location_id")
        ),
        sa.ForeignKeyConstraint(["sku_id"], ["skus.id"], name=op.f("fk_stock_count_lines_sku_id")),
        sa.ForeignKeyConstraint(
            ["stock_count_id"],
            ["stock_counts.id"],
            name=op.f("fk_stock_count_lines_stock_count_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stock_count_lines")),
        sa.UniqueConstraint(
            "stock_count_id",
            "location_id",
            "sku_id",
            name=op.f("uq_stock_count_lines_stock_count_id_location_id_sku_id"),
        ),
    )
    op.create_table(
        "transfer_lines",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "transfer_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("sku_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("sent", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("received", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lost", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "quantity BETWEEN 1 AND 1000000", name=op.f("ck_transfer_lines_quantity_in_range")
        ),
        sa.CheckConstraint(
            "sent >= 0 AND received >= 0 AND lost >= 0 AND received + lost <= sent",
            name=op.f("ck_transfer_lines_arrives_at_most_what_was_sent"),
        ),
        sa.ForeignKeyConstraint(["sku_id"], ["skus.id"], name=op.f("fk_transfer_lines_sku_id")),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["transfers.id"], name=op.f("fk_transfer_lines_transfer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfer_lines")),
        sa.UniqueConstraint(
            "transfer_id", "line_no", name=op.f("uq_transfer_lines_transfer_id_line_no")
        ),
    )
    op.create_table(
        "shipment_labels",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "number",
            sa.Text(),
            sa.Computed("'LB-' || CAST(10000000 + id AS TEXT)", persisted=True),
            nullable=False,
        ),
        sa.Column(
            "shipment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("carrier", sa.Text(), nullable=False),
        sa.Column("booking", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("tracking_number", sa.Text(), nullable=True),
        sa.Column("media_type", sa.Text(), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("sent_at", UtcDateTime(), nullable=True),
        sa.Column("booked_at", UtcDateTime(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "status IN ('requested', 'booked', 'void')",
            name=op.f("ck_shipment_labels_status_known"),
        ),
        sa.CheckConstraint(
            "status <> 'booked' OR (tracking_number IS NOT NULL AND media_type IS NOT NULL"
            " AND body IS NOT NULL)",
            name=op.f("ck_shipment_labels_booked_is_complete"),
        ),
        sa.ForeignKeyConstraint(
            ["shipment_id"], ["shipments.id"], name=op.f("fk_shipment_labels_shipment_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shipment_labels")),
    )
    op.create_table(
        "parcels",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "shipment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("parcel_no", sa.Integer(), nullable=False),
        sa.Column("weight_grams", sa.BigInteger(), nullable=True),
        sa.Column("contents", sa.JSON(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("weight_grams > 0", name=op.f("ck_parcels_weight_positive")),
        sa.ForeignKeyConstraint(
            ["shipment_id"], ["shipments.id"], name=op.f("fk_parcels_shipment_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_parcels")),
        sa.UniqueConstraint(
            "shipment_id", "parcel_no", name=op.f("uq_parcels_shipment_id_parcel_no")
        ),
    )
    op.create_table(
        "picks",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("wave_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column(
            "shipment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "shipment_line_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "location_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("sku_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("picked", sa.BigInteger(), nullable=True),
        sa.Column("picked_at", UtcDateTime(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("picked BETWEEN 0 AND quantity", name=op.f("ck_picks_picked_in_range")),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_picks_quantity_positive")),
        sa.ForeignKeyConstraint(
            ["location_id"], ["locations.id"], name=op.f("fk_picks_location_id")
        ),
        sa.ForeignKeyConstraint(
            ["shipment_id"], ["shipments.id"], name=op.f("fk_picks_shipment_id")
        ),
        sa.ForeignKeyConstraint(
            ["shipment_line_id"], ["shipment_lines.id"], name=op.f("fk_picks_shipment_line_id")
        ),
        sa.ForeignKeyConstraint(["sku_id"], ["skus.id"], name=op.f("fk_picks_sku_id")),
        sa.ForeignKeyConstraint(["wave_id"], ["pick_waves.id"], name=op.f("fk_picks_wave_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_picks")),
    )
    op.create_index(
        op.f("ix_basket_holds_expires_at"), "basket_holds", ["expires_at"], unique=False
    )
    op.create_index("ix_stock_alerts_sku", "stock_alerts", ["sku_id", "warehouse_id"], unique=False)
    op.create_index(op.f("ix_discount_uses_order_id"), "discount_uses", ["order_id"], unique=False)
    op.create_index(
        "ix_transfer_lines_travelling",
        "transfer_lines",
        ["sku_id"],
        sqlite_where=sa.text("sent > received + lost"),
        postgresql_where=sa.text("sent > received + lost"),
    )
    op.create_index("ix_location_levels_location", "location_levels", ["location_id"], unique=False)
    op.create_index(
        op.f("ix_shipment_labels_shipment_id"), "shipment_labels", ["shipment_id"], unique=False
    )
    op.create_index(
        "ix_shipment_labels_live",
        "shipment_labels",
        ["shipment_id"],
        unique=True,
        sqlite_where=sa.text("status <> 'void'"),
        postgresql_where=sa.text("status <> 'void'"),
    )
    op.create_index(
        "ix_shipment_labels_requested",
        "shipment_labels",
        ["id"],
        sqlite_where=sa.text("status = 'requested'"),
        postgresql_where=sa.text("status = 'requested'"),
    )
    op.create_index(
        "ix_picks_open",
        "picks",
        ["location_id", "sku_id"],
        unique=False,
        sqlite_where=sa.text("picked IS NULL"),
        postgresql_where=sa.text("picked IS NULL"),
    )
    op.create_index(op.f("ix_picks_shipment_id"), "picks", ["shipment_id"], unique=False)
    op.create_index(op.f("ix_picks_wave_id"), "picks", ["wave_id"], unique=False)


def _add_columns() -> None:
    op.add_column("api_keys", sa.Column("scopes", sa.JSON(none_as_null=True), nullable=True))
    op.create_index("ix_change_log_row", "change_log", ["entity", "entity_id"], unique=False)
    op.add_column("customers", sa.Column("customer_group", sa.Text(), nullable=True))
    op.add_column("outbox_messages", sa.Column("next_attempt_at", UtcDateTime(), nullable=True))
    op.add_column("outbox_messages", sa.Column("problem", sa.Text(), nullable=True))
    op.add_column("purchase_order_lines", sa.Column("confirmed_on", sa.Date(), nullable=True))
    op.add_column(
        "purchase_order_lines", sa.Column("confirmed_cost_minor", sa.BigInteger(), nullable=True)
    )
    op.add_column("purchase_orders", sa.Column("sent_at", UtcDateTime(), nullable=True))
    op.add_column("purchase_orders", sa.Column("confirmed_at", UtcDateTime(), nullable=True))
    op.add_column("purchase_orders", sa.Column("supplier_reference", sa.Text(), nullable=True))
    op.add_column("purchase_orders", sa.Column("note", sa.Text(), nullable=True))
    op.add_column("stock_levels", sa.Column("low_threshold", sa.BigInteger(), nullable=True))
    op.add_column("stock_levels", sa.Column("average_cost_e4", sa.BigInteger(), nullable=True))


def _alter_tables() -> None:
    op.add_column("locations", sa.Column("zone", sa.Text(), nullable=True))
    op.add_column("locations", sa.Column("pick_sequence", sa.Integer(), nullable=True))
    op.add_column("locations", sa.Column("capacity_units", sa.BigInteger(), nullable=True))
    op.add_column(
        "locations", sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False)
    )
    op.add_column(
        "order_lines",
        sa.Column("rounding_minor", sa.BigInteger(), server_default="0", nullable=False),
    )
    op.add_column(
        "order_lines",
        sa.Column("tax_rate_ppm", sa.BigInteger(), server_default="0", nullable=False),
    )
    op.add_column(
        "order_lines",
        sa.Column("cancelled_minor", sa.BigInteger(), server_default="0", nullable=False),
    )
    op.add_column("order_lines", sa.Column("price_source", sa.Text(), nullable=True))
    op.add_column("order_lines", sa.Column("promised_on", sa.Date(), nullable=True))
    op.add_column("orders", sa.Column("cancel_reason", sa.Text(), nullable=True))
    op.add_column("orders", sa.Column("ship_phone", sa.Text(), nullable=True))
    op.add_column("orders", sa.Column("ship_latitude", sa.Float(), nullable=True))
    op.add_column("orders", sa.Column("ship_longitude", sa.Float(), nullable=True))
    op.add_column(
        "orders",
        sa.Column("shipping_tax_minor", sa.BigInteger(), server_default="0", nullable=False),
    )
    op.add_column(
        "orders", sa.Column("cancelled_minor", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.add_column(
        "orders", sa.Column("tax_included", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column("orders", sa.Column("base_currency", sa.String(length=3), nullable=True))
    op.add_column(
        "orders", sa.Column("exchange_rate", sa.Text(), server_default="1", nullable=False)
    )
    op.add_column(
        "orders",
        sa.Column("ship_complete", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.add_column("orders", sa.Column("note", sa.Text(), nullable=True))
    op.add_column(
        "orders",
        sa.Column("rules_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
    )
    op.create_foreign_key(op.f("fk_orders_rules_id"), "orders", "shop_rules", ["rules_id"], ["id"])
    op.add_column(
        "receipt_lines", sa.Column("damaged", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.add_column("shipments", sa.Column("failed_at", UtcDateTime(), nullable=True))
    op.add_column("shipments", sa.Column("failure_reason", sa.Text(), nullable=True))
    op.add_column("shipments", sa.Column("returned_at", UtcDateTime(), nullable=True))
    op.add_column("shipments", sa.Column("wave_id", sa.BigInteger(), nullable=True))
    op.add_column(
        "skus", sa.Column("tax_category", sa.Text(), server_default="standard", nullable=False)
    )
    op.add_column(
        "skus", sa.Column("min_quantity", sa.BigInteger(), server_default="1", nullable=False)
    )
    op.add_column(
        "skus", sa.Column("quantity_multiple", sa.BigInteger(), server_default="1", nullable=False)
    )
    op.add_column("skus", sa.Column("max_quantity", sa.BigInteger(), nullable=True))
    op.add_column("skus", sa.Column("channels", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("skus", sa.Column("weight_grams", sa.BigInteger(), nullable=True))
    for table, name in (
        ("locations", "ck_locations_storage_has_a_warehouse"),
        ("locations", "ck_locations_kind_known"),
        ("stock_moves", "ck_stock_moves_reason_known"),
        ("orders", "ck_orders_total_adds_up"),
        ("order_lines", "ck_order_lines_net_adds_up"),
        ("shipments", "ck_shipments_status_known"),
    ):
        op.drop_constraint(op.f(name), table, type_="check")
    rules: tuple[tuple[str, str, str], ...] = (
        (
            "locations",
            "ck_locations_own_has_a_warehouse",
            "(kind IN ('storage', 'bin', 'quarantine')) = (warehouse_id IS NOT NULL)",
        ),
        (
            "locations",
            "ck_locations_kind_known",
            "kind IN ('storage', 'bin', 'quarantine', 'transit', 'supplier', 'customer', 'adjustment', 'scrap')",
        ),
        (
            "stock_moves",
            "ck_stock_moves_reason_known",
            "reason IN ('opening', 'receipt', 'shipment', 'return', 'adjustment', 'scrap', 'putaway', 'pick', 'short_pick', 'transfer', 'count', 'damage', 'quarantine_release')",
        ),
        (
            "skus",
            "ck_skus_order_quantities_in_range",
            "min_quantity >= 1 AND quantity_multiple >= 1 AND (max_quantity IS NULL OR max_quantity >= min_quantity)",
        ),
        (
            "orders",
            "ck_orders_total_adds_up",
            "total_minor = gross_minor - discount_minor + shipping_minor + rounding_minor + CASE WHEN tax_included THEN 0 ELSE tax_minor END",
        ),
        ("orders", "ck_orders_cancelled_within_total", "cancelled_minor BETWEEN 0 AND total_minor"),
        (
            "order_lines",
            "ck_order_lines_net_adds_up",
            "net_minor = gross_minor - discount_minor + rounding_minor",
        ),
        (
            "shipments",
            "ck_shipments_status_known",
            "status IN ('allocated', 'picked', 'packed', 'shipped', 'delivered', 'cancelled', 'delivery_failed', 'returned')",
        ),
        ("receipt_lines", "ck_receipt_lines_damaged_in_range", "damaged BETWEEN 0 AND quantity"),
    )
    for table, name, rule in rules:
        op.create_check_constraint(op.f(name), table, rule)


def _rebuild_tables() -> None:
    """Make the tables anew whose constraints change: SQLite cannot alter those in place."""
    rebuild(
        "locations",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "warehouse_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("zone", sa.Text(), nullable=True),
        sa.Column("pick_sequence", sa.Integer(), nullable=True),
        sa.Column("capacity_units", sa.BigInteger(), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "(kind IN ('storage', 'bin', 'quarantine')) = (warehouse_id IS NOT NULL)",
            name=op.f("ck_locations_own_has_a_warehouse"),
        ),
        sa.CheckConstraint(
            "kind IN ('storage', 'bin', 'quarantine', 'transit', 'supplier', 'customer', 'adjustment', 'scrap')",
            name=op.f("ck_locations_kind_known"),
        ),
        sa.ForeignKeyConstraint(
            ["warehouse_id"], ["warehouses.id"], name=op.f("fk_locations_warehouse_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_locations")),
        sa.UniqueConstraint("code", name=op.f("uq_locations_code")),
    )
    rebuild(
        "stock_moves",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sku_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "from_location_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "to_location_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("unit_cost_minor", sa.BigInteger(), nullable=True),
        sa.Column("occurred_at", UtcDateTime(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "reason IN ('opening', 'receipt', 'shipment', 'return', 'adjustment', 'scrap', 'putaway', 'pick', 'short_pick', 'transfer', 'count', 'damage', 'quarantine_release')",
            name=op.f("ck_stock_moves_reason_known"),
        ),
        sa.CheckConstraint(
            "from_location_id <> to_location_id", name=op.f("ck_stock_moves_goes_somewhere")
        ),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_stock_moves_quantity_positive")),
        sa.ForeignKeyConstraint(
            ["from_location_id"], ["locations.id"], name=op.f("fk_stock_moves_from_location_id")
        ),
        sa.ForeignKeyConstraint(["sku_id"], ["skus.id"], name=op.f("fk_stock_moves_sku_id")),
        sa.ForeignKeyConstraint(
            ["to_location_id"], ["locations.id"], name=op.f("fk_stock_moves_to_location_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stock_moves")),
    )
    rebuild(
        "skus",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("department", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("brand", sa.Text(), nullable=False),
        sa.Column("pack_size", sa.Text(), nullable=False),
        sa.Column("barcode", sa.Text(), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("price_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("tax_category", sa.Text(), server_default="standard", nullable=False),
        sa.Column("min_quantity", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("quantity_multiple", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("max_quantity", sa.BigInteger(), nullable=True),
        sa.Column("channels", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("weight_grams", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "min_quantity >= 1 AND quantity_multiple >= 1 AND (max_quantity IS NULL OR max_quantity >= min_quantity)",
            name=op.f("ck_skus_order_quantities_in_range"),
        ),
        sa.CheckConstraint("price_minor >= 0", name=op.f("ck_skus_price_not_negative")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_skus")),
        sa.UniqueConstraint("barcode", name=op.f("uq_skus_barcode")),
        sa.UniqueConstraint("code", name=op.f("uq_skus_code")),
    )
    rebuild(
        "orders",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "number",
            sa.Text(),
            sa.Computed("'SO-' || CAST(10000000 + id AS TEXT)", persisted=True),
            nullable=False,
        ),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column(
            "customer_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "warehouse_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("hold_reason", sa.Text(), nullable=True),
        sa.Column("cancel_reason", sa.Text(), nullable=True),
        sa.Column("placed_at", UtcDateTime(), nullable=False),
        sa.Column("closed_at", UtcDateTime(), nullable=True),
        sa.Column("cancelled_at", UtcDateTime(), nullable=True),
        sa.Column("promised_on", sa.Date(), nullable=True),
        sa.Column("ship_name", sa.Text(), nullable=False),
        sa.Column("ship_line1", sa.Text(), nullable=False),
        sa.Column("ship_line2", sa.Text(), nullable=True),
        sa.Column("ship_city", sa.Text(), nullable=False),
        sa.Column("ship_region", sa.Text(), nullable=True),
        sa.Column("ship_postal_code", sa.Text(), nullable=True),
        sa.Column("ship_country", sa.String(length=2), nullable=False),
        sa.Column("ship_phone", sa.Text(), nullable=True),
        sa.Column("ship_latitude", sa.Float(), nullable=True),
        sa.Column("ship_longitude", sa.Float(), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("gross_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("discount_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("shipping_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("tax_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("rounding_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("shipping_tax_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("cancelled_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("tax_included", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("base_currency", sa.String(length=3), nullable=True),
        sa.Column("exchange_rate", sa.Text(), server_default="1", nullable=False),
        sa.Column("allow_backorder", sa.Boolean(), nullable=False),
        sa.Column("allow_split", sa.Boolean(), nullable=False),
        sa.Column("ship_complete", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("rules_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("routing", sa.JSON(), nullable=False),
        sa.Column("tracking_token", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "status IN ('open', 'on_hold', 'cancelled', 'closed')",
            name=op.f("ck_orders_status_known"),
        ),
        sa.CheckConstraint(
            "cancelled_minor BETWEEN 0 AND total_minor",
            name=op.f("ck_orders_cancelled_within_total"),
        ),
        sa.CheckConstraint(
            "gross_minor BETWEEN 0 AND 100000000000 AND shipping_minor BETWEEN 0 AND 100000000000",
            name=op.f("ck_orders_amounts_in_range"),
        ),
        sa.CheckConstraint(
            "total_minor = gross_minor - discount_minor + shipping_minor + rounding_minor + CASE WHEN tax_included THEN 0 ELSE tax_minor END",
            name=op.f("ck_orders_total_adds_up"),
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_orders_customer_id")
        ),
        sa.ForeignKeyConstraint(["rules_id"], ["shop_rules.id"], name=op.f("fk_orders_rules_id")),
        sa.ForeignKeyConstraint(
            ["warehouse_id"], ["warehouses.id"], name=op.f("fk_orders_warehouse_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orders")),
        sa.UniqueConstraint("channel", "external_id", name=op.f("uq_orders_channel_external_id")),
        sa.UniqueConstraint("tracking_token", name=op.f("uq_orders_tracking_token")),
    )
    rebuild(
        "order_lines",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("order_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("sku_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("unit_price_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("unit_cost_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("gross_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("discount_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("rounding_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("net_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("tax_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("tax_rate_ppm", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("cancelled_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("price_source", sa.Text(), nullable=True),
        sa.Column("promised_on", sa.Date(), nullable=True),
        sa.Column("allocated", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("backordered", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("shipped", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("cancelled", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("returned", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "allocated >= 0 AND backordered >= 0 AND shipped >= 0 AND cancelled >= 0 AND returned >= 0 AND returned <= shipped",
            name=op.f("ck_order_lines_counts_in_range"),
        ),
        sa.CheckConstraint(
            "gross_minor = quantity * unit_price_minor", name=op.f("ck_order_lines_gross_adds_up")
        ),
        sa.CheckConstraint(
            "net_minor = gross_minor - discount_minor + rounding_minor",
            name=op.f("ck_order_lines_net_adds_up"),
        ),
        sa.CheckConstraint(
            "quantity = allocated + backordered + shipped + cancelled",
            name=op.f("ck_order_lines_all_accounted_for"),
        ),
        sa.CheckConstraint(
            "quantity BETWEEN 1 AND 1000000", name=op.f("ck_order_lines_quantity_in_range")
        ),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_order_lines_order_id")),
        sa.ForeignKeyConstraint(["sku_id"], ["skus.id"], name=op.f("fk_order_lines_sku_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_order_lines")),
        sa.UniqueConstraint("order_id", "line_no", name=op.f("uq_order_lines_order_id_line_no")),
    )
    rebuild(
        "shipments",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "number",
            sa.Text(),
            sa.Computed("'SH-' || CAST(10000000 + id AS TEXT)", persisted=True),
            nullable=False,
        ),
        sa.Column("order_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "warehouse_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("carrier", sa.Text(), nullable=True),
        sa.Column("tracking_number", sa.Text(), nullable=True),
        sa.Column("allocated_at", UtcDateTime(), nullable=False),
        sa.Column("picked_at", UtcDateTime(), nullable=True),
        sa.Column("packed_at", UtcDateTime(), nullable=True),
        sa.Column("shipped_at", UtcDateTime(), nullable=True),
        sa.Column("delivered_at", UtcDateTime(), nullable=True),
        sa.Column("failed_at", UtcDateTime(), nullable=True),
        sa.Column("failure_reason", sa.Text(), nullable=True),
        sa.Column("returned_at", UtcDateTime(), nullable=True),
        sa.Column("wave_id", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "status IN ('allocated', 'picked', 'packed', 'shipped', 'delivered', 'cancelled', 'delivery_failed', 'returned')",
            name=op.f("ck_shipments_status_known"),
        ),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_shipments_order_id")),
        sa.ForeignKeyConstraint(
            ["warehouse_id"], ["warehouses.id"], name=op.f("fk_shipments_warehouse_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shipments")),
    )
    rebuild(
        "receipt_lines",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "receipt_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "purchase_order_line_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column("sku_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("damaged", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("unit_cost_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "damaged BETWEEN 0 AND quantity", name=op.f("ck_receipt_lines_damaged_in_range")
        ),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_receipt_lines_quantity_positive")),
        sa.ForeignKeyConstraint(
            ["purchase_order_line_id"],
            ["purchase_order_lines.id"],
            name=op.f("fk_receipt_lines_purchase_order_line_id"),
        ),
        sa.ForeignKeyConstraint(
            ["receipt_id"], ["receipts.id"], name=op.f("fk_receipt_lines_receipt_id")
        ),
        sa.ForeignKeyConstraint(["sku_id"], ["skus.id"], name=op.f("fk_receipt_lines_sku_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receipt_lines")),
    )
