"""Processes that the tests start, and that begin with nothing but what they are given."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
from collections.abc import Iterator
from types import ModuleType

forked = multiprocessing.get_context("forkserver")


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Start processes that do not run the main module again.

    A page that was tested before leaves itself as the main module of the tests' process, and
    would be drawn in each child, with the settings of a shop that is not the child's.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
