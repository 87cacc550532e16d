"""Reading what a run's folder holds."""

import json
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrastmask.config import Settings, settings_with
from contrastmask.report.paper import METRICS
from contrastmask.report.run_files import hardware, read_run_files, run_page, thin


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_with({"results": str(tmp_path)})


def test_an_empty_folder_is_no_error(settings: Settings):
    files = read_run_files(settings.run_folder("none", 0))
    assert files.state == "not run" and not files.problems and files.curves == {}


def test_states_follow_what_is_done_last(settings: Settings):
    folder = settings.run_folder("a", 0)
    folder.mkdir(parents=True)
    states = []
    measured = {"segm": {"novel": dict.fromkeys(METRICS, 0.5)}}
    for name, content in {"config.json": {"x": 1}, "train.json": {"x": 1}, "metrics.json": measured}.items():
        (folder / name).write_text(json.dumps(content))
        states.append(read_run_files(folder).state)
    assert states == ["begun", "trained, not evaluated", "evaluated"]


@pytest.mark.parametrize("content", ["{", "[1]", "null", ""])
def test_a_damaged_file_is_named(settings: Settings, content: str):
    folder = settings.run_folder("a", 0)
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(content)
    files = read_run_files(folder)
    assert files.state == "unreadable" and list(files.problems) == ["metrics.json"]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(1, 50))
def test_thinning_keeps_the_end_and_the_range(values: list[float], most: int):
    curve = list(enumerate(values, start=1))
    thinned = thin(curve, most)
    assert len(thinned) == min(most, len(curve)) and thinned[-1][0] == len(values)
    assert [step for step, _ in thinned] == sorted({step for step, _ in thinned})
    slack = 1e-6 * max(map(abs, values)) + 1e-9
    assert all(min(values) - slack <= value <= max(values) + slack for _, value in thinned)


def test_thinning_to_a_divisor_is_the_mean_of_equal_stretches():
    curve = [(step, float(step * step)) for step in range(1, 13)]
    expected = [(4 * i + 4, statistics.fmean(v for _, v in curve[4 * i : 4 * i + 4])) for i in range(3)]
    assert thin(curve, 3) == expected


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://user:secret@mlflow.lab/base/", "https://mlflow.lab/base/#/runs/ab12"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000/#/runs/ab12"),
        ("sqlite:////home/me/mlflow.db", ""),
        ("javascript:alert(1)", ""),
        ("", ""),
    ],
)
def test_links_to_a_server_hold_no_credentials(uri: str, expected: str):
    assert run_page(uri, "ab12") == expected


def test_an_odd_run_id_gives_no_link():
    assert run_page("http://x", '"><script>') == ""


def test_hardware(settings: Settings):
    folder = settings.run_folder("a", 0)
    folder.mkdir(parents=True)
    facts = {"hw.cpu": "Some CPU", "hw.cores": "2", "hw.gpu": "8 x V100"}
    for memory, expected in ((None, "CPU: Some CPU, 2 cores"), (5, "8 x V100")):
        record = {"seconds": 10.0, "gpu_memory_bytes": memory, "provenance": facts}
        (folder / "train.json").write_text(json.dumps(record))
        assert hardware(read_run_files(folder)) == expected
    assert hardware(read_run_files(settings.run_folder("b", 0))) == ""
