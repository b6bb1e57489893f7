"""A run finds nothing to do only when nothing is different that a figure depends on."""

from __future__ import annotations

import pytest

from oms_ops.settings import settings
from pipelines.lib.status import SOURCES, code_version


@pytest.mark.parametrize(
    ("name", "value"), [("OMS_TIMEZONE", "Europe/Berlin"), ("OMS_CURRENCY", "EUR")]
)
def test_other_days_and_another_currency_are_another_basis(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    before = code_version(*SOURCES)
    assert code_version(*SOURCES) == before
    monkeypatch.setenv(name, value)
    settings.cache_clear()
    assert code_version(*SOURCES) != before
