"""What every stage's assets say of themselves in the same way."""

from __future__ import annotations

#: All writers of the lake and the warehouse queue up here; the instance gives it one slot.
POOL = "warehouse"

#: Who answers for the stages; Dagster shows it on every asset.
OWNERS = ["team:data"]

#: Run tag that rebuilds the warehouse from the lake alone.
FULL_REFRESH = "oms/full_refresh"

#: The job that makes everything.
JOB = "refresh"

#: A day of the shop as files; the one asset that has partitions.
DAILY_CLOSE = ("published", "daily_close")

#: Run tag: who asked for the run, ``schedule`` or ``command line``.
ASKED_BY = "oms/asked_by"

#: Run tag: the version of everything that a snapshot is made with.
CODE = "oms/code"
