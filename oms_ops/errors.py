"""What can go wrong on the write path, in the terms of RFC 9457 problem details."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FieldError:
    """One bad field: where it is (``lines[2].sku``), a stable code, and a sentence for people."""

    field: str
    code: str
    message: str


class OmsError(Exception):
    """A refusal that the caller can act on; ``status`` is the HTTP status it maps to."""

    status = 400
    code = "bad_request"

    def __init__(self, message: str, errors: Sequence[FieldError] = ()) -> None:
        """Keep the sentence for people and every bad field; what is said twice counts once."""
        super().__init__(message)
        self.message = message
        self.errors = list(dict.fromkeys(errors))

    def problem(self) -> dict[str, Any]:
        """Return the problem details object (RFC 9457) for this refusal."""
        return {
            "type": f"urn:oms:problem:{self.code}",
            "title": self.code.replace("_", " "),
            "status": self.status,
            "detail": self.message,
            "errors": [asdict(error) for error in self.errors],
        }

    def __str__(self) -> str:
        """Return the sentence and the bad fields, for logs and terminals."""
        fields = "; ".join(f"{e.field}: {e.message}" for e in self.errors)
        return f"{self.message} ({fields})" if fields else self.message


class ValidationFailed(OmsError):
    """The input is wrong; every bad field is in ``errors``."""

    status = 422
    code = "validation_failed"


class NotFound(OmsError):
    """There is no such thing."""

    status = 404
    code = "not_found"


class Conflict(OmsError):
    """The thing is not in a state that allows this, or somebody else was first."""

    status = 409
    code = "conflict"


class OutOfStock(Conflict):
    """The stock asked for is not available and no backorder is allowed."""

    code = "out_of_stock"


class StaleList(Conflict):
    """The reorder list is no longer the newest truth about these lines."""

    code = "stale_reorder_list"


class KeyReused(OmsError):
    """The idempotency key was used before with another body."""

    status = 422
    code = "idempotency_key_reused"


class Unavailable(OmsError):
    """The database is away or too busy: the same request may well succeed a moment later."""

    status = 503
    code = "unavailable"


class Unauthorised(OmsError):
    """No valid API key was given."""

    status = 401
    code = "unauthorised"


class Forbidden(OmsError):
    """The actor's role does not permit this."""

    status = 403
    code = "forbidden"
