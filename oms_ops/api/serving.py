"""The application as a server process runs it: the interpreter tuned for many short requests."""

from __future__ import annotations

import gc
import sys

from fastapi import FastAPI

from oms_ops.api.app import create_app

#: Seconds that a thread may compute before others have their turn. A request computes for one or
#: two milliseconds: at the interpreter's five, whoever holds the database's lock waits for them.
_TURN = 0.001
#: New objects between two collections: a request leaves some thousands, none in cycles.
_NEW_OBJECTS = 20_000


def application() -> FastAPI:
    """Return the application over the configured database; the process belongs to it."""
    application = create_app()
    sys.setswitchinterval(_TURN)
    # What was imported stays for ever: it is not to be looked through again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
    return application
