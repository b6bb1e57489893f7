"""When the lake's past was made anew: whoever built something from it has to build it again.

The number of it is a part of what a snapshot is made from. It is raised before the first file is
touched, so that a crash half way leaves one rebuild too many rather than one too few.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from oms_ops import clock
from pipelines.lib.files import replace_text
from pipelines.lib.lake import PAST

if TYPE_CHECKING:
    from pipelines.lib.objects import Objects


def number(folder: Path) -> int:
    """Return how many times the past of the lake in ``folder`` was made anew."""
    return len(_times(folder))


def renew(folder: Path, reason: str, remote: Objects | None = None) -> None:
    """Note that the past is about to be made anew, when, and why."""
    times = [*_times(folder), {"at": clock.now().isoformat(), "reason": reason}]
    replace_text(folder / PAST, json.dumps(times, indent=1))
    if remote is not None:
        remote.put(folder / PAST, PAST)


def _times(folder: Path) -> list[dict[str, str]]:
    path = folder / PAST
    found: list[dict[str, str]] = json.loads(path.read_text("utf-8")) if path.exists() else []
    return found
