"""Of dbt's events those that no log has cost nothing, and none is lost to a log that has it."""

from __future__ import annotations

from io import StringIO

import pytest
from dbt_common.events.base_types import EventLevel
from dbt_common.events.event_manager import EventManager
from dbt_common.events.logger import LoggerConfig
from dbt_common.events.types import Note

from pipelines.lib import dbt


@pytest.mark.parametrize("level", [EventLevel.INFO, EventLevel.DEBUG])
def test_details_are_said_where_a_log_has_them(level: EventLevel) -> None:
    manager, log, seen = EventManager(), StringIO(), []
    manager.add_logger(LoggerConfig(name="a log", level=level, output_stream=log))
    manager.add_callback(lambda message: seen.append(message.info.msg))
    with dbt._details_unsaid():
        manager.fire_event(Note(msg="a detail"), level=EventLevel.DEBUG)
        manager.fire_event(Note(msg="a finding"), level=EventLevel.WARN)
    details = ["a detail"] if level == EventLevel.DEBUG else []
    assert seen == [*details, "a finding"]
    assert ("a detail" in log.getvalue()) == bool(details)
    assert "a finding" in log.getvalue()
    manager.fire_event(Note(msg="afterwards"), level=EventLevel.DEBUG)
    assert seen[-1] == "afterwards"
