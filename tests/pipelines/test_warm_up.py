"""What is imported beside the landing must not change what the landing's objects are."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: A class of two abstract ones answers for the first of them until it has a cache of its own: a
#: class below Sequence and Mapping has Mapping say, and remember, that a list is one. So the test
#: asks at that moment of every class that the background makes.
_PROBE = """
import abc, collections.abc, threading
from pipelines.lib import expectations

class Unrelated(abc.ABC): ...

def answers():
    Unrelated.register(type("New", (), {}))  # has every "no" looked at again
    return {
        (type(value).__name__, kind): isinstance(value, getattr(collections.abc, kind))
        for value in ([], (), "", b"", {}, set(), 1, None)
        for kind in collections.abc.__all__
    }

def probe(made):
    if threading.current_thread() is not threading.main_thread():
        asked.append(made)
        for what in (now := answers()):
            if now[what] != before[what]:
                print(made.__name__, what)
                getattr(collections.abc, what[1])._abc_caches_clear()
    return finish(made)

before, asked, finish = answers(), [], abc._abc_init
abc._abc_init = probe
expectations.warm_up()
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join()
assert asked
"""


@pytest.mark.slow
def test_no_list_becomes_a_mapping_while_the_background_imports() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
