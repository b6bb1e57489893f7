"""Settings from the environment (prefix ``OMS_``): where state lives and how the shop runs."""

from __future__ import annotations

import os
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """One value per environment variable; ``OMS_HOME`` is the root of all state."""

    model_config = SettingsConfigDict(env_prefix="OMS_", extra="ignore")

    home: Path = Path("var")
    database_url: str = Field(default="", repr=False)
    timezone: str = "America/New_York"
    currency: str = "USD"
    #: The first day that the shop can close for its books.
    first_day: date = date(2020, 1, 1)
    public_url: str = "http://127.0.0.1:8000"
    reorder_max_age_hours: int = 36
    #: Where the lake is: a folder, or ``s3://bucket/folder``; below ``OMS_HOME`` if not said.
    lake_url: str = Field(default="", validation_alias="OMS_LAKE")
    #: Days that superseded states stay in the lake, and changes in the log; 0: for ever.
    lake_keep_days: int = Field(default=0, ge=0)
    feed_keep_days: int = Field(default=0, ge=0)
    #: The drop folders of carriers, one by one; below ``OMS_HOME`` if not said.
    carriers_folder: Path | None = None
    #: Where others drop files to import, in a folder a kind; below ``OMS_HOME`` if not said.
    drop_folder: Path | None = None
    #: Signs Shopify's webhooks; two, separated by a comma, while a new one replaces the old.
    shopify_secret: str = Field(default="", repr=False)

    #: Whoever gives the command line's commands; without, the local administrator does.
    api_key: str = Field(default="", repr=False)
    #: ``smtp://user:password@host:587`` (STARTTLS where it is offered) or ``smtps://``; without, no
    #: message leaves.
    smtp_url: str = Field(default="", repr=False)
    mail_from: str = "shop@localhost"

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        ZoneInfo(value)
        return value

    @property
    def url(self) -> str:
        """The operational database: ``OMS_DATABASE_URL``, or SQLite below ``OMS_HOME``."""
        return self.database_url or f"sqlite:///{self.home / 'oms.db'}"

    @property
    def zone(self) -> ZoneInfo:
        """The shop's time zone: its days are the days of every report."""
        return ZoneInfo(self.timezone)

    @property
    def carriers(self) -> Path:
        """The folder that holds the drop folder of each carrier."""
        return self.carriers_folder or self.home / "carriers"

    @property
    def dropped(self) -> Path:
        """The folder in which others drop files to import."""
        return self.drop_folder or self.home / "dropped"

    @property
    def lake(self) -> Path:
        """The folder of landed Parquet files; the copy of them where an object store has them."""
        if self.lake_url and not self.lake_store:
            return Path(self.lake_url).expanduser().resolve()
        return self.home / "lake"

    @property
    def lake_store(self) -> str:
        """The URL of the object store that has the lake; empty where it is a folder."""
        return self.lake_url if self.lake_url.startswith("s3://") else ""

    @property
    def warehouse(self) -> Path:
        """The DuckDB file that the pipeline writes."""
        return self.home / "warehouse" / "warehouse.duckdb"

    @property
    def published(self) -> Path:
        """The folder of published snapshots; ``current.duckdb`` in it is the newest good one."""
        return self.home / "published"


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the settings of this process, read once.

    What the environment does not say may be in files of the folder ``OMS_SECRETS_DIR``, each named
    as its variable in small letters.
    """
    return Settings(**secrets_folder())


def secrets_folder() -> dict[str, Any]:
    """Return Pydantic's own parameter for the folder of secrets; type checkers do not know it."""
    return {"_secrets_dir": os.environ.get("OMS_SECRETS_DIR") or None}
