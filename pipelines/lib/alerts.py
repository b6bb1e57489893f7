"""Tells people of a run that failed or warned, by e-mail, when the shop has said where to.

``OMS_ALERT_SMTP`` is a URL: ``smtp://user:password@host:587?from=pipeline@shop&to=ops@shop`` with
STARTTLS where the server offers it, or ``smtps://...`` for TLS from the first byte. Several
receivers are several ``to``. Without it nothing is sent.
"""

from __future__ import annotations

import logging
import os
import smtplib
import ssl
from email.message import EmailMessage
from urllib.parse import parse_qs, unquote, urlsplit


def send(subject: str, body: str) -> bool:
    """Send an alert; return False when no address is configured.

    Raises:
        OSError, smtplib.SMTPException: the server could not be reached or refused.
        ValueError: the URL lacks a host, ``from`` or ``to``.
    """
    url = os.environ.get("OMS_ALERT_SMTP")
    if not url:
        return False
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    if not parts.hostname or not query.get("from") or not query.get("to"):
        raise ValueError("OMS_ALERT_SMTP needs a host, from= and to=")
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = query["from"][0]
    message["To"] = ", ".join(query["to"])
    message.set_content(body)
    tls = ssl.create_default_context()
    server: smtplib.SMTP
    if parts.scheme == "smtps":
        server = smtplib.SMTP_SSL(parts.hostname, parts.port or 465, timeout=15, context=tls)
    else:
        server = smtplib.SMTP(parts.hostname, parts.port or 25, timeout=15)
    with server:
        if parts.scheme == "smtp" and server.has_extn("starttls"):
            server.starttls(context=tls)
        if parts.username:
            server.login(unquote(parts.username), unquote(parts.password or ""))
        server.send_message(message)
    return True


def tell(log: logging.Logger, subject: str, body: str) -> None:
    """Send an alert; a mail server that is down must not hide what it is about, nor fail a run."""
    try:
        send(subject, body)
    except (OSError, ValueError, smtplib.SMTPException) as error:
        log.warning(f"The alert could not be sent: {error}")
