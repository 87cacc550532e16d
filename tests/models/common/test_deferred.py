"""Libraries that are loaded at their first use, with a made-up one."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contrastmask.models.common.deferred import deferred


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A library `heavy` with a part `heavy.part`, and `user`, which imports both."""
    (tmp_path / "heavy").mkdir()
    (tmp_path / "heavy" / "__init__.py").write_text("__version__ = '1.2'\nclass Thing:\n    size = 3\n")
    (tmp_path / "heavy" / "part.py").write_text("def double(x):\n    return 2 * x\n")
    (tmp_path / "user.py").write_text(
        "import heavy\nimport heavy.part as part\nfrom heavy import Thing\nfrom heavy.part import double\n"
    )
    (tmp_path / "hasty.py").write_text("import heavy.part\nfrom heavy.part import double\nsix = double(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in ("heavy", "user", "hasty")]:
        del sys.modules[name]


def test_it_is_loaded_when_a_name_of_it_is_used() -> None:
    with deferred("heavy"):
        user = importlib.import_module("user")
    assert "heavy" not in sys.modules and "heavy.part" not in sys.modules
    assert user.double(2) == 4 and user.part.double(3) == 6
    assert user.Thing().size == 3 and user.heavy.Thing.size == 3


def test_who_imports_it_afterwards_gets_the_real_one() -> None:
    with deferred("heavy"):
        importlib.import_module("user")
    real = importlib.import_module("heavy.part")
    assert real.__file__ and real.double(4) == 8 and sys.modules["heavy"].__file__


def test_use_while_it_is_deferred_loads_it_for_all() -> None:
    with deferred("heavy"):
        assert importlib.import_module("hasty").six == 6
        assert importlib.import_module("heavy").__file__
    assert sys.modules["heavy.part"].__file__


def test_its_version_is_asked_for_at_once() -> None:
    with deferred("heavy"):
        assert importlib.import_module("heavy").__version__ == "1.2"


def test_a_name_that_it_lacks_is_missed_when_it_is_used() -> None:
    with deferred("heavy"):
        wrong = importlib.import_module("heavy.part").triple
    with pytest.raises(ImportError, match=r"heavy\.part"):
        wrong(2)


def test_what_is_loaded_already_stays() -> None:
    real = importlib.import_module("heavy")
    with deferred("heavy"):
        assert importlib.import_module("user").heavy is real
    assert sys.modules["heavy"] is real
