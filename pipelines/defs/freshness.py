"""How old an asset may be before Dagster says so.

A run that finds nothing new makes nothing, so an asset is as old as the last change. A shop sells
every day, and a day without anything new is worth a look; hours say little.
"""

from datetime import timedelta

import dagster as dg

DAILY = dg.FreshnessPolicy.time_window(
    fail_window=timedelta(hours=26), warn_window=timedelta(hours=12)
)
