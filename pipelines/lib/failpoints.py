"""Named places where a test may kill the process, to prove that what follows a crash is right.

Nothing happens unless ``OMS_FAILPOINT`` names the place. Then the process gets SIGKILL: no handler,
no clean-up, no flush, as in a power cut or when memory runs out.
"""

from __future__ import annotations

import os
import signal


def reach(name: str) -> None:
    """Die here when the environment says so."""
    if os.environ.get("OMS_FAILPOINT") == name:
        os.kill(os.getpid(), signal.SIGKILL)
