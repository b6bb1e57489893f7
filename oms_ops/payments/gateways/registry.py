"""The gateways there are, and how one is opened."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from oms_ops.errors import NotFound, OmsError
from oms_ops.payments.gateways.interface import Gateway

#: Settles outside the system: what a person records is all there is to it.
MANUAL = "manual"
#: The shop's own ledgers of gift cards and store credit.
BALANCE = "balance"

#: name -> module and callable that opens the gateway with what the environment says. A gateway's
#: library is imported only where the shop uses it.
GATEWAYS: dict[str, str] = {
    "fake": "oms_ops.payments.gateways.fake:open_gateway",
    "paypal": "oms_ops.payments.gateways.paypal:open_gateway",
    "stripe": "oms_ops.payments.gateways.stripe:open_gateway",
}
#: Those that capture an authorisation once: known also of one that cannot be opened at the moment.
_CAPTURE_ONCE = frozenset({"stripe"})


@cache
def gateway(name: str) -> Gateway:
    """Return the gateway, opened once in a process.

    Raises:
        NotFound: there is no such gateway, or it is not set up here.
    """
    if name not in GATEWAYS:
        raise NotFound(f"There is no payment gateway {name!r}.")
    module, _, opener = GATEWAYS[name].partition(":")
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        raise NotFound(f"The library of the payment gateway {name!r} is not installed.") from error
    try:
        opened: Gateway = getattr(found, opener)()
    except OmsError:
        raise
    except Exception as error:
        # Its text may hold a secret that was set in the wrong place.
        message = f"The payment gateway {name!r} cannot be opened: {type(error).__name__}."
        raise NotFound(message) from error
    return opened


def problem(name: str) -> str | None:
    """Return why payments cannot go through what rules name so; None where they can."""
    if name in (MANUAL, BALANCE):
        return None
    try:
        gateway(name)
    except OmsError as error:
        return error.message
    return None


def captures_in_parts(name: str) -> bool:
    """Tell whether a gateway captures an authorisation in parts, also of one that is not set up."""
    if problem(name) is not None:
        return name not in _CAPTURE_ONCE
    return gateway(name).captures_in_parts
