"""The benchmark: its command on two systems, its arithmetic, and what it says when a system fails."""

import subprocess
import sys
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.bench import (
    HEAD,
    BenchError,
    Readings,
    answer,
    cells,
    chosen,
    serve,
)
from benchmarks.bench_step import OBJECTS, Trainer, random_batch
from benchmarks.systems import System, without_data
from contrastmask.errors import ConfigError
from contrastmask.paths import ROOT


def test_the_command_measures_two_systems_against_the_baseline(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.bench", "--methods", "shapeprop", "--steps", "2"]
    done = subprocess.run(
        [*command, "--repeats", "1", "--results", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "smoke" / "bench"
    assert done.stdout.endswith((folder / "bench.md").read_text())
    table = pd.read_csv(folder / "bench.csv")
    assert list(table["System"]) == ["Mask R-CNN (Baseline)", "ShapeProp"]
    assert (table["time ratio"][0], table["memory ratio"][0]) == (1, 1)
    assert (table["s / step"] > 0).all() and (table["MiB"] > 0).all()


def test_a_ratio_is_that_of_neighbouring_bursts() -> None:
    """The machine is twice as slow in the second pair; the system takes three times as long in both."""
    base = np.array([[1.0, 1, 1], [2, 2, 9]])
    found = Readings(seconds=3 * base, baseline=base, memory=50, baseline_memory=20)
    assert found.ratios.tolist() == [3, 3]
    row = dict(zip(HEAD, cells("x", found), strict=True))
    assert row["s / step"] == "4.500" and row["time ratio"] == "3.00"
    assert row["ratio's quartiles"] == "3.00 - 3.00" and row["memory ratio"] == "2.50"


def test_the_batch_is_the_same_every_time_and_its_masks_fill_its_boxes() -> None:
    first, second = (random_batch(2, 96, 128, classes=8) for _ in range(2))
    assert [x.shape for x in first["inputs"]] == [(3, 96, 128)] * 2
    assert all(a.equal(b) for a, b in zip(first["inputs"], second["inputs"], strict=True))
    for sample in first["data_samples"]:
        truth = sample.gt_instances
        assert len(truth) == OBJECTS and int(truth.labels.max()) < 8
        assert (truth.bboxes >= 0).all() and (truth.bboxes <= torch.tensor([128, 96, 128, 96])).all()
        areas = (truth.bboxes[:, 2] - truth.bboxes[:, 0]) * (truth.bboxes[:, 3] - truth.bboxes[:, 1])
        # an ellipse has pi / 4 of its box, but for the pixels
        np.testing.assert_allclose(truth.masks.masks.sum((1, 2)), np.pi / 4 * areas.numpy(), rtol=0.1, atol=10)


def test_a_step_has_all_the_positives_that_the_sampler_takes_and_leaves_the_weights() -> None:
    settings = without_data("smoke")
    trainer = Trainer(chosen(settings, ["mask-rcnn"])[0].config, settings)
    before = {name: p.clone() for name, p in trainer.model.named_parameters()}
    seen: list[int] = []
    head = trainer.model.roi_head
    handle = head.bbox_head.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    positives: list[int] = []
    sample = head.bbox_sampler.sample
    head.bbox_sampler.sample = lambda *args, **kwargs: (
        positives.append(len((found := sample(*args, **kwargs)).pos_priors)) or found
    )
    assert len(trainer.burst(1)) == 1
    handle.remove()
    assert positives == [16] * settings.scale["batch"], "a quarter of 64, in each image"
    assert seen == [64 * settings.scale["batch"]]
    assert all(p.equal(before[name]) for name, p in trainer.model.named_parameters())


def test_the_baseline_comes_first_and_all_have_its_backbone() -> None:
    settings = without_data("smoke")
    assert [s.spec.method for s in chosen(settings, ["opmask"])] == ["mask-rcnn", "opmask"]
    every = chosen(settings, [])
    assert every[0].spec.method == "mask-rcnn" and {s.spec.backbone for s in every} == {"r50"}
    with pytest.raises(ConfigError, match=r"nobodys.*contrastmask"):
        chosen(settings, ["nobodys"])


def test_a_system_that_fails_is_named_with_its_error() -> None:
    settings = without_data("smoke")
    system = chosen(settings, ["mask-rcnn"])[0]
    broken = System("Broken", system.spec, system.config | {"image": {"train": []}})
    ours, theirs = Pipe()
    serve(theirs, broken.config, settings)
    with pytest.raises(BenchError, match="Broken: IndexError"):
        answer(ours, broken)
    theirs.close()
    with pytest.raises(BenchError, match="Broken: its process ended"):
        answer(ours, broken)
