"""What the recipes `source` say, against the values read in the sources (configs/detectron.py, configs/methods)."""

from functools import reduce
from operator import getitem
from typing import Any

import pytest
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from models import tiny
from torch import nn

from contrastmask.training.train import optim_wrapper, total_iterations


@pytest.mark.parametrize("method", ["mask-rcnn", "maskx-rcnn", "shapeprop"])
def test_detectrons_recipe(method: str) -> None:
    config = tiny.paper_config(method, recipe="source")
    assert config["image"]["train"] == [[1333, 800]]
    assert total_iterations(config, 117_266) == 90_000
    assert [90 * share for share in config["schedule"]["drops"]] == pytest.approx([60, 80])
    assert config["paramwise"] == {"bias_lr_mult": 2.0, "bias_decay_mult": 0.0}
    train, model = config["model"]["train_cfg"], config["model"]
    assert model["rpn_head"]["loss_bbox"] == {"type": "SmoothL1Loss", "beta": pytest.approx(1 / 9), "loss_weight": 1.0}
    assert model["roi_head"]["bbox_head"]["loss_bbox"] == {"type": "SmoothL1Loss", "beta": 1.0, "loss_weight": 1.0}
    assert train["rpn"]["allowed_border"] == 0
    assert train["rpn_proposal"]["max_per_img"] == train["rcnn"]["shared_proposals"]["number"] == 2000
    for extractor in ("bbox_roi_extractor", "mask_roi_extractor"):
        assert model["roi_head"][extractor]["roi_layer"]["sampling_ratio"] == 2
    warm_up = config["warmup_iterations"], config["warmup_factor"]
    assert warm_up == ((2000, 0.03) if method == "shapeprop" else (500, pytest.approx(1 / 3)))


SOURCES: dict[tuple[str, str], dict[str, Any]] = {  # (method, schedule): values by place
    ("opmask", "130k"): {
        "optimizer.lr": pytest.approx(0.02),
        "warmup_iterations": 1000,
        "image.train": [[1333, short] for short in (640, 672, 704, 736, 768, 800)],
    },
    ("deep-marc", "3x"): {
        "optimizer": {"type": "SGD", "momentum": 0.9, "weight_decay": 4e-5, "lr": pytest.approx(0.12 * 16 / 64)},
        "warmup_factor": pytest.approx(0.0067 / 0.12),
        "schedule": {"length": 3, "drops": pytest.approx([50 / 70, 65 / 70])},
    },
    ("cpmask", "1x"): {
        "optimizer.lr": 0.01,
        "image.train": [[1333, 800]],
        "schedule": {"length": 1, "drops": [8 / 12, 11 / 12]},
    },
    ("cpmask", "3x"): {
        "image.train": [[1333, 640], [1333, 800]],
        "schedule": {"length": 3, "drops": [28 / 36, 34 / 36]},
    },
    ("shapemask", "1x"): {
        "optimizer.lr": 0.02,
        "image.train": [[1066, 640], [1600, 960]],
        "schedule.drops": [30 / 45, 40 / 45],
        "warmup_iterations": 500,
        "warmup_factor": pytest.approx(0.08375),
    },
}


@pytest.mark.parametrize(("method", "schedule"), SOURCES)
def test_recipes_of_their_own(method: str, schedule: str) -> None:
    config = tiny.paper_config(method, schedule=schedule)
    expected = SOURCES[method, schedule]
    assert {place: reduce(getitem, place.split("."), config) for place in expected} == expected
    for recipe in ("source", "common"):
        assert not {"by_schedule", "lr_factor"} & set(tiny.paper_config(method, schedule=schedule, recipe=recipe))


def test_opmasks_130k_iterations_are_of_16_images() -> None:
    config = tiny.paper_config("opmask", schedule="130k")
    assert [total_iterations(config | {"batch": batch}, 117_266) for batch in (16, 2)] == [130_000, 8 * 130_000]


RECIPE = ("image", "optimizer", "paramwise", "clip_grad", "warmup_iterations", "warmup_factor", "schedule")


@pytest.mark.parametrize("schedule", ["1x", "3x"])
@pytest.mark.parametrize("method", ["maskx-rcnn", "shapeprop", "opmask", "deep-marc", "cpmask", "shapemask"])
def test_the_common_recipe_is_everyones(method: str, schedule: str) -> None:
    common, ours = (tiny.paper_config(name, schedule=schedule, recipe="common") for name in (method, "mask-rcnn"))
    assert {key: common[key] for key in RECIPE} == {key: ours[key] for key in RECIPE}
    if method not in ("cpmask", "shapemask"):
        assert common["model"]["rpn_head"] == ours["model"]["rpn_head"]
        assert common["model"]["test_cfg"] == ours["model"]["test_cfg"]


def test_the_common_recipe_is_contrastmasks() -> None:
    common, ours = tiny.paper_config("mask-rcnn", recipe="common"), tiny.paper_config("contrastmask")
    assert {key: common[key] for key in RECIPE} == {key: ours[key] for key in RECIPE}
    assert common["model"]["rpn_head"] == ours["model"]["rpn_head"]


def test_biases_learn_twice_as_fast_without_decay() -> None:
    init_default_scope("mmdet")
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    wrapper = build_optim_wrapper(net, optim_wrapper(tiny.paper_config("maskx-rcnn")))
    rates = {tuple(g["params"][0].shape): (g["lr"], g["weight_decay"]) for g in wrapper.optimizer.param_groups[:2]}
    assert rates == {(4, 3, 1, 1): (0.02, 1e-4), (4,): (0.04, 0.0)}


def test_opmasks_norms_do_not_decay() -> None:
    init_default_scope("mmdet")
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    wrapper = build_optim_wrapper(net, optim_wrapper(tiny.paper_config("opmask", schedule="130k")))
    assert [g["weight_decay"] for g in wrapper.optimizer.param_groups] == [1e-4, 1e-4, 0, 0]


def test_only_contrastmasks_3x_reads_polygons_as_its_authors_configuration_does() -> None:
    assert tiny.paper_config("contrastmask", schedule="3x")["image"]["masks"] == "polygons"
    assert tiny.paper_config("contrastmask")["image"]["masks"] == "bitmaps"
    assert tiny.paper_config("cpmask", "r101", "3x")["image"]["masks"] == "bitmaps"


def test_pairs_of_images_share_an_orientation_whatever_the_batch() -> None:
    assert tiny.paper_config("contrastmask")["neighbours"] == 2
