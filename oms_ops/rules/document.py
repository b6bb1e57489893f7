"""The shop's rules as one document: taxes, shipping charges, holds, routing and their defaults.

A document is JSON (or TOML on the command line). Everything has a default, so an empty document is
a shop without taxes and shipping charges in one currency.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from oms_ops import regions
from oms_ops.money import EXPONENTS, to_minor

Percent = Annotated[Decimal, Field(ge=0, le=100, max_digits=7, decimal_places=4)]
Money = Annotated[Decimal, Field(ge=0, le=1_000_000_000, allow_inf_nan=False)]
#: Units of one currency for one of another: far beyond any pair, and exact in the arithmetic.
Rate = Annotated[
    Decimal,
    Field(ge=Decimal("0.000001"), le=1_000_000, max_digits=18, decimal_places=12),
]

_PPM_OF_PERCENT = 10_000


def _known(currency: str) -> str:
    if currency not in EXPONENTS:
        raise PydanticCustomError("unknown_currency", "is no currency that is known")
    return currency


Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$"), AfterValidator(_known)]


def _placed(text: str) -> str:
    """Write a place's region as addresses keep it, where it is known."""
    country, _, region = text.partition("-")
    return f"{country}-{regions.code_of(country, region) or region}" if region else text


#: ``US`` or ``US-GA``: a country, or a country and its region (by code or name; kept as the code).
Place = Annotated[str, Field(pattern=r"^[A-Z]{2}(-.+)?$"), AfterValidator(_placed)]


def place_names(country: str, region: str | None) -> tuple[str, ...]:
    """Return the names under which rules may know a place, the closest first."""
    return (f"{country}-{region}", country) if region else (country,)


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaxRule(_Rule):
    """``percent`` of the net price of a tax category in some places; the first that fits holds.

    Shipping is taxed as the category ``shipping``. No places and no categories mean all of them.
    """

    percent: Percent
    places: list[Place] = []
    categories: list[str] = []

    @cached_property
    def ppm(self) -> int:
        """The rate in millionths; the document holds four decimal places of a percent."""
        return int(self.percent * _PPM_OF_PERCENT)


class ShippingRule(_Rule):
    """What shipping costs when all the conditions hold; the first rule that fits is charged.

    An order is charged by the rules of its own currency. For a currency that no rule names, those
    of the base currency hold, their amounts exchanged at the rate of the order.
    ``min_net`` and ``max_net`` bound the goods' net value (``max_net`` itself is out), as
    ``max_weight_grams`` bounds their weight (it is in). ``per_kilogram`` is charged for each
    kilogram begun.
    """

    name: str
    currency: Currency
    charge: Money
    per_kilogram: Money = Decimal(0)
    places: list[Place] = []
    channels: list[str] = []
    min_net: Money | None = None
    max_net: Money | None = None
    max_weight_grams: int | None = None

    @model_validator(mode="after")
    def _amounts_of_the_currency(self) -> ShippingRule:
        for amount in (self.charge, self.per_kilogram, self.min_net, self.max_net):
            if amount is not None:
                to_minor(amount, self.currency)
        return self


class DeliveryRule(_Rule):
    """How long an order takes from the stock to its customer; the first that fits holds.

    ``handling_days`` until it leaves the house, ``transit_days`` on its way: days of the calendar,
    from the shop's day of the order, or from that on which what it waits for comes in.
    """

    handling_days: Annotated[int, Field(ge=0, le=365)]
    transit_days: Annotated[int, Field(ge=0, le=365)]
    places: list[Place] = []
    channels: list[str] = []


class ChannelRule(_Rule):
    """``reserve_units`` of every SKU and warehouse are kept from orders of the channel."""

    reserve_units: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class HoldRule(_Rule):
    """An order that is held for review.

    It costs ``total_above`` or more of the base currency, its customer has ``unpaid_orders`` or
    more shipped orders that are not paid; where both are given, both must hold. ``channels`` and
    ``places`` narrow the rule.
    """

    code: Annotated[str, Field(pattern=r"^[a-z][a-z_0-9]*$")]
    total_above: Money | None = None
    unpaid_orders: Annotated[int, Field(ge=1)] | None = None
    channels: list[str] = []
    places: list[Place] = []

    @model_validator(mode="after")
    def _says_when(self) -> HoldRule:
        if self.total_above is None and self.unpaid_orders is None:
            raise ValueError("a hold rule needs total_above or unpaid_orders")
        return self


class WarehouseRule(_Rule):
    """What routing knows of a warehouse beyond its address; costs are of the base currency."""

    zones: list[str] = []
    daily_capacity: Annotated[int, Field(ge=0)] | None = None
    cost_per_shipment: Money = Decimal(0)
    cost_per_unit: Money = Decimal(0)
    cost_per_km: Money = Decimal(0)

    @cached_property
    def costs_e4(self) -> tuple[int, int, int]:
        """The costs of a shipment, a unit and a kilometre in ten-thousandths of the currency."""
        costs = (self.cost_per_shipment, self.cost_per_unit, self.cost_per_km)
        shipment, unit, kilometre = (int(cost * 10_000) for cost in costs)
        return shipment, unit, kilometre


RoutingCriterion = Literal[
    "fill",
    "single_warehouse",
    "zone",
    "distance",
    "fewest_splits",
    "cost",
    "capacity",
    "priority",
]


class RoutingRules(_Rule):
    """The criteria by which plans are compared, the most important first, and what they look at.

    An order is shipped from ``max_splits`` warehouses at most, where it may be split at all.
    ``zones`` names groups of places; a warehouse serves the zones that its rule lists. A daily
    capacity counts where ``capacity`` is ranked; the day's shipments are counted every second, so
    several processes may send it a second's orders more.
    """

    rank: list[RoutingCriterion] = ["fill", "single_warehouse", "zone", "priority"]
    max_splits: Annotated[int, Field(ge=1, le=10)] = 3
    zones: dict[str, list[Place]] = {}
    warehouses: dict[str, WarehouseRule] = {}

    @model_validator(mode="after")
    def _each_once(self) -> RoutingRules:
        if len(set(self.rank)) != len(self.rank):
            raise ValueError("rank names a criterion twice")
        return self

    @cached_property
    def served(self) -> dict[str, frozenset[str]]:
        """The places that each warehouse with zones serves."""
        return {
            code: frozenset(place for zone in rule.zones for place in self.zones.get(zone, ()))
            for code, rule in self.warehouses.items()
            if rule.zones
        }

    @cached_property
    def limits_days(self) -> bool:
        """Whether the shipments that a warehouse has today matter."""
        return "capacity" in self.rank and any(
            rule.daily_capacity is not None for rule in self.warehouses.values()
        )


class ReceiptRules(_Rule):
    """How much more than ordered a delivery may bring."""

    over_tolerance_percent: Percent = Decimal(0)


class PackingRules(_Rule):
    """Whether a shipment is packed only when it is said what is in its parcels."""

    check: Literal["optional", "required"] = "optional"


class AlertRules(_Rule):
    """Who is told that stock is low; nobody by default."""

    low_stock_email: str | None = None


class PurchasingRules(_Rule):
    """What orders to suppliers say of the shop."""

    shop_name: str = "The shop"
    reply_to: str | None = None


#: It also names a folder: nothing in it may lead elsewhere.
CarrierCode = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]


class CarrierRule(_Rule):
    """How a carrier is spoken to.

    ``adapter`` is one of those that the fulfilment knows. A manifest is written as ``format``; what
    the carrier writes is read once it has not changed for ``quiet_seconds``.
    """

    adapter: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    format: Literal["csv", "json"] = "csv"
    quiet_seconds: Annotated[float, Field(ge=0, le=3600)] = 5.0


class PaymentRules(_Rule):
    """Which gateway takes which method, when it collects, and where refunds go first.

    A method that ``gateways`` does not name is settled by hand. ``capture`` is ``shipment``: what a
    parcel is worth is collected when it leaves; or ``manual``: when somebody asks. A refund goes to
    the tenders whose methods stand in ``refund_order``, in that order, then to the others, the one
    with most left first. An invoice is due after ``invoice_days``.
    """

    gateways: dict[str, Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]] = {}
    capture: Literal["shipment", "manual"] = "shipment"
    refund_order: list[str] = []
    invoice_days: Annotated[int, Field(ge=0, le=365)] = 30


class ReturnException(_Rule):
    """Goods that come back on other terms; of the exceptions that fit, the first holds.

    ``categories`` are those of the catalogue, ``tax_categories`` those of the taxes; none of either
    means all.
    """

    categories: list[str] = []
    tax_categories: list[str] = []
    returnable: bool = True
    window_days: Annotated[int, Field(ge=0, le=3650)] | None = None


class ReturnRules(_Rule):
    """What may come back, and what the customer gets for it.

    A line may be sent back until ``window_days`` after its last parcel was delivered (or shipped,
    while no delivery is known); None is for ever. ``approve`` is ``automatic``: what keeps to the
    policy needs nobody's approval; or ``clerk``. An approved return whose goods do not come within
    ``expires_days`` is over. ``online`` lets customers ask on their order's page.
    ``restocking_fee_percent`` is kept of what the goods cost. ``refund_shipping`` gives the
    shipping back with the last of an order's goods. The reasons in ``shop_reasons`` are the shop's
    fault: they bear no fee, and the shipping goes back with the first of them.
    """

    window_days: Annotated[int, Field(ge=0, le=3650)] | None = 30
    exceptions: list[ReturnException] = []
    approve: Literal["automatic", "clerk"] = "automatic"
    online: bool = True
    expires_days: Annotated[int, Field(ge=1, le=3650)] = 60
    restocking_fee_percent: Percent = Decimal(0)
    refund_shipping: bool = False
    shop_reasons: list[str] = ["damaged", "wrong_item", "not_as_described", "undelivered"]

    @cached_property
    def fee_ppm(self) -> int:
        """The fee in millionths."""
        return int(self.restocking_fee_percent * _PPM_OF_PERCENT)

    def terms(self, category: str, tax_category: str) -> tuple[bool, int | None]:
        """Return whether goods of these categories may come back, and within how many days."""
        for each in self.exceptions:
            if (not each.categories or category in each.categories) and (
                not each.tax_categories or tax_category in each.tax_categories
            ):
                days = self.window_days if each.window_days is None else each.window_days
                return each.returnable, days
        return True, self.window_days


Hours = Annotated[int, Field(ge=1, le=8760)]


class CareHours(_Rule):
    """Hours of the clock, nights and Sundays too, by the priority of a ticket."""

    low: Hours
    normal: Hours
    high: Hours
    urgent: Hours

    def of(self, priority: str) -> int:
        """Return the hours of a priority."""
        hours: int = getattr(self, priority)
        return hours


class CareRules(_Rule):
    """Until when a customer's ticket is to be answered and solved, and when a solved one closes.

    Hours count from the moment the ticket was opened. A solved ticket closes ``close_after_days``
    after it was solved. ``online`` lets customers ask on their order's page.
    """

    first_response_hours: CareHours = CareHours(low=48, normal=24, high=8, urgent=2)
    solution_hours: CareHours = CareHours(low=168, normal=72, high=24, urgent=8)
    close_after_days: Annotated[int, Field(ge=1, le=365)] = 7
    online: bool = True


class Rules(_Rule):
    """The whole document.

    ``exchange_rates`` gives the units of the base currency for one unit of another, and so says
    which currencies are accepted. ``cash_rounding`` rounds the totals of a currency to a multiple
    of so many minor units. ``channels`` lists the channels that may order; none means any.
    """

    base_currency: Currency = "USD"
    exchange_rates: dict[Currency, Rate] = {}
    cash_rounding: dict[Currency, Annotated[int, Field(ge=1, le=1000)]] = {}
    prices_include_tax: bool = False
    taxes: list[TaxRule] = []
    shipping: list[ShippingRule] = []
    delivery: list[DeliveryRule] = []
    channels: dict[str, ChannelRule] = {}
    holds: list[HoldRule] = []
    routing: RoutingRules = RoutingRules()
    receipts: ReceiptRules = ReceiptRules()
    packing: PackingRules = PackingRules()
    alerts: AlertRules = AlertRules()
    purchasing: PurchasingRules = PurchasingRules()
    carriers: dict[CarrierCode, CarrierRule] = {}
    payments: PaymentRules = PaymentRules()
    returns: ReturnRules = ReturnRules()
    care: CareRules = CareRules()
    basket_minutes: Annotated[int, Field(ge=1, le=7 * 24 * 60)] = 30

    @model_validator(mode="after")
    def _base_is_one(self) -> Rules:
        if self.exchange_rates.get(self.base_currency, Decimal(1)) != 1:
            raise ValueError("the base currency's exchange rate is 1")
        return self

    @model_validator(mode="after")
    def _known_zones(self) -> Rules:
        named = {zone for rule in self.routing.warehouses.values() for zone in rule.zones}
        if unknown := sorted(named - set(self.routing.zones)):
            raise ValueError(f"zones {unknown} are served but not defined")
        return self

    def reserve_of(self, channel: str) -> int:
        """Return the units of each SKU and warehouse that a channel leaves to others."""
        rule = self.channels.get(channel)
        return rule.reserve_units if rule else 0

    def rate_of(self, currency: str) -> Decimal | None:
        """Return the exchange rate of a currency, None where it is not accepted."""
        if currency == self.base_currency:
            return Decimal(1)
        return self.exchange_rates.get(currency)

    def exchanged(self, minor: int, currency: str, wanted: str) -> int | None:
        """Return an amount in minor units of another currency, rounded half up.

        None where one of the two has no rate.
        """
        if currency == wanted:
            return minor
        own, other = self.rate_of(currency), self.rate_of(wanted)
        if own is None or other is None:
            return None
        scale = Decimal(10) ** (EXPONENTS[wanted] - EXPONENTS[currency])
        return int((minor * own / other * scale).to_integral_value(ROUND_HALF_UP))
