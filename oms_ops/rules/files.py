"""Reads rules from files that people edit."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from oms_ops.errors import FieldError, ValidationFailed


def read(path: Path) -> Any:
    """Return the document in a ``.toml`` or JSON file.

    Raises:
        ValidationFailed: the file is not there, or is neither.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise ValidationFailed(
            "The rules cannot be read.", [FieldError(str(path), "unreadable", str(error))]
        ) from None
