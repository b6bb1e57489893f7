"""No more of a body is read than any request needs: a large one would keep a worker busy."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Bytes of a body. What takes larger ones reads them in parts, and has its own limit.
LARGEST = 8_000_000
_OWN_LIMIT = ("/v1/imports/", "/v1/webhooks/", "/track/")


class LimitedBodies:
    """Refuses requests whose bodies are too large with 413, before they are read whole."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before ``app``."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http" or scope["path"].startswith(_OWN_LIMIT):
            await self.app(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > LARGEST:
                raise HTTPException(413, f"The body has more than {LARGEST} bytes.")
            return message

        await self.app(scope, counted, send)
