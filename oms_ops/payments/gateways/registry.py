"""The gateways there are, and how one is opened."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import NamedTuple

from oms_ops.errors import NotFound, OmsError
from oms_ops.payments.gateways.interface import Gateway

#: Settles outside the system: what a person records is all there is to it.
MANUAL = "manual"
#: The shop's own ledgers of gift cards and store credit.
BALANCE = "balance"


class Entry(NamedTuple):
    """Where a gateway's opener is, as ``module:callable``, and how it captures.

    The second is told here because it must be known of a gateway that cannot be opened too.
    """

    opener: str
    captures_in_parts: bool = True


#: The opener makes a gateway of what the environment says. Its library is imported only where the
#: shop uses it.
GATEWAYS: dict[str, Entry] = {
    "fake": Entry("oms_ops.payments.gateways.fake:open_gateway"),
    "paypal": Entry("oms_ops.payments.gateways.paypal:open_gateway"),
    "stripe": Entry("oms_ops.payments.gateways.stripe:open_gateway", captures_in_parts=False),
}


@cache
def gateway(name: str) -> Gateway:
    """Return the gateway, opened once in a process.

    Raises:
        NotFound: there is no such gateway, or it is not set up here.
    """
    if name not in GATEWAYS:
        raise NotFound(f"There is no payment gateway {name!r}.")
    module, _, opener = GATEWAYS[name].opener.partition(":")
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
        return GATEWAYS[name].captures_in_parts if name in GATEWAYS else True
    return gateway(name).captures_in_parts
