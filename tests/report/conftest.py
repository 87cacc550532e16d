"""Made-up result folders for tables."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report.made_up_page import make_up, write

from contrastmask.config import Settings
from contrastmask.report.paper import METRICS


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def smoke() -> dict[str, Any]:
    return {"name": "smoke", "note": "Made up for a test.", "comparable": False}


@pytest.fixture(scope="session")
def smoke_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Of a made-up folder of results that no test changes."""
    return make_up(tmp_path_factory.mktemp("smoke"))


@pytest.fixture(scope="session")
def smoke_html(smoke_settings: Settings) -> str:
    """A page that several tests read, made once."""
    return write(smoke_settings)


@pytest.fixture(scope="session")
def paper_html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(make_up(tmp_path_factory.mktemp("paper"), "paper"))


@pytest.fixture
def put(results: Path) -> Callable[..., Path]:
    """put(run, seed, AP) writes a metrics.json in which every mask metric of novel categories is `AP`, a fraction, and
    no other number is; `changes` replaces keys."""

    def subsets(novel: float, **others: float) -> dict[str, dict[str, float]]:
        return {name: dict.fromkeys(METRICS, value) for name, value in {"novel": novel, **others}.items()}

    def write(
        run: str, seed: int = 0, AP: float = 0.25, scale: str = "smoke", changes: dict[str, Any] | None = None
    ) -> Path:
        file = results / scale / "runs" / run / f"seed{seed}" / "metrics.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        content = {"run": run, "seed": seed, "scale": scale, "segm": subsets(AP, base=0.91, all=0.82)}
        content |= {"bbox": subsets(0.73, base=0.94, all=0.85), "gt_box_miou": {"novel": AP, "base": 0.96, "all": 0.87}}
        file.write_text(json.dumps(content | (changes or {})))
        return file

    return write
