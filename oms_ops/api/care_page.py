"""What a customer's order page shows of her tickets, and the forms with which she asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from sqlalchemy.engine import Connection

from oms_ops.care import feedback, queries
from oms_ops.database import execute
from oms_ops.rules import store

_ASK = """<h2>Ask for help</h2><form method="post" action="{action}">
<p><label>It is about <select name="topic">{topics}</select></label></p>
<p><label>In short<br><input name="subject" size="40" maxlength="200" required></label></p>
<p><label>Your question<br><textarea name="message" rows="4" cols="40" maxlength="5000" required>
</textarea></label></p><p><button>Ask</button></p></form>"""

_WRITE = """<form method="post" action="{action}/replies"><p><label>Write to us<br>
<textarea name="message" rows="3" cols="40" maxlength="5000" required></textarea></label></p>
<p><button>Send</button></p></form>"""

_RATE = """<form method="post" action="{action}/rating"><p>How did we do?
<select name="rating" required aria-label="How did we do, 5 is best">{ratings}</select>
<button>Rate</button></p></form>"""

_OPINION = """<h2>Would you recommend us?</h2><form method="post" action="{action}">
<p><label>From 0, not at all, to 10 <select name="score" required>{scores}</select></label></p>
<p><label>Why<br><textarea name="comment" rows="3" cols="40" maxlength="2000">{comment}</textarea>
</label></p><p><button>Say so</button></p></form>"""

#: What a topic is called on the page.
_TOPICS = {
    "delivery": "the delivery",
    "return": "sending something back",
    "payment": "the payment",
    "product": "a product",
    "account": "my details",
    "other": "something else",
}
#: What a ticket's status is to a customer.
_STATES = {
    "new": "we look at it",
    "open": "we are on it",
    "waiting": "we wait to hear from you",
    "solved": "solved",
    "closed": "closed",
}


def of_order(connection: Connection, token: str, order_id: int) -> str:
    """Return the part of the page about what the customer asked and thinks."""
    page = f"/track/{escape(token)}"
    tickets = [_ticket(page, each) for each in queries.of_order(connection, order_id)]
    shown = f"<h2>Your questions</h2>{''.join(tickets)}" if tickets else ""
    return shown + _ask(connection, page) + _opinion(connection, page, order_id)


def _ticket(page: str, ticket: Mapping[str, Any]) -> str:
    action = f"{page}/tickets/{escape(ticket['number'])}"
    messages = "".join(map(_message, ticket["messages"]))
    write = "" if ticket["status"] == "closed" else _WRITE.format(action=action)
    rate = ""
    if ticket["status"] in ("solved", "closed"):
        ratings = _options(range(5, 0, -1), ticket["rating"])
        rate = _RATE.format(action=action, ratings=ratings)
    return (
        f"<h3>{escape(ticket['number'])}: {escape(ticket['subject'])}</h3>"
        f'<p class="s">{_STATES[ticket["status"]]}</p>{messages}{write}{rate}'
    )


def _message(message: Mapping[str, Any]) -> str:
    who = "You" if message["author"] == "customer" else "We"
    body = escape(message["body"]).replace("\n", "<br>")
    return f"<p>{who}, {escape(message['sent_at'][:10])}:<br>{body}</p>"


def _ask(connection: Connection, page: str) -> str:
    if not store.current(connection).rules.care.online:
        return ""
    topics = "".join(f'<option value="{k}">{escape(text)}</option>' for k, text in _TOPICS.items())
    return _ASK.format(action=f"{page}/tickets", topics=topics)


def _opinion(connection: Connection, page: str, order_id: int) -> str:
    came = execute(
        connection,
        "SELECT 1 FROM shipments WHERE order_id = :id AND delivered_at IS NOT NULL LIMIT 1",
        {"id": order_id},
    ).fetchone()
    if came is None:
        return ""
    given = feedback.of_order(connection, order_id)
    return _OPINION.format(
        action=f"{page}/feedback",
        scores=_options(range(10, -1, -1), given["score"] if given else None),
        comment=escape((given["comment"] or "") if given else ""),
    )


def _options(values: Sequence[int], chosen: int | None) -> str:
    # Nothing is chosen for her: a form that is sent without a look would be the best of ratings.
    unset = '<option value="">choose</option>' if chosen is None else ""
    return unset + "".join(
        f'<option value="{value}"{" selected" if value == chosen else ""}>{value}</option>'
        for value in values
    )
