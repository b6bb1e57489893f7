"""A server in PayPal's place, on this machine, and what it cannot show.

It speaks the published API and keeps books, but it was written from the same reference as the
adapter: a misreading of ours would be in both. What only PayPal (or its sandbox) can show:

- that the real service lists ``invoice_id`` with authorisations, captures and refunds in an order,
  how long it shows an order at all, and how soon after an act;
- what it does with one PayPal-Request-Id and two bodies (here: refused; its guide does not say),
  with two such requests at once, and after the 45 days or six hours;
- that a shop's account refuses a repeated ``invoice_id`` (it is a setting of the account), captures
  up to 115 % of an authorisation, honour periods, review and risk decisions, currency conversion;
- the customer's page, its button, and 3-D Secure behind it; real TLS and PayPal's own certificate;
- which webhooks come in which order, and their exact bodies: those here are cut down to what the
  reference names.
"""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
import zlib
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from tests.oms_ops.payments.paypal_books import Books, Json, Refusal

CLIENT, SECRET, WEBHOOK = "shop-client", "hush-hush-secret", "8PT597110X687430LKGECATA"
CERTIFICATE = "/v1/notifications/certs/CERT-360caa42-fca2a594-1d93a270"
NOW = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
Fault = Literal["500", "401", "429", "cut", "slow", "garbled", "empty"]


class PayPalServer:
    """The server; ``with PayPalServer() as server`` runs it."""

    def __init__(self) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.daemon_threads = True
        self._http.paypal = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.books = Books(self.url)
        self.lock = threading.Lock()
        #: Every request that moved or could move something: method and path.
        self.requests: list[tuple[str, str]] = []
        self.tokens = 0
        #: request id and path -> body and answer, as PayPal keeps them.
        self.answered: dict[tuple[str, str], tuple[Json, int, Json]] = {}
        self._faults: list[tuple[str, Fault]] = []
        self.slow_seconds = 1.0
        self.key, self.pem = certificate(NOW - timedelta(days=30), NOW + timedelta(days=300))
        #: What the path of certificates gives in place of the certificate.
        self.certificate_status = 200

    def __enter__(self) -> PayPalServer:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def fail(self, fault: Fault, on: str = "") -> None:
        """Let the next request whose path holds ``on`` fail; "cut" and "slow" do it first."""
        self._faults.append((on, fault))

    def fault_of(self, path: str) -> Fault | None:
        for place, (on, fault) in enumerate(self._faults):
            if on in path:
                del self._faults[place]
                return fault
        return None

    def forget_requests(self) -> None:
        """Do as if the days for which PayPal keeps request ids were over."""
        self.answered.clear()

    def posts(self, part: str) -> int:
        return sum(method == "POST" and part in path for method, path in self.requests)

    def answer(self, method: str, path: str, request_id: str | None, body: Json) -> Any:
        """Return status and document; the same request id gets its first answer again."""
        if request_id is None or method != "POST":
            return self._do(method, path, body)
        known = self.answered.get((request_id, path))
        if known is not None:
            if known[0] != body:
                raise Refusal(422, "DUPLICATE_REQUEST_ID")
            return 200, known[2]
        status, document = self._do(method, path, body)
        self.answered[request_id, path] = (body, status, document)
        return status, document

    def _do(self, method: str, path: str, body: Any) -> tuple[int, Json]:
        books = self.books
        match [method, *path.strip("/").split("/")[1:]]:
            case ["POST", "checkout", "orders"]:
                return 201, books.create(body)
            case ["GET", "checkout", "orders", key]:
                return 200, books.order(key)
            case ["PATCH", "checkout", "orders", key]:
                books.patch(key, body)
                return 204, {}
            case ["POST", "checkout", "orders", key, "authorize"]:
                return 201, books.authorise(key)
            case ["GET", "payments", "authorizations", key]:
                return 200, books.authorisation(key)
            case ["POST", "payments", "authorizations", key, "capture"]:
                return 201, books.capture(key, body)
            case ["POST", "payments", "authorizations", key, "void"]:
                return 200, books.void(key)
            case ["GET", "payments", "captures", key]:
                return 200, books.captured(key)
            case ["POST", "payments", "captures", key, "refund"]:
                return 201, books.refund(key, body)
        raise Refusal(404, "RESOURCE_NOT_FOUND")

    def signed(
        self, body: bytes, sent: datetime = NOW, *, key: rsa.RSAPrivateKey | None = None
    ) -> dict[str, str]:
        """Return the headers that PayPal sends with ``body``."""
        moment = sent.isoformat().replace("+00:00", "Z")
        text = f"69cd13f0-d67a-11e5-baa3|{moment}|{WEBHOOK}|{zlib.crc32(body) & 0xFFFFFFFF}"
        signature = (key or self.key).sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return {
            "paypal-transmission-id": "69cd13f0-d67a-11e5-baa3",
            "paypal-transmission-time": moment,
            "paypal-transmission-sig": base64.b64encode(signature).decode(),
            "paypal-cert-url": self.url + CERTIFICATE,
            "paypal-auth-algo": "SHA256withRSA",
        }


@cache
def certificate(
    begin: datetime, end: datetime, bits: int = 2048
) -> tuple[rsa.RSAPrivateKey, bytes]:
    """Return a key and its self-made certificate."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "messageverificationcerts.test")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    made = builder.not_valid_before(begin).not_valid_after(end).sign(key, hashes.SHA256())
    return key, made.public_bytes(serialization.Encoding.PEM)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PATCH(self) -> None:
        self._serve("PATCH")

    def _serve(self, method: str) -> None:
        server: PayPalServer = self.server.paypal  # type: ignore[attr-defined]
        path = urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        document: bytes | Json
        with server.lock:
            fault = server.fault_of(path)
            if fault in ("500", "401", "429"):
                return self._send(int(fault), _error(int(fault), "TOLD_TO_FAIL"))
            if path == CERTIFICATE:
                server.requests.append((method, path))
                status, document = server.certificate_status, server.pem
            elif path == "/v1/oauth2/token":
                status, document = self._token(server)
            elif self.headers.get("Authorization") != f"Bearer token-{server.tokens}":
                status, document = 401, _error(401, "INVALID_TOKEN")
            else:
                server.requests.append((method, path))
                request_id = self.headers.get("PayPal-Request-Id")
                try:
                    asked = json.loads(body) if body else {}
                    status, document = server.answer(method, path, request_id, asked)
                except Refusal as refusal:
                    status, document = refusal.status, _error(refusal.status, refusal.issue)
            if not isinstance(document, bytes):  # written down before another request changes it
                document = b"" if status == 204 else json.dumps(document).encode()
        if fault == "cut":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return None
        if fault == "slow":
            time.sleep(server.slow_seconds)
        lost = {"garbled": b"<html>", "empty": b"{}"}
        return self._send(status, lost.get(fault or "", document))

    def _token(self, server: PayPalServer) -> tuple[int, Json]:
        known = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {known}":
            return 401, {"error": "invalid_client", "error_description": "Authentication failed"}
        server.tokens += 1
        token = f"token-{server.tokens}"
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": 32400}

    def _send(self, status: int, document: bytes | Json) -> None:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:  # whoever asked waits no more
            self.close_connection = True


def _error(status: int, issue: str) -> Json:
    name = {404: "RESOURCE_NOT_FOUND", 422: "UNPROCESSABLE_ENTITY"}.get(status, issue)
    details = [{"issue": issue, "description": f"It is {issue.lower().replace('_', ' ')}."}]
    return {"name": name, "message": "No.", "debug_id": "b1d1f06c7246c", "details": details}
