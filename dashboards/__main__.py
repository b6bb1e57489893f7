"""Serve the dashboards: ``python -m dashboards``, with the options of ``streamlit run``."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Serve until the process is ended."""
    # Before there are sessions: while PyArrow makes its MapScalar, a list is a Mapping to whoever
    # asks in another thread, and Python keeps that answer.
    import pyarrow as pa  # noqa: F401
    from streamlit.web import cli

    app = str(Path(__file__).with_name("app.py"))
    sys.argv = ["streamlit", "run", app, *sys.argv[1:]]
    cli.main()


if __name__ == "__main__":
    main()
