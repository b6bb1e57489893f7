"""What is allowed in the rules but most likely not meant."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from oms_ops import regions
from oms_ops.errors import FieldError
from oms_ops.rules.document import Rules


def warnings(
    rules: Rules,
    warehouses: Collection[str] | None = None,
    gateway_problem: Callable[[str], str | None] = lambda name: None,
) -> list[FieldError]:
    """Return what will have no effect, each with a stable code.

    ``warehouses`` are the codes of the shop's, None where they are not known; ``gateway_problem``
    tells why a payment gateway cannot be used here, None where it can.
    """
    payments = _payments(rules, gateway_problem)
    return [
        *_routing(rules, warehouses),
        *_places(rules),
        *_shipping(rules),
        *payments,
        *_care(rules),
    ]


def _payments(rules: Rules, problem: Callable[[str], str | None]) -> Iterator[FieldError]:
    for method, name in rules.payments.gateways.items():
        if (why := problem(name)) is not None:
            yield FieldError(f"payments.gateways.{method}", "gateway_not_set_up", why)


def _routing(rules: Rules, warehouses: Collection[str] | None) -> Iterator[FieldError]:
    routing = rules.routing
    for code, rule in routing.warehouses.items():
        field = f"routing.warehouses.{code}"
        if warehouses is not None and code not in warehouses:
            yield FieldError(field, "unknown_warehouse", "is no active warehouse")
        if rule.daily_capacity is not None and "capacity" not in routing.rank:
            message = "is not looked at: capacity is not in routing.rank"
            yield FieldError(f"{field}.daily_capacity", "not_ranked", message)


def _places(rules: Rules) -> Iterator[FieldError]:
    named = {
        **{f"taxes[{number}]": rule.places for number, rule in enumerate(rules.taxes)},
        **{f"shipping[{number}]": rule.places for number, rule in enumerate(rules.shipping)},
        **{f"holds[{number}]": rule.places for number, rule in enumerate(rules.holds)},
        **{f"routing.zones.{name}": places for name, places in rules.routing.zones.items()},
    }
    for field, places in named.items():
        for place in places:
            country, _, region = place.partition("-")
            if region and regions.code_of(country, region) is None:
                message = f"{place} is no region that addresses are known by"
                yield FieldError(field, "unknown_region", message)


def _shipping(rules: Rules) -> Iterator[FieldError]:
    charged = {rule.currency for rule in rules.shipping}
    if charged and rules.base_currency not in charged:
        for currency in sorted({rules.base_currency, *rules.exchange_rates} - charged):
            message = f"no rule charges for shipping in {currency} or {rules.base_currency}"
            yield FieldError("shipping", "ships_free", message)


def _care(rules: Rules) -> Iterator[FieldError]:
    for priority, hours in rules.care.solution_hours:
        if hours < rules.care.first_response_hours.of(priority):
            message = "a ticket would have to be solved before it has to be answered"
            yield FieldError(f"care.solution_hours.{priority}", "before_first_response", message)
