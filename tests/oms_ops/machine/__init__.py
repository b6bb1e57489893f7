"""A shop in plain Python, which knows nothing of the code that it is there to contradict."""

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in ("agreement", "base", "selling")))
