"""Small HTTP servers: one that a gateway's webhooks go to, one that answers as a script says."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Asked:
    """A request that came in; ``headers`` by names in small letters, ``form`` the body's fields."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return _fields(self.body.decode())


@dataclass
class Answer:
    """What is answered; ``slow`` seconds later; not at all when ``cut``."""

    status: int = 200
    body: Any = None
    slow: float = 0
    cut: bool = False


@dataclass
class Server:
    """What was asked so far, and where."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    arrived: queue.Queue[Asked] = field(default_factory=queue.Queue)


def _fields(text: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(text, keep_blank_values=True).items()}


@contextmanager
def serving(answer: Callable[[Asked], Answer]) -> Iterator[Server]:
    """Serve on a free port of 127.0.0.1; ``answer`` is called for each request."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            asked = Asked(
                self.command,
                parts.path,
                _fields(parts.query),
                {name.lower(): value for name, value in self.headers.items()},
                self.rfile.read(length),
            )
            server.asked.append(asked)
            given = answer(asked)
            server.arrived.put(asked)
            time.sleep(given.slow)
            if given.cut:
                self.close_connection = True
                return
            text = given.body if isinstance(given.body, str) else json.dumps(given.body)
            try:
                self.send_response(given.status)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())
            except OSError:  # the other side had no patience
                self.close_connection = True

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Server(f"http://127.0.0.1:{httpd.server_address[1]}")
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()
