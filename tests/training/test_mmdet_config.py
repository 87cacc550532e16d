"""mmdet's own tools train and run what `export-config` writes, with the losses of this project's loop."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import contrastmask.models  # noqa: F401  # before mmdet
from contrastmask.cli import main
from contrastmask.config import find_run, load_tables, runfile, settings_with
from contrastmask.data.dataset import prepare
from contrastmask.data.splits import write_split
from contrastmask.runtime.locks import Stop
from contrastmask.training.run import Run
from contrastmask.training.train import train

from mmdet.apis import inference_detector, init_detector  # isort: skip
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

STEPS = 2
RUNS = ("contrastmask-paper_r50_1x_nonvoc2voc", "deep-marc_r50_1x_nonvoc2voc_recipe-common")


class Losses(Hook):
    """Keeps every loss of every iteration, and the warm-up's progress."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.progress: list[float] = []

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.steps.append({name: float(value.detach()) for name, value in outputs.items()})
        self.progress.append(runner.model.roi_head.progress)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The data of scale smoke and the runs' folders, each with its config.json; two steps long."""
    settings = settings_with({"results": str(tmp_path_factory.mktemp("results"))})
    settings.scale["one_x"]["iterations"] = STEPS
    prepare(settings.scale["dataset"], settings.dataset.parent / "images", settings.dataset)
    write_split(settings.dataset, "nonvoc2voc", settings.split("nonvoc2voc").parent)
    found = {}
    for name in RUNS:
        spec = find_run(load_tables(settings), name)
        found[name] = settings.run_folder(name, 0)
        runfile.write(found[name], runfile.describe(spec, 0, settings))
    return found


@pytest.mark.parametrize("name", RUNS)
def test_both_loops_have_the_same_losses_and_the_detector_runs(
    folders: dict[str, Path], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.read(folders[name])
    ours, theirs = Losses(), Losses()
    real = Runner.__init__

    def with_losses(self: Runner, *args: Any, **kwargs: Any) -> None:
        hooks = kwargs.get("custom_hooks") or []
        kwargs["custom_hooks"] = [*hooks, current]
        real(self, *args, **kwargs)

    monkeypatch.setattr(Runner, "__init__", with_losses)
    current = ours
    train(run, Stop())

    out = tmp_path / "exported.py"
    result = CliRunner().invoke(main, ["export-config", str(run.folder), "--out", str(out)])
    assert result.exit_code == 0, result.output
    config = Config.fromfile(out)
    config.work_dir, config.log_level, config.experiment_name = str(tmp_path / "work"), "ERROR", f"exported-{name}"
    current = theirs
    Runner.from_cfg(config).train()
    assert theirs.progress == ours.progress == [n / STEPS for n in range(STEPS)]
    assert theirs.steps == ours.steps

    weights = tmp_path / "work" / f"iter_{STEPS}.pth"
    model = init_detector(str(out), str(weights), device="cpu", palette="random")
    assert model.dataset_meta["classes"] == tuple(category["name"] for category in run.dataset["categories"])
    photo = next(Path(run.dataset["val"]["images"]).iterdir())
    found = inference_detector(model, str(photo)).pred_instances
    assert len(found.bboxes) == len(found.masks) > 0
