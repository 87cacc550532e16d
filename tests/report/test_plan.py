"""What is there, what is left, and what was planned, from result folders in every state."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from contrastmask.cli import plan as plan_command
from contrastmask.config import (
    CONFIGS,
    RunSpec,
    Settings,
    Table,
    all_runs,
    config_hash,
    load_settings,
    load_table,
    resolve,
)
from contrastmask.report.cost import CALIBRATED
from contrastmask.report.plan import MACHINE, Plan, batch, make_plan, save, system
from contrastmask.report.plan_view import duration, interval, summary
from contrastmask.runtime.provenance import provenance

MAIN = "contrastmask-paper_r50_1x_nonvoc2voc"
BASELINE = "mask-rcnn_r50_1x_nonvoc2voc"
Finish = Callable[..., Path]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    config = yaml.safe_load((CONFIGS / "config.yaml").read_text())
    return load_settings(config | {"results": str(tmp_path), "tables": ["table2", "table4"]})


@pytest.fixture
def tables(settings: Settings) -> dict[str, Table]:
    return {name: load_table(CONFIGS / "tables" / f"{name}.yaml", "paper") for name in settings.tables}


@pytest.fixture
def finish(settings: Settings, tables: dict[str, Table]) -> Finish:
    """finish(run, seconds, upto) writes what a run leaves up to config, train or metrics; `changes` its records."""

    def write(run: str, seconds: float = 60.0, upto: str = "metrics", **changes: Any) -> Path:
        place = settings.run_folder(run, 0)
        (place / "work").mkdir(parents=True, exist_ok=True)
        config = resolve(all_runs(tables)[run], settings)
        (place / "config.json").write_text(json.dumps(config))
        if upto == "config":
            return place
        common = {"run": run, "config_hash": config_hash(config), "data_digest": "d1"}
        train = {"iterations": 60, "batch": 4, "seconds": seconds, "gpus_per_run": 1}
        train |= {"images_per_gpu": 4, "provenance": provenance()}
        (place / "train.json").write_text(json.dumps(common | train | changes))
        (place / "model.pth").write_bytes(b"x" * 1000)
        if upto == "metrics":
            metrics = {"n_images": 32, "seconds": seconds / 2}
            (place / "metrics.json").write_text(json.dumps(common | metrics | changes))
        return place

    return write


def states(plan: Plan) -> dict[str, str]:
    return {job.run.id: job.state for job in plan.jobs}


def said(plan: Plan) -> str:
    return "\n".join(summary(plan))


# ---------------------------------------------------------------------------- what is there


def test_nothing_there(settings: Settings, tables: dict[str, Table]) -> None:
    plan = make_plan(settings, tables)
    assert set(states(plan).values()) == {"to do"} and len(plan.jobs) == 6
    assert plan.rows[MAIN] == ("table2: Baseline + CM + CL", "table4: sigma=0.3")
    assert {job.iterations for job in plan.jobs} == {60}
    assert plan.time_left is None and plan.size_left is None
    assert "is not known" in said(plan) and "--calibrate" in said(plan)
    assert "7 rows, 6 distinct runs, 1 seed. 6 to do." in said(plan)


def test_states(settings: Settings, tables: dict[str, Table], finish: Finish) -> None:
    finish(MAIN)
    finish(f"{MAIN}_sigma-0.1", upto="train")
    half = finish(f"{MAIN}_sigma-0.2", upto="config")
    for n in (20, 40):
        (half / "work" / f"iter_{n}.pth").touch()
    (half / "work" / "iter_50.pth.corrupt").touch()
    finish(f"{MAIN}_sigma-0.6", config_hash="another")
    plan = make_plan(settings, tables)
    jobs = {job.run.id: job for job in plan.jobs}
    assert states(plan) == {
        BASELINE: "to do",
        f"{MAIN}_cl-off": "to do",
        MAIN: "done",
        f"{MAIN}_sigma-0.1": "trained",
        f"{MAIN}_sigma-0.2": "half-done",
        f"{MAIN}_sigma-0.6": "changed",
    }
    assert jobs[f"{MAIN}_sigma-0.2"].iteration == 40
    left = {run: job.left.seconds.value for run, job in jobs.items() if job.left.seconds}
    # 1 s an iteration and 30/32 s an image, from the finished one and the two that were trained
    assert left[f"{MAIN}_sigma-0.1"] == pytest.approx(30)
    assert left[f"{MAIN}_sigma-0.2"] == pytest.approx(20 + 30)
    assert left[f"{MAIN}_sigma-0.6"] == pytest.approx(60 + 30)
    assert MAIN not in left
    assert plan.time_left and plan.time_left.value == pytest.approx(sum(left.values()))


def test_checkpoints_of_another_configuration_do_not_count(
    settings: Settings, tables: dict[str, Table], finish: Finish
) -> None:
    place = finish(MAIN, upto="config")
    (place / "work" / "iter_20.pth").touch()
    (place / "config.json").write_text(json.dumps({"method": "another"}))
    assert states(make_plan(settings, tables))[MAIN] == "to do"


def test_other_data_or_a_damaged_file_are_made_again(
    settings: Settings, tables: dict[str, Table], finish: Finish
) -> None:
    settings.dataset.parent.mkdir(parents=True)
    settings.dataset.write_text(json.dumps({"digest": "d2", "train": {"n_images": 64}, "val": {"n_images": 32}}))
    finish(MAIN)
    (finish(BASELINE, upto="train") / "metrics.json").write_text("{")
    assert states(make_plan(settings, tables))[MAIN] == "changed"
    assert states(make_plan(settings, tables))[BASELINE] == "to do"


@pytest.mark.parametrize("train", ["many", {"n_images": "many"}])
def test_damaged_data_are_not_counted(settings: Settings, tables: dict[str, Table], train: Any) -> None:
    settings.dataset.parent.mkdir(parents=True)
    settings.dataset.write_text(json.dumps({"digest": "d1", "train": train, "val": {}}))
    assert set(states(make_plan(settings, tables)).values()) == {"to do"}


def test_seeds_are_runs(settings: Settings, tables: dict[str, Table], finish: Finish) -> None:
    finish(MAIN)
    two = load_settings(
        yaml.safe_load((CONFIGS / "config.yaml").read_text()) | {"results": str(settings.results), "seeds": [0, 1]}
    )
    plan = make_plan(two, tables)
    assert [job.state for job in plan.jobs if job.run.id == MAIN] == ["done", "to do"]
    assert len(plan.jobs) == 12 and "2 seeds" in said(plan)


def test_a_run_that_reads_another_ones_boxes_is_not_trained(settings: Settings) -> None:
    table = load_table(CONFIGS / "tables" / "table1.yaml", "paper")
    plan = make_plan(settings, {"table1": table})
    derived = [job for job in plan.jobs if job.run.detector]
    assert derived and {job.iterations for job in derived} == {0}
    for job in derived:
        assert job.run.detector and any("boxes for" in row for row in plan.rows[job.run.detector.id])
    assert f": {sum(row.run is not None for row in table.rows)} rows" in said(plan)


# ---------------------------------------------------------------------------- where costs come from


@pytest.mark.parametrize("name", ["metrics.json", "train.json", "config.json"])
@pytest.mark.parametrize("wrong", [{"seconds": [1]}, {"seconds": None}, {"iterations": 0}, {"provenance": 1}, {}])
def test_damaged_files_tell_nothing(
    settings: Settings, tables: dict[str, Table], finish: Finish, name: str, wrong: dict[str, Any]
) -> None:
    place = finish(MAIN)
    whole = json.loads((place / name).read_text())
    (place / name).write_text(json.dumps(whole | wrong if wrong else {}))
    plan = make_plan(settings, tables)
    assert states(plan)[MAIN] in ("done", "trained", "to do")
    assert plan.knowledge.source in ("", "1 finished run")


def test_only_runs_of_such_a_machine_and_batch_tell(
    settings: Settings, tables: dict[str, Table], finish: Finish
) -> None:
    finish(MAIN, provenance=provenance() | {"hw.gpu": "8 x Another GPU"})
    finish(BASELINE, batch=16)
    assert make_plan(settings, tables).knowledge.source == ""
    finish(f"{MAIN}_sigma-0.1")
    assert make_plan(settings, tables).knowledge.source == "1 finished run"


def test_the_time_around_training_is_read_from_snakemakes_benchmarks(
    settings: Settings, tables: dict[str, Table], finish: Finish
) -> None:
    finish(MAIN, seconds=60)
    for rule, seconds in (("train", 72.0), ("evaluate", 35.0)):
        file = settings.folder / "benchmarks" / rule / f"{MAIN}_seed0.jsonl"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"s": seconds}) + "\n")
    plan = make_plan(settings, tables)
    done = next(job for job in plan.jobs if job.run.id == MAIN)
    assert plan.knowledge.startup == pytest.approx(12) and done.actual == pytest.approx(72 + 35)


def write_calibration(settings: Settings, spec: RunSpec, **changes: Any) -> None:
    machine = {key: provenance()[key] for key in MACHINE}
    entry = {"system": vars(system(spec)), "iteration": 2.0, "image": 1.0, "size": 5e6}
    content = {"machine": machine, "batch": batch(settings), "startup": 7.0, "systems": [entry]}
    settings.folder.mkdir(parents=True, exist_ok=True)
    (settings.folder / "calibration.json").write_text(json.dumps(content | changes))


def test_a_calibration_tells_where_no_run_has(settings: Settings, tables: dict[str, Table], finish: Finish) -> None:
    runs = all_runs(tables)
    write_calibration(settings, runs[BASELINE])
    plan = make_plan(settings, tables)
    jobs = {job.run.id: job for job in plan.jobs}
    assert plan.knowledge.source == "the calibration of 1 system"
    seconds = jobs[BASELINE].left.seconds
    assert seconds and seconds.value == pytest.approx(60 * 2 + 32 * 1 + 2 * 7)
    finish(MAIN)
    assert make_plan(settings, tables).knowledge.source == "1 finished run and the calibration of 1 system"
    assert make_plan(settings, tables).knowledge.iteration.least == CALIBRATED
    finish(BASELINE)
    assert make_plan(settings, tables).knowledge.source == "2 finished runs"


def test_a_calibration_of_another_machine_or_batch_does_not_tell(settings: Settings, tables: dict[str, Table]) -> None:
    for change in ({"machine": {"hw.gpu": "another"}}, {"batch": [8, 2]}):
        write_calibration(settings, all_runs(tables)[BASELINE], **change)
        assert make_plan(settings, tables).knowledge.source == ""


# ---------------------------------------------------------------------------- plan and actual


def test_plan_and_actual(settings: Settings, tables: dict[str, Table], finish: Finish) -> None:
    finish(BASELINE, seconds=60)
    save(make_plan(settings, tables), settings.folder)
    saved = json.loads((settings.folder / "plan.json").read_text())["runs"]
    assert f"{MAIN}/seed0" in saved and f"{BASELINE}/seed0" not in saved
    assert "nothing to compare" in said(make_plan(settings, tables))
    finish(MAIN, seconds=120)
    after = make_plan(settings, tables)
    (job,) = after.compared
    assert job.planned and job.planned.value == pytest.approx(90) and job.actual == pytest.approx(180)
    assert "Plan and actual of 1 finished: 1.5 min expected, 3 min taken (2.00 times); 1 of 1 within" in said(after)
    save(after, settings.folder)  # knows better now, and must not rewrite what was planned
    assert json.loads((settings.folder / "plan.json").read_text())["runs"][f"{MAIN}/seed0"] == saved[f"{MAIN}/seed0"]


# ---------------------------------------------------------------------------- what a person sees


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "0.5 s"), (59, "59 s"), (90, "1.5 min"), (3600, "1 h"), (4.2e6, "1,167 h")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_unknown_interval_says_so() -> None:
    assert interval(None) == "not known"


def test_command(settings: Settings, finish: Finish) -> None:
    finish(MAIN)
    arguments = ["table2", "--config", f"results={settings.results}", "seeds=[0,1]", "--save"]
    result = CliRunner().invoke(plan_command.command, arguments)
    assert result.exit_code == 0, result.output
    assert "3 distinct runs, 2 seeds. 5 to do, 1 done." in result.output
    assert (settings.folder / "plan.json").exists()
    quiet = CliRunner().invoke(plan_command.command, [*arguments, "--quiet"])
    assert quiet.exit_code == 0 and quiet.output == ""


def test_what_is_not_key_and_value_is_said() -> None:
    result = CliRunner().invoke(plan_command.command, ["--config", "scale"])
    assert result.exit_code == 2 and "'scale' is not KEY=VALUE" in result.output
