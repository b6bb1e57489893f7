"""Which carriers there are: those of the rules, each by its adapter, and ``manual``."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.engine import Connection

from oms_ops.errors import FieldError, ValidationFailed
from oms_ops.fulfilment.carriers.drop_folder import DropFolder
from oms_ops.fulfilment.carriers.interface import Carrier
from oms_ops.fulfilment.carriers.manual import Manual
from oms_ops.rules import store
from oms_ops.rules.document import CarrierRule
from oms_ops.settings import settings

#: By the name in the rules, what makes an adapter of a carrier's code and its rule.
ADAPTERS: dict[str, Callable[[str, CarrierRule], Carrier]] = {
    "file": lambda code, rule: DropFolder(settings().carriers / code, rule),
    "manual": lambda code, rule: Manual(),
}

MANUAL = "manual"


def carriers(connection: Connection) -> dict[str, CarrierRule]:
    """Return the rule of each carrier by its code."""
    return {MANUAL: CarrierRule(adapter="manual"), **store.current(connection).rules.carriers}


def open_carrier(connection: Connection, code: str) -> Carrier:
    """Return the adapter of a carrier.

    Raises:
        ValidationFailed: there is no such carrier, or its rule names no known adapter.
    """
    known = carriers(connection)
    if code not in known:
        message = f"one of {', '.join(sorted(known))}"
        raise ValidationFailed(
            f"There is no carrier {code!r}.", [FieldError("carrier", "unknown_carrier", message)]
        )
    rule = known[code]
    if rule.adapter not in ADAPTERS:
        message = f"one of {', '.join(ADAPTERS)}, not {rule.adapter!r}"
        raise ValidationFailed(
            f"The rules of carrier {code} name no known adapter.",
            [FieldError(f"carriers.{code}.adapter", "unknown_adapter", message)],
        )
    return ADAPTERS[rule.adapter](code, rule)
