"""Losses of novel RoIs from their boxes: against loops, against mmdet's BoxInst head, and what they reach."""

import math

import cv2
import numpy as np
import pytest
import torch
from models.tiny import NOVEL, SIZE, Spy, build, grads, make_batch, resolved, roi_losses, sampling
from torchvision.ops import roi_align

from contrastmask.config.options import METHODS, SystemOptions
from contrastmask.models.common.box_losses import (
    ALIKE,
    DILATION,
    ColourPreprocessor,
    box_targets,
    pairwise_loss,
    projection_loss,
)

from mmdet.models.losses import DiceLoss  # isort: skip  # after contrastmask.models

TRAINED = [name for name, kind in METHODS.items() if issubclass(kind, SystemOptions)]


def case(seed: int = 0, n: int = 3, size: int = 9) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (n, size, size), boxes inside the RoI alike, colours of a few flat regions (n, 3, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, size, size, generator=generator)
    inside = torch.zeros(n, size, size)
    for k in range(n):
        inside[k, k : size - 1, 1 : size - k] = 1
    regions = torch.randint(0, 3, (n, 1, size, size), generator=generator)
    colours = 40.0 * regions + torch.rand(n, 3, size, size, generator=generator)
    return logits, inside, colours


def naive_pairs(logits: torch.Tensor, inside: torch.Tensor, colours: torch.Tensor) -> float:
    """The pairwise term pixel by pixel."""
    total = number = 0.0
    size = logits.shape[-1]
    steps = [(i, j) for i in (-DILATION, 0, DILATION) for j in (-DILATION, 0, DILATION) if (i, j) != (0, 0)]
    for n in range(len(logits)):
        p = logits[n].double().sigmoid()
        for y in range(size):
            for x in range(size):
                for i, j in steps:
                    v, u = y + i, x + j
                    if not (inside[n, y, x] and 0 <= v < size and 0 <= u < size):
                        continue
                    distance = float((colours[n, :, y, x] - colours[n, :, v, u]).norm())
                    if math.exp(-distance / 2) >= ALIKE:
                        total -= math.log(p[y, x] * p[v, u] + (1 - p[y, x]) * (1 - p[v, u]))
                        number += 1
    return total / max(number, 1)


def test_the_pairwise_loss_is_that_of_a_loop() -> None:
    assert float(pairwise_loss(*case())) == pytest.approx(naive_pairs(*case()), rel=1e-4)


def test_the_projection_loss_is_that_of_mmdets_boxinst() -> None:
    logits, inside, _ = case()
    dice = DiceLoss(use_sigmoid=True, activate=True, eps=5e-6, reduction="none")
    theirs = sum(dice(logits.amax(axis), inside.amax(axis)) for axis in (1, 2)).mean()
    torch.testing.assert_close(projection_loss(logits, inside), theirs)


def test_without_rois_the_losses_are_zero_with_a_gradient() -> None:
    logits = torch.zeros(0, 9, 9, requires_grad=True)
    nothing = torch.zeros(0, 9, 9)
    loss = projection_loss(logits, nothing) + pairwise_loss(logits, nothing, torch.zeros(0, 3, 9, 9))
    loss.backward()
    assert float(loss.detach()) == 0


def test_the_box_inside_a_roi_is_drawn_by_pixel_centres() -> None:
    found = box_targets(torch.tensor([[2.0, 4, 6, 8]]), torch.tensor([[0.0, 0, 8, 16]]), 8)[0]
    y, x = found.nonzero().T
    assert (y.unique().tolist(), x.unique().tolist()) == ([2, 3], [2, 3, 4, 5])
    assert box_targets(torch.tensor([[2.0, 4, 6, 8]]), torch.tensor([[2.0, 4, 6, 8]]), 5).eq(1).all()


def test_the_preprocessor_gives_training_images_their_colours() -> None:
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    preprocessor = ColourPreprocessor(mean=mean, std=std, bgr_to_rgb=True, pad_size_divisor=32)
    batch = make_batch()
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    images = [torch.from_numpy(pixels).permute(2, 0, 1)] * 2  # BGR
    samples = preprocessor({"inputs": images, "data_samples": batch.samples}, training=True)["data_samples"]
    expected = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
    torch.testing.assert_close(samples[0].colours.permute(1, 2, 0), torch.from_numpy(expected), atol=0.5, rtol=0)


# ---------------------------------------------------------------------------- in the systems


def coloured(**kwargs):
    batch = make_batch(**kwargs)
    generator = torch.Generator().manual_seed(3)
    for sample in batch.samples:
        sample.colours = 100 * torch.rand(3, SIZE // 8, SIZE // 8, generator=generator).repeat_interleave(8, 1)
        sample.colours = sample.colours.repeat_interleave(8, 2)
    return batch


@pytest.mark.parametrize("method", TRAINED)
def test_every_system_has_them_by_one_option(method: str) -> None:
    config = resolved(method, "paper", {"box_losses": "both"})
    assert config["model"]["data_preprocessor"]["type"] == "ColourPreprocessor"
    assert resolved(method, "paper", {})["model"]["data_preprocessor"]["type"] == "DetDataPreprocessor"


@pytest.mark.parametrize("method", ["mask-rcnn", "contrastmask", "maskx-rcnn", "shapeprop"])
def test_they_reach_the_mask_head_and_read_no_novel_mask(method: str) -> None:
    model = build(method, box_losses="both")
    plain, scrambled = (roi_losses(model, coloured(scrambled=labels)) for labels in ((), NOVEL))
    assert {"loss_projection", "loss_pairwise"} <= plain.keys()
    assert all(plain[name].equal(scrambled[name]) for name in plain)
    (plain["loss_projection"] + plain["loss_pairwise"]).backward()
    assert any(size > 0 for size in grads(model.roi_head.mask_head).values())


def test_they_are_of_novel_rois_with_their_own_objects_boxes_and_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """One RoI at a time, from its image's ground truth; base RoIs, whose masks are known, have none."""
    model, batch = build("mask-rcnn", box_losses="both"), coloured(jitter=2)
    model.roi_head.progress = 1.0
    results, truth = sampling(model, batch)
    monkeypatch.setattr(model.roi_head.mask_head, "forward", seen := Spy(model.roi_head.mask_head.forward))
    losses = roi_losses(model, batch)
    rows, inside, colours = [], [], []
    places = [(n, r) for n, res in enumerate(results) for r in range(len(res.pos_priors))]
    for row, (n, r) in enumerate(places):
        roi, number = results[n].pos_priors[r : r + 1], results[n].pos_assigned_gt_inds[r : r + 1]
        if int(truth[n].labels[number]) in NOVEL:
            rows.append(row)
            inside.append(box_targets(truth[n].bboxes[number], roi, 28))
            colours.append(roi_align(batch.samples[n].colours[None], [roi], 28, aligned=True))
    assert len(seen.result) == len(places) > len(rows) > 2 and rows != [*range(len(rows))]
    logits, inside = seen.result[rows, 0], torch.cat(inside)
    assert not inside.all()
    torch.testing.assert_close(losses["loss_projection"], projection_loss(logits, inside))
    torch.testing.assert_close(losses["loss_pairwise"], pairwise_loss(logits, inside, torch.cat(colours)))


def test_one_kind_alone_and_base_objects_only() -> None:
    names = {kind: roi_losses(build(box_losses=kind), coloured()).keys() for kind in ("none", "projection", "pairwise")}
    assert {
        kind: sorted(n for n in found if n.endswith(("projection", "pairwise"))) for kind, found in names.items()
    } == {
        "none": [],
        "projection": ["loss_projection"],
        "pairwise": ["loss_pairwise"],
    }


@pytest.mark.parametrize("rois", ["positive", "gt"])
def test_the_mask_loss_of_base_rois_stays_the_same(rois: str) -> None:
    without, with_ = (build("mask-rcnn", mask_rois=rois, box_losses=kind) for kind in ("none", "projection"))
    with_.load_state_dict(without.state_dict())
    torch.testing.assert_close(roi_losses(without, coloured())["loss_mask"], roi_losses(with_, coloured())["loss_mask"])


def test_the_pairwise_loss_warms_up() -> None:
    model, values = build("mask-rcnn", box_losses="pairwise"), []
    for progress in (0.0, 1 / 18, 1 / 9, 1.0):
        model.roi_head.progress = progress
        values.append(float(roi_losses(model, coloured())["loss_pairwise"].detach()))
    assert values[0] == 0
    assert values[1] == pytest.approx(values[2] / 2)
    assert values[2] == pytest.approx(values[3])
