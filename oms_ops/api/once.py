"""A request about money is done once under its Idempotency-Key, and finished after its commit.

The key is claimed in the transaction that does the work (:mod:`oms_ops.orders.idempotency`). What
follows the commit, asking gateways say, may improve the answer, for the repeats too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import Header
from sqlalchemy.engine import Connection, Engine

from oms_ops.access.actor import Actor
from oms_ops.api import parts
from oms_ops.database import run
from oms_ops.orders import idempotency

IdempotencyKey = Annotated[parts.IdempotencyKey | None, Header()]

Answer = dict[str, Any]


def once(
    engine: Engine,
    actor: Actor,
    key: str | None,
    request: tuple[str, Mapping[str, Any]],
    work: Callable[[Connection], Answer],
    *,
    finish: Callable[[Answer], Answer] | None = None,
    kept: Callable[[Answer], Answer] | None = None,
) -> Answer:
    """Do ``work`` in a transaction and return its answer, or the first answer of the same key.

    ``request`` is what was asked: the route with its path, and the body. ``finish`` is what follows
    the commit and may improve the answer. ``kept`` returns the answer as it is remembered: without
    what is told only once.

    Raises:
        KeyReused: the key came before with another request.
    """

    def claimed(connection: Connection) -> tuple[bool, Answer]:
        is_new = False

        def first() -> Answer:
            nonlocal is_new
            is_new = True
            return work(connection)

        answer = idempotency.once(connection, actor, key, request, first, kept=kept)
        return is_new, answer

    is_new, answer = run(engine, claimed)
    if not is_new or finish is None:
        return answer
    answer = finish(answer)
    if key is not None:
        remembered = kept(answer) if kept else answer
        run(engine, lambda connection: idempotency.keep(connection, actor, key, remembered))
    return answer
