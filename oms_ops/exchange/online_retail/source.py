"""Read the data's rows and say what each of them is; nothing is asked of the database here.

The rules, first match wins:

====================================== =========================================================
a field cannot be read                 rejected, with the field's code
invoice ``A...``                       charge (bad debt): no goods, no customer
code of no known form                  rejected ``unknown_code``
``C...``, goods                        return; of a guest: rejected ``guest_return``
``C...``, postage or discount          credit to the customer; of a guest: charge
goods, negative, price 0               stock adjustment out, with the clerk's note
goods, positive, price 0               sale at no charge on a customer's or a priced invoice,
                                       else stock adjustment in
goods                                  sale: a line of the invoice's order
postage on an invoice with goods       the order's shipping
anything else that is no goods         charge, kept in the journal alone
====================================== =========================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oms_ops.exchange.mapping import Format, Mapping
from oms_ops.exchange.online_retail.places import PLACES
from oms_ops.exchange.reader import ROW, Table
from oms_ops.exchange.values import RowFault, Spec, fields_of

if TYPE_CHECKING:
    import polars as pl

TIMEZONE = "Europe/London"
CURRENCY = "GBP"

FORMAT = Format(timezone=TIMEZONE, date_formats=["%m/%d/%Y %H:%M"])
COLUMNS = {
    "invoice": "InvoiceNo",
    "code": "StockCode",
    "description": "Description",
    "quantity": "Quantity",
    "placed_at": "InvoiceDate",
    "price": "UnitPrice",
    "customer": "CustomerID",
    "country": "Country",
}
FIELDS = {
    "invoice": Spec(required=True),
    "code": Spec(required=True),
    "description": Spec(),
    "quantity": Spec("units", required=True),
    "placed_at": Spec("time", required=True),
    "price": Spec("money", required=True),
    "customer": Spec(),
    "country": Spec(required=True),
}

#: Five digits and a variant, or the goods of the shop's other site.
GOODS = r"^(\d{5}[A-Z]{0,3}|DCGS\w+|PADS)$"
POSTAGE = ("POST", "DOT", "C2")
#: Codes that are no goods, and what they are called in the journal.
CHARGES = {
    **dict.fromkeys(POSTAGE, "postage"),
    "D": "discount",
    "M": "manual",
    "S": "samples",
    "B": "bad_debt",
    "AMAZONFEE": "marketplace_fee",
    "BANK CHARGES": "bank_charges",
    "CRUK": "charity_commission",
}
GIFT_VOUCHER = r"^GIFT_"

#: What is refused, and why.
REFUSALS = {
    "unknown_code": "is neither goods nor a known charge",
    "zero_quantity": "no units",
    "negative_price": "a price below zero",
    "positive_credit": "a credit note of units that go out",
    "guest_return": "a return of a guest cannot be matched to a sale",
    "negative_quantity": "priced units that come back without a credit note",
    "unknown_country": "no such country is known",
}


@dataclass(frozen=True, slots=True)
class History:
    """The rows of a file, each with its ``plan`` and the ``reason`` of it.

    ``amount`` is quantity times price in ten-thousandths of a pound, ``day`` the shop's day, and
    ``key`` what tells a row from every other one, in this file and the next.
    """

    table: Table
    rows: pl.DataFrame
    faults: list[RowFault]


def pennies(amount: pl.Expr) -> pl.Expr:
    """Return ten-thousandths of a pound as pence, half up; what is left is the remainder."""
    return (amount + 50) // 100


def mapping(own: Mapping) -> Mapping:
    """Return the data's own columns and format, with what a mapping file says otherwise."""
    form = own.format if own.format != Format() else FORMAT
    return Mapping(format=form, fields={**COLUMNS, **own.fields})


def read(table: Table, columns: Mapping) -> History:
    """Type and classify the rows of a file."""
    import polars as pl

    frame, faults = fields_of(table, columns, FIELDS)
    frame = frame.with_columns(
        pl.col("code").str.to_uppercase(),
        # Spreadsheets made numbers of them.
        pl.col("customer").str.replace(r"\.0$", ""),
        # An invoice that was written over a minute's end carries two moments.
        placed_at=pl.col("placed_at").min().over("invoice"),
        amount=pl.col("quantity") * pl.col("price"),
        invoice_kind=pl.col("invoice").str.extract("^([A-Z])", 1).fill_null(""),
        is_bad=pl.col(ROW).is_in([fault.row_no for fault in faults]),
    )
    frame = _classified(frame).with_columns(
        day=pl.col("placed_at").dt.convert_time_zone(TIMEZONE).dt.date()
    )
    same = ("invoice", "code", "quantity", "price")
    frame = frame.with_columns(
        key=pl.concat_str(
            *same, pl.col(ROW).cum_count().over(same), separator="|", ignore_nulls=True
        )
    )
    return History(table, frame, faults)


def _classified(frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    code, quantity, price = pl.col("code"), pl.col("quantity"), pl.col("price")
    known = pl.col("customer").is_not_null()
    goods = code.str.contains(GOODS)
    charge = (
        pl.when(code.str.contains(GIFT_VOUCHER))
        .then(pl.lit("gift_voucher"))
        .otherwise(code.replace_strict(CHARGES, default=None, return_dtype=pl.String))
    )
    credit_note = pl.col("invoice_kind") == "C"
    # An invoice that says no customer and no price tells of the stock, not of a sale.
    is_sale = (known | (price > 0).any().over("invoice")) & (quantity > 0)
    refusal = (
        pl.when(~goods & charge.is_null()).then(pl.lit("unknown_code"))
        .when(quantity == 0).then(pl.lit("zero_quantity"))
        .when(price < 0).then(pl.lit("negative_price"))
        .when(credit_note & (quantity > 0)).then(pl.lit("positive_credit"))
        .when(credit_note & goods & ~known).then(pl.lit("guest_return"))
        .when(~credit_note & goods & (quantity < 0) & (price > 0)).then(pl.lit("negative_quantity"))
        .when(~credit_note & goods & is_sale & ~pl.col("country").is_in(list(PLACES)))
        .then(pl.lit("unknown_country"))
    )  # fmt: skip
    frame = frame.with_columns(refusal=refusal, charge=charge)
    plan = (
        pl.when(pl.col("is_bad")).then(pl.lit("reject"))
        .when(pl.col("invoice_kind") == "A").then(pl.lit("charge"))
        .when(pl.col("refusal").is_not_null()).then(pl.lit("reject"))
        .when(credit_note & goods).then(pl.lit("return"))
        .when(credit_note & known & (price > 0) & charge.is_in(["postage", "discount"]))
        .then(pl.lit("credit"))
        .when(goods & ~credit_note & is_sale).then(pl.lit("sale"))
        .when(goods).then(pl.lit("adjustment"))
        .otherwise(pl.lit("charge"))
    )  # fmt: skip
    frame = frame.with_columns(plan=plan)
    with_goods = (pl.col("plan") == "sale").any().over("invoice")
    ships = (pl.col("plan") == "charge") & (charge == "postage") & (quantity > 0) & with_goods
    frame = frame.with_columns(plan=pl.when(ships).then(pl.lit("shipping")).otherwise("plan"))
    return _whole_orders(frame)


def _whole_orders(frame: pl.DataFrame) -> pl.DataFrame:
    """Refuse the rest of an invoice that has a bad row; name the reason of every plan."""
    import polars as pl

    plan = pl.col("plan")
    spoiled = (plan == "reject").any().over("invoice") & plan.is_in(["sale", "shipping"])
    reason = (
        pl.when(spoiled).then(pl.lit("order_rejected"))
        .when(plan == "reject").then(pl.col("refusal"))
        .when(pl.col("invoice_kind") == "A").then(pl.lit("bad_debt"))
        .when((plan == "sale") & (pl.col("price") == 0)).then(pl.lit("free_goods"))
        .when(plan == "sale").then(pl.lit("goods"))
        .when(plan == "return").then(pl.lit("credit_note"))
        .when((plan == "adjustment") & (pl.col("quantity") > 0)).then(pl.lit("stock_in"))
        .when(plan == "adjustment").then(pl.lit("stock_out"))
        .when(plan == "credit").then(pl.col("charge") + "_credit")
        .otherwise(pl.col("charge"))
    )  # fmt: skip
    return frame.with_columns(
        reason=reason, plan=pl.when(spoiled).then(pl.lit("reject")).otherwise(plan)
    ).drop("refusal", "charge", "is_bad")
