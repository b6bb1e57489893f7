"""Whether proofs take their long form: ``make proofs`` asks for it, ``make test`` does not."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

#: Read by another name than the shop's settings, which the tests are kept from.
LONG = os.environ.get("PROOFS") == "long"


def only_at_length(test: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a test that has no short form: it takes minutes, and parts of it are tested alone."""
    marked: Callable[..., Any] = pytest.mark.proof(
        pytest.mark.skipif(not LONG, reason="takes long: make proofs")(test)
    )
    return marked
