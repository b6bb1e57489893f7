"""Whether PayPal sent a message: its signature, checked here without asking PayPal."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from oms_ops.errors import NotFound, Unauthorised
from oms_ops.payments.gateways.interface import NotNow
from oms_ops.payments.gateways.paypal_client import PayPalSettings

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

#: PayPal repeats a message for three days. A message that is played again within them is stopped
#: by its id, which the inbox knows.
OLDEST = timedelta(days=3)
#: How far PayPal's clock may be before ours.
AHEAD = timedelta(minutes=5)
ALGORITHM = "SHA256withRSA"
#: Where PayPal publishes its certificates. The whole text must match: with no room for a user, a
#: port, a query or a second host, no two parsers can read two hosts in it.
PUBLISHED = re.compile(
    r"https://(?:[a-z0-9-]+\.)+paypal\.com/v1/notifications/certs/[A-Za-z0-9_-]+", re.ASCII
)
ELSEWHERE = re.compile(r"/v1/notifications/certs/[A-Za-z0-9_-]+", re.ASCII)
#: Certificates remembered; PayPal uses one at a time and changes it about once a year.
REMEMBERED = 8
#: Bytes; a certificate with its issuers has about 6,000.
LARGEST = 65_536


class Signature:
    """Checks messages against the certificates that PayPal publishes.

    Checked: the algorithm, the age, that the certificate comes by https from a host of PayPal's
    below its path of certificates, that it is in force at the moment asked for, that its key is
    RSA of 2048 bits or more, and the signature over the transmission's id and time, our webhook's
    id and the CRC-32 of the body.

    Not checked: the certificate's own chain of issuers and its revocation. What vouches for it is
    the TLS connection to PayPal's host; who could serve a file below that path of that host could
    also serve PayPal's answers.
    """

    def __init__(self, settings: PayPalSettings) -> None:
        """Keep the settings; certificates are fetched when first named and then remembered."""
        self._settings = settings
        # A failure is not remembered: the next message tries again.
        self._certificate: Callable[[str], Certificate] = lru_cache(REMEMBERED)(self._fetched)

    def check(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """Return if PayPal signed ``body``.

        Raises:
            Unauthorised: it did not, or too long ago.
            NotNow: the certificate cannot be fetched.
            NotFound: our webhook's id is not set.
        """
        if not self._settings.webhook_id:
            raise NotFound("OMS_PAYPAL_WEBHOOK_ID is not set: messages cannot be checked.")
        transmission, sent, signature = (
            headers.get(f"paypal-transmission-{name}", "") for name in ("id", "time", "sig")
        )
        # What costs nothing comes first: nobody should make us fetch for a message of last year.
        if not transmission or headers.get("paypal-auth-algo") != ALGORITHM:
            raise Unauthorised("The message is not signed as PayPal signs.")
        _check_age(sent, now)
        url = headers.get("paypal-cert-url", "")
        if not self._may_fetch(url):
            raise Unauthorised("The message names a certificate that is not PayPal's.")
        # zlib's CRC-32 is unsigned, as PayPal's is; it stands there as a decimal number.
        signed = f"{transmission}|{sent}|{self._settings.webhook_id}|{zlib.crc32(body)}"
        _check_signature(self._certificate(url), signed.encode(), signature, now)

    def _may_fetch(self, url: str) -> bool:
        settings = self._settings
        if settings.environment == "production":
            # What the sandbox signs moves no money.
            return bool(PUBLISHED.fullmatch(url)) and ".sandbox." not in url
        base = settings.base_url.rstrip("/")
        if base and url.startswith(base):
            return bool(ELSEWHERE.fullmatch(url[len(base) :]))
        return bool(PUBLISHED.fullmatch(url))

    def _fetched(self, url: str) -> Certificate:
        from cryptography import x509

        host = urlsplit(url).hostname
        try:
            # A redirect would leave the host that was checked.
            answer = httpx.get(url, timeout=self._settings.timeout_seconds, follow_redirects=False)
        except httpx.HTTPError as error:
            reason = type(error).__name__
            raise NotNow(f"{host} does not give the certificate ({reason}).") from None
        if answer.status_code != 200 or len(answer.content) > LARGEST:
            raise NotNow(f"{host} does not give the certificate ({answer.status_code}).")
        try:
            return x509.load_pem_x509_certificate(answer.content)
        except ValueError:
            raise NotNow(f"What {host} gives is no certificate.") from None


def _check_age(sent: str, now: datetime) -> None:
    try:
        age = now - datetime.fromisoformat(sent)
    except (ValueError, TypeError):  # no moment, or one without a zone
        raise Unauthorised("The message does not say when it was sent.") from None
    if age > OLDEST or age < -AHEAD:
        raise Unauthorised("The message was sent too long ago, or is ahead of time.")


def _check_signature(
    certificate: Certificate, signed: bytes, signature: str, now: datetime
) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise Unauthorised("The certificate of the message is not in force.")
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < 2048:
        raise Unauthorised("The certificate of the message is not of the kind that PayPal uses.")
    try:
        given = base64.b64decode(signature, validate=True)
        key.verify(given, signed, padding.PKCS1v15(), hashes.SHA256())
    except (ValueError, InvalidSignature):
        raise Unauthorised("The message is not signed by PayPal.") from None
