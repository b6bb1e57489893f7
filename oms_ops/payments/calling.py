"""Ask a gateway for an operation: the first time by a call, later by looking up what became of it.

Nothing here touches the database. Whatever goes wrong, the operation stays reserved under its key:
only a gateway's own word that it will not be done lets go of it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from oms_ops.errors import OmsError
from oms_ops.payments.gateways.interface import Call, Gateway, NotNow, Outcome, Uncertain
from oms_ops.payments.gateways.registry import gateway
from oms_ops.payments.operations import Claimed

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lost:
    """There was no answer: nothing is known, and why."""

    problem: str


def ask(claimed: Claimed) -> Outcome | Lost:
    """Return what became of an operation, or why that is not known yet."""
    try:
        opened = gateway(claimed.gateway)
    except OmsError as error:
        return Lost(error.message)
    try:
        outcome = _ask(opened, claimed)
    except (Uncertain, NotNow) as error:
        return Lost(f"{type(error).__name__}: {error}")
    except Exception as error:  # noqa: BLE001 - whatever it is, nothing is known of the call
        # An adapter's own fault is no answer of its gateway.
        _log.exception("the adapter of %s failed at %s", claimed.gateway, claimed.call.key)
        return Lost(f"{type(error).__name__} in the adapter")
    if outcome.state == "waiting" and claimed.overdue and claimed.call.kind == "authorise":
        return Outcome("declined", code="abandoned", message="the customer did not come back")
    return outcome


def _ask(opened: Gateway, claimed: Claimed) -> Outcome:
    call: Call = claimed.call
    if claimed.status == "waiting" or claimed.attempts > 1:
        known = opened.look_up(call)
        if known is not None:
            return known
        if claimed.status == "waiting":
            return Outcome("declined", code="unknown", message="the gateway knows nothing of it")
    return opened.call(call)
