"""The figures that ``make demo`` ends with, read from the published snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Summary:
    """Key figures of a snapshot; money in units of ``currency``, exact."""

    orders: int
    lines: int
    net_sales: Decimal
    stock_value: Decimal
    reorder_skus: int
    reorder_lines: int
    reorder_value: Decimal
    currency: str
    as_of: str

    def rows(self) -> list[tuple[str, str]]:
        """Return what people read: a label and a figure each."""
        return [
            ("orders", f"{self.orders:,}"),
            ("order lines", f"{self.lines:,}"),
            ("net sales", f"{self.net_sales:,.2f} {self.currency}"),
            ("stock value", f"{self.stock_value:,.2f} {self.currency}"),
            (
                "SKUs to reorder",
                f"{self.reorder_skus:,} ({self.reorder_lines:,} lines,"
                f" {self.reorder_value:,.2f} {self.currency})",
            ),
            ("as of", self.as_of),
        ]


_QUERY = """
SELECT
    (SELECT count(*) FROM marts.fct_orders),
    (SELECT count(*) FROM marts.fct_order_lines),
    (SELECT coalesce(sum(net_sales), 0) FROM marts.sales_daily),
    (SELECT coalesce(sum(stock_value), 0) FROM marts.inventory_health),
    (SELECT count(DISTINCT sku) FROM marts.reorder_lines),
    (SELECT count(*) FROM marts.reorder_lines),
    (SELECT coalesce(sum(line_value), 0) FROM marts.reorder_lines),
    currency,
    strftime(as_of AT TIME ZONE timezone, '%Y-%m-%d %H:%M ') || timezone
FROM meta.snapshot
"""


def read(snapshot: Path) -> Summary:
    """Return the figures of the snapshot at ``snapshot``.

    Raises:
        LookupError: the snapshot says nothing of itself.
    """
    import duckdb

    with duckdb.connect(snapshot.resolve(), read_only=True) as connection:
        row = connection.execute(_QUERY).fetchone()
    if row is None:
        raise LookupError(f"{snapshot} has no row in meta.snapshot")
    return Summary(*row)
