"""What is done, what is left, which rows share it, and how long it will take, from result folders in every state."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from contrastmask.cli.runs import plan as command
from contrastmask.config import Settings, Table, all_runs, config_hash, load_table, load_tables, resolve, settings_with
from contrastmask.report.plan import Planned, make_plan, print_plan, summary
from contrastmask.runtime.terminal import duration

MAIN = "contrastmask-paper_r50_1x_nonvoc2voc"
BASELINE = "mask-rcnn_r50_1x_nonvoc2voc_mask_rois-gt"
Finish = Callable[..., Path]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_with({"results": str(tmp_path), "tables": ["table2", "table4"]})


@pytest.fixture
def tables(settings: Settings) -> dict[str, Table]:
    return {name: load_table(name, "paper") for name in settings.tables}


@pytest.fixture
def finish(settings: Settings, tables: dict[str, Table]) -> Finish:
    """finish(run, seconds, upto) writes a run's records up to train or metrics; `changes` replaces keys of both."""

    def write(run: str, seconds: float = 60.0, upto: str = "metrics", seed: int = 0, **changes: Any) -> Path:
        place = settings.run_folder(run, seed)
        place.mkdir(parents=True, exist_ok=True)
        record = {"config_hash": config_hash(resolve(all_runs(tables)[run], settings)), "data_digest": "d1"}
        (place / "train.json").write_text(json.dumps(record | {"seconds": seconds} | changes))
        if upto == "metrics":
            (place / "metrics.json").write_text(json.dumps(record | {"seconds": seconds / 2} | changes))
        return place

    return write


def states(plan: list[Planned]) -> dict[str, str]:
    return {p.run.id: p.state for p in plan}


def said(plan: list[Planned]) -> str:
    return "\n".join(summary(plan, "smoke"))


def test_nothing_there(settings: Settings, tables: dict[str, Table]) -> None:
    plan = make_plan(settings, tables)
    assert set(states(plan).values()) == {"to do"} and len(plan) == 6
    rows = {p.run.id: p.rows for p in plan}
    assert rows[MAIN] == ("table2: Baseline + CM + CL", "table4: sigma=0.3")
    assert {p.seconds for p in plan} == {None}
    assert "6 distinct runs, 6 with their seeds: 6 to do. 1 serve several rows" in said(plan)
    assert "6 will take is not known" in said(plan) and "--calibrate" in said(plan)


def test_a_run_that_others_start_from_is_done_when_it_is_trained(tmp_path: Path) -> None:
    settings = settings_with(
        {"scale": "garments", "data_root": "clone", "results": str(tmp_path), "tables": ["table2"]}
    )
    tables = load_tables(settings)
    start = next(run for run in all_runs(tables).values() if run.id.startswith("detector_"))
    assert states(make_plan(settings, tables))[start.id] == "to do"
    place = settings.run_folder(start.id, 0)
    place.mkdir(parents=True)
    record = {"config_hash": config_hash(resolve(start, settings)), "seconds": 9.0}
    (place / "train.json").write_text(json.dumps(record))
    planned = next(p for p in make_plan(settings, tables) if p.run.id == start.id)
    assert (planned.state, planned.seconds, planned.rows) == ("done", 9.0, ("first weights of other runs",))


def test_states_and_seconds(settings: Settings, tables: dict[str, Table], finish: Finish) -> None:
    finish(MAIN)
    finish(f"{MAIN}_sigma-0.1", upto="train")
    (settings.run_folder(f"{MAIN}_sigma-0.2", 0) / "work").mkdir(parents=True)
    (settings.run_folder(f"{MAIN}_sigma-0.2", 0) / "work" / "iter_20.pth").touch()
    finish(f"{MAIN}_sigma-0.6", config_hash="another")
    plan = make_plan(settings, tables)
    assert states(plan) == {
        BASELINE: "to do",
        f"{MAIN}_cl-off": "to do",
        MAIN: "done",
        f"{MAIN}_sigma-0.1": "begun",
        f"{MAIN}_sigma-0.2": "begun",
        f"{MAIN}_sigma-0.6": "to do",
    }
    assert {p.run.id: p.seconds for p in plan if p.seconds} == {MAIN: 90}  # other options are another system


def test_a_run_takes_what_others_of_its_system_took(
    settings: Settings, tables: dict[str, Table], finish: Finish
) -> None:
    finish(MAIN, 60)
    finish(MAIN, 120, seed=1)
    plan = make_plan(replace(settings, seeds=(0, 1, 2)), tables)
    assert [(p.state, p.seconds) for p in plan if p.run.id == MAIN] == [("done", 90), ("done", 180), ("to do", 135)]
    assert "Left: 2.2 min for 1 of 16" in said(plan) and "15 will take is not known" in said(plan)
    other = make_plan(settings, {"table1": load_table("table1", "paper")})
    assert next(p.seconds for p in other if p.run.id == MAIN.replace("nonvoc2voc", "voc2nonvoc")) == 90


def test_other_data_and_damaged_files_are_made_again(
    settings: Settings, tables: dict[str, Table], finish: Finish
) -> None:
    settings.dataset.parent.mkdir(parents=True)
    settings.dataset.write_text(json.dumps({"digest": "d2"}))
    finish(MAIN)
    (finish(BASELINE, upto="train") / "metrics.json").write_text("{")
    assert set(states(make_plan(settings, tables)).values()) == {"to do"}


@pytest.mark.parametrize("seconds", [[1], None, "many", float("nan"), -1])
def test_damaged_times_count_nothing(
    settings: Settings, tables: dict[str, Table], finish: Finish, seconds: Any
) -> None:
    place = finish(MAIN)
    for name in ("train.json", "metrics.json"):
        record = json.loads((place / name).read_text())
        (place / name).write_text(json.dumps(record | {"seconds": seconds}))
    assert next(p.seconds for p in make_plan(settings, tables) if p.run.id == MAIN) == 0


def test_a_run_that_reads_another_ones_boxes_shares_it(settings: Settings) -> None:
    plan = make_plan(settings, {"table1": load_table("table1", "paper")})
    detectors = {p.run.detector.id for p in plan if p.run.detector}
    assert detectors and all(any("boxes for" in r for r in p.rows) for p in plan if p.run.id in detectors)


def test_steps_are_timed_once_a_system_and_only_where_none_has_finished(
    settings: Settings, tables: dict[str, Table], finish: Finish
) -> None:
    finish(MAIN)
    asked = []

    def timer(run: Any) -> float:
        asked.append(run.id)
        return 3600

    plan = make_plan(replace(settings, seeds=(0, 1)), tables, timer)
    assert sorted(asked) == sorted({p.run.id for p in plan} - {MAIN})
    assert "Left: 10 h for 11 of 11" in said(plan)


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (0.5, "0.5 s"), (59, "59 s"), (90, "1.5 min"), (3600, "1 h"), (4.2e6, "1,167 h")]
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_a_label_cannot_paint_the_terminal(settings: Settings, tables: dict[str, Table]) -> None:
    first = replace(make_plan(settings, tables)[0], rows=("table2: [red]\x1b[2Jgone\u202e",))
    console = Console(file=io.StringIO(), width=300, force_terminal=True, color_system=None)
    print_plan([first], "smoke", console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert r"[red]\x1b[2Jgone\u202e" in text and "\x1b[2J" not in text


def test_command(settings: Settings, finish: Finish) -> None:
    finish(MAIN)
    arguments = ["table2", "--config", f"results={settings.results}", "seeds=[0,1]"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert "3 distinct runs, 6 with their seeds: 5 to do, 1 done." in result.output
    wrong = CliRunner().invoke(command, ["--config", "scale"])
    assert wrong.exit_code == 2 and "'scale' is not KEY=VALUE" in wrong.output
