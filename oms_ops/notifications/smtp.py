"""Letters as e-mail over SMTP."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import formatdate
from urllib.parse import unquote, urlsplit

from oms_ops.notifications.letters import Letter

#: Seconds for each answer of the server.
_TIMEOUT = 20


class Smtp:
    """Sends over one connection a batch; ``url`` is ``smtp://user:password@host:port``.

    STARTTLS is used where the server offers it, ``smtps://`` speaks TLS from the start.
    """

    def __init__(self, url: str, sender: str) -> None:
        """Send from the address ``sender``."""
        self._url = urlsplit(url)
        if self._url.scheme not in ("smtp", "smtps") or not self._url.hostname:
            raise ValueError("the address of the mail server is smtp://host:port or smtps://...")
        self._sender = sender

    def send(self, letters: Sequence[tuple[str, str, Letter]]) -> dict[str, str]:
        """Send letters, each with its id and recipient; return the problem of each that failed."""
        problems: dict[str, str] = {}
        waiting = [message_id for message_id, _, _ in letters]
        try:
            with self._connected() as server:
                for message_id, recipient, letter in letters:
                    try:
                        server.send_message(self._message(message_id, recipient, letter))
                    except smtplib.SMTPServerDisconnected:
                        raise
                    except (smtplib.SMTPException, ValueError) as error:
                        problems[message_id] = _said(error)
                        server.rset()
                    waiting.remove(message_id)
        except (smtplib.SMTPException, OSError) as error:
            # What left over this connection has left; the rest waits for another one.
            problems |= dict.fromkeys(waiting, _said(error))
        return problems

    def _connected(self) -> smtplib.SMTP:
        host, context = self._url.hostname or "", ssl.create_default_context()
        server: smtplib.SMTP
        if self._url.scheme == "smtps":
            port = self._url.port or 465
            server = smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT, context=context)
        else:
            server = smtplib.SMTP(host, self._url.port or 587, timeout=_TIMEOUT)
            server.ehlo()
            if server.has_extn("starttls"):
                server.starttls(context=context)
        if self._url.username:
            server.login(unquote(self._url.username), unquote(self._url.password or ""))
        return server

    def _message(self, message_id: str, recipient: str, letter: Letter) -> EmailMessage:
        message = EmailMessage()
        message["From"] = self._sender
        message["To"] = recipient
        message["Subject"] = " ".join(letter.subject.split())
        message["Date"] = formatdate()
        message["Message-ID"] = f"<{message_id}@{self._sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        if letter.reply_to:
            message["Reply-To"] = letter.reply_to
        message.set_content(letter.text)
        for part in letter.attachments:
            kind, _, subtype = part.media_type.partition("/")
            message.add_attachment(
                part.body.encode(), maintype=kind, subtype=subtype, filename=part.name
            )
        return message


def _said(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "; ".join(f"{code} {text!r}" for code, text in error.recipients.values())
    return f"{type(error).__name__}: {error}"
