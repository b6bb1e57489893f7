"""Whether proofs take their long form: ``make proofs`` asks for it, ``make test`` does not."""

from __future__ import annotations

import os

#: Read by another name than the shop's settings, which the tests are kept from.
LONG = os.environ.get("PROOFS") == "long"
