"""What sqlfluff needs to render the models without dbt and without a database.

A macro that is dispatched by engine renders as a plain call of its own name. What remains of a
model is then what it says itself, and has to parse as standard SQL.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

#: dbt's mark of the second rendering, the one that may ask the database.
execute = False
target = SimpleNamespace(name="lint", database="warehouse", schema="main", type="lint")
flags = SimpleNamespace(FULL_REFRESH=False)


def env_var(name: str, default: str = "") -> str:
    """Return the default, or the name: a lint does not depend on whose machine it runs on."""
    return default or name


def run_query(sql: str) -> None:
    """Refuse: nothing asks the database while ``execute`` is false."""
    raise RuntimeError(f"a lint asks no database: {sql}")


class Adapter:
    """Stands for dbt's adapter."""

    #: Macros that stand where a whole query does.
    QUERIES = ("days_from_to",)

    def dispatch(self, name: str, namespace: str | None = None) -> Callable[..., str]:
        """Return a macro that renders as ``name(arguments)``."""

        def call(*arguments: object) -> str:
            written = f"{name}({', '.join(str(argument) for argument in arguments)})"
            return " ".join(("select day from", written)) if name in self.QUERIES else written

        return call

    def get_relation(self, *_names: str) -> None:
        """Say that no table is there yet."""


adapter = Adapter()
