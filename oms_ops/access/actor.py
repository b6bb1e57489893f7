"""Who does it, and whether the role permits it.

Permissions are enforced in the services, so that API, dashboards and command line cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass

from oms_ops.errors import Forbidden

ORDERS_WRITE = "orders:write"
ORDERS_READ = "orders:read"
#: Sending what is allocated from another warehouse: clerks decide it, warehouses reject it.
ORDERS_ROUTE = "orders:route"
#: Saying what an order costs: other prices, taxes and charges than the shop's, discounts without a
#: code. Who has no more than ``orders:write`` sells at the shop's terms.
PRICES_OVERRIDE = "prices:override"
FULFIL = "fulfilment:write"
PAYMENTS_READ = "payments:read"
PAYMENTS_WRITE = "payments:write"
#: Making what is spent like money: gift cards, store credit, and corrections of both.
BALANCES_WRITE = "balances:write"
RETURNS_WRITE = "returns:write"
#: Posting what a count found; always somebody else than who counted.
STOCK_APPROVE = "stock:approve"
#: Deciding how low a level may fall.
STOCK_PLAN = "stock:plan"
STOCK_READ = "stock:read"
STOCK_WRITE = "stock:write"
PURCHASING_READ = "purchasing:read"
PURCHASING_WRITE = "purchasing:write"
CATALOG_WRITE = "catalog:write"
RULES_READ = "rules:read"
RULES_WRITE = "rules:write"
#: Names, groups and ids of customers; what stands on an order is read with the order.
CUSTOMERS_READ = "customers:read"
CUSTOMERS_WRITE = "customers:write"
#: What customers ask and think, in their own words; answering them.
CARE_READ = "care:read"
CARE_WRITE = "care:write"
#: Creating, changing and closing warehouses.
WAREHOUSES_WRITE = "warehouses:write"
#: Making, listing and revoking API keys.
KEYS_WRITE = "keys:write"
#: Beginning an epoch of the change feed, and pruning its log.
FEED_WRITE = "feed:write"

_READS = frozenset({ORDERS_READ, STOCK_READ, PURCHASING_READ, RULES_READ, CUSTOMERS_READ})
_EVERYTHING = _READS | {
    ORDERS_WRITE,
    ORDERS_ROUTE,
    PRICES_OVERRIDE,
    FULFIL,
    PAYMENTS_READ,
    PAYMENTS_WRITE,
    BALANCES_WRITE,
    RETURNS_WRITE,
    STOCK_WRITE,
    STOCK_APPROVE,
    STOCK_PLAN,
    PURCHASING_WRITE,
    CATALOG_WRITE,
    RULES_WRITE,
    CUSTOMERS_WRITE,
    CARE_READ,
    CARE_WRITE,
    WAREHOUSES_WRITE,
    KEYS_WRITE,
    FEED_WRITE,
}

#: Every permission there is.
PERMISSIONS = frozenset(_EVERYTHING)

#: What each role may do.
ROLES: dict[str, frozenset[str]] = {
    "admin": _EVERYTHING,
    "clerk": _READS
    | {
        ORDERS_WRITE,
        ORDERS_ROUTE,
        PRICES_OVERRIDE,
        PAYMENTS_READ,
        PAYMENTS_WRITE,
        BALANCES_WRITE,
        RETURNS_WRITE,
        CUSTOMERS_WRITE,
        CARE_READ,
        CARE_WRITE,
    },
    "warehouse": _READS
    | {ORDERS_ROUTE, FULFIL, STOCK_WRITE, STOCK_APPROVE, STOCK_PLAN, RETURNS_WRITE},
    "merchandiser": _READS | {PURCHASING_WRITE, CATALOG_WRITE, STOCK_PLAN},
    "support": _READS | {PAYMENTS_READ, RETURNS_WRITE, CUSTOMERS_WRITE, CARE_READ, CARE_WRITE},
    "analyst": _READS | {PAYMENTS_READ, CARE_READ},
    "engineer": _READS | {PAYMENTS_READ, FEED_WRITE},
}


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody (or some program) with one role; ``name`` is written on every change.

    ``scopes``, where given, narrow what the role permits.
    """

    name: str
    role: str
    scopes: frozenset[str] | None = None

    def permits(self, permission: str) -> bool:
        """Tell whether the role has ``permission``, and the scopes leave it."""
        scoped = self.scopes is None or permission in self.scopes
        return scoped and permission in ROLES.get(self.role, frozenset())

    def require(self, permission: str) -> None:
        """Raise Forbidden unless the role (and the key's scopes) permit it."""
        if permission not in ROLES.get(self.role, frozenset()):
            raise Forbidden(f"{self.name} has role {self.role!r}, which lacks {permission}")
        if self.scopes is not None and permission not in self.scopes:
            raise Forbidden(f"The key of {self.name} has no scope {permission}")


#: Who the house itself writes on changes: what nobody asked for, customers on their own pages,
#: other systems, loads of history. No key may pass for one of them.
RESERVED_NAMES = frozenset({"system", "customer", "shopify", "history"})
#: The command line's users and the carriers, whose names follow.
RESERVED_PREFIXES = ("cli:", "carrier:")


def is_reserved(name: str) -> bool:
    """Tell whether ``name`` is one that the house itself writes on changes, in any case."""
    lower = name.strip().lower()
    return lower in RESERVED_NAMES or lower.startswith(RESERVED_PREFIXES)


#: The shop itself, for what no person asked for: history loads, the worker.
SYSTEM = Actor("system", "admin")
