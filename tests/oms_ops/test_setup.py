"""The schema that migrations make is the one the code declares; commands can be run again."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.engine import Engine
from typer.testing import CliRunner

from oms_ops.access import keys
from oms_ops.cli import app
from oms_ops.database import make_engine, reading, run
from oms_ops.errors import ValidationFailed
from oms_ops.schema import metadata
from oms_ops.settings import settings
from oms_ops.setup import init


def test_the_migrations_make_the_declared_schema(database: Engine) -> None:
    with database.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    # Made with the feed's triggers: each database writes them in its own way.
    made = ("ix_change_log_cursor", "ix_change_log_lost")
    differences = [d for d in differences if not any(name in str(d) for name in made)]
    assert differences == []


def test_init_can_be_run_again(database: Engine) -> None:
    init(database)
    init(database)


def test_doctor_finds_a_sound_installation_and_a_broken_one(tmp_path: Path) -> None:
    runner = CliRunner()
    nothing = runner.invoke(app, ["doctor"])
    assert (nothing.exit_code, (settings().home / "oms.db").exists()) == (1, False)
    assert runner.invoke(app, ["init"]).exit_code == 0
    sound = runner.invoke(app, ["doctor"])
    assert sound.exit_code == 0, sound.output
    engine = make_engine(settings().url)
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP TRIGGER oms_feed_orders_insert")
        connection.exec_driver_sql("DROP TRIGGER oms_feed_orders_update")
        connection.exec_driver_sql("DROP TRIGGER oms_feed_orders_delete")
    broken = runner.invoke(app, ["doctor"])
    assert broken.exit_code == 1
    assert "no trigger on orders" in broken.output


def test_a_key_is_printed_once_and_its_name_taken(tmp_path: Path) -> None:
    runner = CliRunner()
    runner.invoke(app, ["init"])
    made = runner.invoke(app, ["key", "create", "--role", "clerk", "--name", "carla"])
    assert made.output.startswith("oms_")
    again = runner.invoke(app, ["key", "create", "--role", "clerk", "--name", "carla"])
    assert again.exit_code != 0


@pytest.mark.parametrize("name", ["", "  ", "/drafts", "a\nb", "n" * 101, "\0"])
def test_a_keys_name_can_be_read(database: Engine, name: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        run(database, lambda connection: keys.create(connection, "clerk", name))
    assert [error.field for error in refusal.value.errors] == ["name"]
    run(database, lambda connection: keys.create(connection, "clerk", " Carla's till "))
    with reading(database) as connection:
        assert [key["name"] for key in keys.listing(connection)] == ["Carla's till"]


def test_sqlite_in_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="file"):
        make_engine("sqlite://")
