"""Those who left no e-mail address: they have a placeholder, and no message is ever sent to it.

A customer is told apart by an e-mail address, so who has none (a guest who left a phone number)
gets one of a domain that is reserved for examples (RFC 2606) and can never receive anything.
"""

from __future__ import annotations

import re

DOMAIN = "no-email.example.com"
_LONGEST = 60


def address(who: str) -> str:
    """Return the placeholder of somebody: the same text gives the same address."""
    return f"{re.sub(r'[^a-z0-9-]', '-', who.lower())[:_LONGEST]}@{DOMAIN}"


def is_nobody(recipient: str) -> bool:
    """Tell whether an address is a placeholder."""
    return recipient.lower().endswith(f"@{DOMAIN}")
