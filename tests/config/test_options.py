"""The options' presets, checks and documentation; each option of the released code alone."""

import ast
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from models import tiny

from contrastmask.config import options as module
from contrastmask.config.options import METHODS, OFFICIAL, check_options, preset_options
from contrastmask.errors import ConfigError

# What the released code does differently, by option: (paper, released).
DOCUMENTED = {
    "cl_size": (14, 28),
    "projector_norm": (False, True),
    "enhance": (False, True),
    "fusion": ("concat", "add"),
    "strict_thresholds": (False, True),
    "hard_keys": ("distance", "ring"),
    "min_keys": (0, 5),
    "cam_fallback": (False, True),
    "query_rois": ("all", "kept"),
    "tau": (0.7, 0.3),
    "tau_in_denominator": (True, False),
    "similarity": ("cosine", "residual"),
    "pool_keys": (False, True),
    "lambda_warmup": ("linear", "epoch"),
    "loss_scale": (1.0, 0.1),
}


def test_presets_differ_in_the_documented_options_only() -> None:
    paper, official = (preset_options("contrastmask", preset) for preset in ("paper", "official"))
    assert paper.keys() == official.keys()
    assert {k: (paper[k], official[k]) for k in paper if paper[k] != official[k]} == DOCUMENTED
    for method in METHODS.keys() - {"contrastmask"}:
        assert preset_options(method, "paper") == preset_options(method, "official")


def test_the_papers_numbers_are_the_papers() -> None:
    paper = preset_options("contrastmask", "paper")
    stated = dict(cl_convs=8, cl_fcs=3, delta=0.1, sigma=0.3, tau=0.7, query_sharing=True, cl_supervision="all")
    assert {k: paper[k] for k in stated} == stated
    assert paper["fusion"] == "concat"
    silent = dict(mask_rois="gt", detach_cl_input=True, detach_cam=False, cam_norm="resize_first", query_group_size=2)
    assert {k: paper[k] for k in silent} == silent, "the text is silent, and the code that made its numbers does so"


@pytest.mark.parametrize(
    ("method", "stated"),
    [
        ("shapeprop", {"steps": 14, "latent": 24, "border": "zero", "mask_rois": "positive"}),
        ("maskx-rcnn", {"mlp": True, "detach_descriptor": True, "mask_rois": "positive"}),
        ("opmask", {"cam_norm": "normalise_first", "detach_cam": False, "mask_rois": "positive"}),
        ("deep-marc", {"depth": 52, "mask_rois": "gt"}),
        ("shapemask", {"priors": 100, "prior_min_area": 1024, "neck": "fpn"}),
    ],
)
def test_a_peers_defaults_are_its_sources(method: str, stated: dict[str, Any]) -> None:
    found = preset_options(method, "paper")
    assert {k: found[k] for k in stated} == stated and (found["recipe"], found["box_losses"]) == ("source", "none")


@pytest.mark.parametrize(
    ("method", "given", "named"),
    [
        ("contrastmask", {"sigmma": 0.3}, "sigmma"),
        ("mask-rcnn", {"cam": True}, "cam"),
        ("contrastmask", {"sigma": "0.3"}, "sigma"),
        ("contrastmask", {"sigma": 0.0}, "sigma"),
        ("contrastmask", {"sigma": 1.1}, "sigma"),
        ("contrastmask", {"delta": 0.6}, "delta"),
        ("contrastmask", {"tau": 1.0}, "tau"),
        ("contrastmask", {"tau": True}, "tau"),
        ("contrastmask", {"cam": 1}, "cam"),
        ("contrastmask", {"cl_convs": 8.0}, "cl_convs"),
        ("contrastmask", {"cl_convs": 0}, "cl_convs"),
        ("contrastmask", {"query_group_size": 0}, "query_group_size"),
        ("contrastmask", {"similarity": "dot"}, "similarity"),
        ("contrastmask", {"box_head": "fc"}, "box_head"),
        ("mask-rcnn", {"mask_rois": None}, "mask_rois"),
        ("mask-grabcut", {"iterations": 0}, "iterations"),
        ("mask-grabcut", {"iterations": 2.5}, "iterations"),
        ("mask-grabcut", {"margin": -0.1}, "margin"),
        ("mask-grabcut", {"margin": float("inf")}, "margin"),
        ("mask-grabcut", {"margin": float("nan")}, "margin"),
        ("mask-grabcut", {"mask_rois": "gt"}, "mask_rois"),
        ("deep-marc", {"depth": 50}, "depth"),
        ("deep-marc", {"depth": 20.0}, "depth"),  # equal to 20, and hashed apart
        ("opmask", {"box_head": "fc"}, "box_head"),
        ("shapemask", {"priors": 0}, "priors"),
        ("shapemask", {"priors": 1.5}, "priors"),
        ("shapemask", {"prior_min_area": -1}, "prior_min_area"),
        ("shapemask", {"neck": "pan"}, "neck"),
        ("shapeprop", {"steps": -1}, "steps"),
        ("shapeprop", {"latent": 0}, "latent"),
    ],
)
def test_unknown_and_ill_typed_options_are_named(method: str, given: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=rf"\b{named}\b"):
        check_options(method, given)


def test_an_unknown_options_error_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="mask_rois") as error:
        check_options("mask-rcnn", {"nothing": 1})
    assert "mask-rcnn" in str(error.value)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", ["paper", "official"])
def test_presets_pass_their_own_check(method: str, preset: str) -> None:
    check_options(method, preset_options(method, preset))


def test_an_integer_is_accepted_where_a_number_is_wanted() -> None:
    check_options("contrastmask", {"loss_scale": 1, "sigma": 1})


def test_every_option_is_documented_where_it_is_declared() -> None:
    documented = set()
    for node in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            for line, after in zip(node.body, [*node.body[1:], None], strict=True):
                said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                if isinstance(line, ast.AnnAssign) and said and len(str(after.value.value)) > 20:
                    documented.add(line.target.id)
    assert documented == {field.name for kind in METHODS.values() for field in fields(kind)}


@pytest.mark.parametrize("option", OFFICIAL["contrastmask"])
def test_each_difference_can_be_ablated_alone(option: str) -> None:
    value = OFFICIAL["contrastmask"][option]
    config = tiny.resolved("contrastmask", "paper", {option: value})
    resolved = config["model"]["roi_head"]["options"]
    assert resolved == preset_options("contrastmask", "paper") | {option: value}
    assert config["options"] == {option: value}
    model = tiny.build("contrastmask", "paper", **{option: value})
    losses = tiny.detector_losses(model, tiny.make_batch())
    sum(loss for name, loss in losses.items() if "loss" in name).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert float(losses["loss_contrast"].detach()) != 0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_two_presets_agree_in_what_they_do_not_name() -> None:
    """Setting every difference on top of `paper` gives `official`."""
    from_paper = tiny.resolved("contrastmask", "paper", dict(OFFICIAL["contrastmask"]))["model"]
    assert from_paper == tiny.resolved("contrastmask", "official", {})["model"]
