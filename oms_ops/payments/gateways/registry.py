"""The gateways there are, and how one is opened."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from oms_ops.errors import NotFound
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


@cache
def gateway(name: str) -> Gateway:
    """Return the gateway, opened once in a process.

    Raises:
        NotFound: there is no such gateway.
    """
    if name not in GATEWAYS:
        raise NotFound(f"There is no payment gateway {name!r}.")
    module, _, opener = GATEWAYS[name].partition(":")
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        raise NotFound(f"The library of the payment gateway {name!r} is not installed.") from error
    opened: Gateway = getattr(found, opener)()
    return opened
