"""Hooks and visualizers that a row's `config` adds: they run, a resumed run is the undisturbed one, mmdet has them."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

import contrastmask.models  # noqa: F401  # before mmdet
from contrastmask.config import Settings, find_run, load_tables, runfile, settings_with
from contrastmask.data.dataset import prepare
from contrastmask.data.splits import write_split
from contrastmask.errors import ConfigError
from contrastmask.runtime.locks import Interrupted, Stop
from contrastmask.training.checkpoint import load_weights
from contrastmask.training.mmdet_config import mmdet_config
from contrastmask.training.run import Run
from contrastmask.training.train import train

from mmengine.config import Config  # isort: skip
from mmengine.runner import Runner
from mmengine.visualization import BaseVisBackend

STEPS = 4
EMA = {"custom_hooks": [{"type": "EMAHook", "momentum": 0.3}]}


@pytest.fixture(autouse=True)
def no_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making its store would take longer than the trainings."""
    monkeypatch.setattr("contrastmask.training.train.live", lambda folder: nullcontext())


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Data of scale smoke, for trainings of four steps."""
    settings = settings_with({"results": str(tmp_path_factory.mktemp("results"))})
    settings.scale["one_x"]["iterations"] = STEPS
    prepare(settings.scale["dataset"], settings.dataset.parent / "images", settings.dataset)
    write_split(settings.dataset, "nonvoc2voc", settings.split("nonvoc2voc").parent)
    return settings


def run_with(settings: Settings, config: dict[str, Any], folder: str) -> Run:
    """Mask R-CNN with a row's `config`; runs that differ in `folder` alone are of one identity."""
    spec = find_run(load_tables(settings), "mask-rcnn_r50_1x_nonvoc2voc")
    decided = runfile.describe(replace(spec, config=json.dumps(config)), 0, settings)
    place = settings.folder / "runs" / folder / "seed0"
    runfile.write(place, decided)
    return Run.read(place)


class StopAfter(Stop):
    """Asks to stop when it was looked at so many times: once an iteration."""

    left = 2

    @property
    def requested(self) -> bool:
        self.left -= 1
        return self.left == 0


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_weights(run.folder / "model.pth")[0]


def test_a_stopped_run_with_a_mean_of_weights_goes_on_as_if_it_had_not_been_stopped(settings: Settings) -> None:
    plain, whole, stopped = (run_with(settings, c, f) for c, f in (({}, "plain"), (EMA, "whole"), (EMA, "stopped")))
    train(plain, Stop())
    train(whole, Stop())
    with pytest.raises(Interrupted):
        train(stopped, StopAfter())
    assert not (stopped.folder / "model.pth").exists()
    train(stopped, Stop())
    losses = [json.loads((run.folder / "train.json").read_text())["losses"] for run in (plain, whole, stopped)]
    assert losses[0] == losses[1] == losses[2]  # the mean stands beside the training
    assert all(torch.equal(value, weights(stopped)[name]) for name, value in weights(whole).items())
    assert weights(whole).keys() == weights(plain).keys()
    assert any(not torch.equal(value, weights(plain)[name]) for name, value in weights(whole).items())
    assert whole.config_hash != plain.config_hash


def test_a_backend_of_ones_own_gets_the_curves(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "backend_of_mine.py").write_text(
        "from mmengine.registry import VISBACKENDS\n"
        f"from {__name__} import Kept\n"
        "VISBACKENDS.register_module(module=Kept, force=True)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    visualizer = {"type": "Visualizer", "name": "mine", "vis_backends": [{"type": "Kept"}]}
    train(run_with(settings, {"custom_imports": ["backend_of_mine"], "visualizer": visualizer}, "shown"), Stop())
    assert [step for step, _ in Kept.told] == list(range(1, STEPS + 1))
    assert all({"train/loss", "train/lr"} <= values.keys() for _, values in Kept.told)


class Kept(BaseVisBackend):
    """Keeps what it is told."""

    told: ClassVar[list[tuple[int, dict[str, float]]]] = []

    def __init__(self, save_dir: str | None = None) -> None:
        super().__init__(save_dir or "")

    def _init_env(self) -> None: ...

    @property
    def experiment(self) -> "Kept":
        return self

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **_: Any) -> None:
        self.told.append((step, dict(scalar_dict)))


def test_what_mmengine_does_not_know_is_named(settings: Settings) -> None:
    for config in ({"custom_hooks": [{"type": "NoSuchHook"}]}, {"custom_imports": ["no_such_module"]}):
        with pytest.raises(ConfigError, match=r"the configuration's .*custom_\w+: .*(NoSuchHook|no_such_module)"):
            train(run_with(settings, config, "wrong"), Stop())


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"optimizer": {"momentum": 0.9}}, "optimizer AdamW, .*'momentum'"),
        ({"optimizer": {"type": "AdamX"}}, "optimizer AdamX, "),
        ({"model": {"neck": {"norm_cgf": {}}}}, "model: .*FPN.*'norm_cgf'"),
        ({"model": {"neck": {"type": "FNP"}}}, "model: .*FNP is not in"),
        pytest.param(
            {"amp": True},
            "optimizer AdamW, amp: .* only available .*gpu",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU"),
        ),
    ],
)
def test_what_no_part_takes_is_named(settings: Settings, config: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=f"the configuration's {words}"):
        train(run_with(settings, config, "wrong"), Stop())


def test_the_exported_configuration_has_them_and_mmdet_draws(settings: Settings, tmp_path: Path) -> None:
    """DetVisualizationHook draws in mmengine's test loop, which this project's evaluation is not."""
    hook = {"type": "DetVisualizationHook", "draw": True, "test_out_dir": "drawn", "score_thr": 0.0}
    visualizer = {"type": "DetLocalVisualizer", "name": "drawing", "vis_backends": [{"type": "LocalVisBackend"}]}
    run = run_with(settings, {"custom_hooks": [hook], "visualizer": visualizer}, "exported")
    config = Config(mmdet_config(run) | {"work_dir": str(tmp_path), "log_level": "ERROR", "experiment_name": "drawing"})
    runner = Runner.from_cfg(config)
    runner.test_dataloader.dataset.full_init()
    runner.test()
    assert len(list(tmp_path.rglob("drawn/*"))) == len(runner.test_dataloader.dataset)
