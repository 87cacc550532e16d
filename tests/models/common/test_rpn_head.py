"""Losses and proposals of all images at once, against mmdet's image by image."""

import copy
from typing import Any

import contrastmask.models  # isort: skip  # noqa: F401  # before mmdet
import pytest
import torch
from mmdet.models.dense_heads import RPNHead
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from models import tiny
from torch import Tensor

from contrastmask.models.common.in_place import BatchRPNHead
from contrastmask.training.build import put_in_place

SIZES = [(96, 128), (64, 100), (96, 90)]  # height and width of the images, px
PADDED = (96, 128)
OBJECTS = (3, 0, 2)


def head(kind: type[RPNHead], **sampler: Any) -> RPNHead:
    """The configuration's, with other numbers for the sampler."""
    init_default_scope("mmdet")
    model = copy.deepcopy(tiny.resolved("mask-rcnn", "paper", {})["model"])
    train_cfg = put_in_place(model["train_cfg"]["rpn"])
    train_cfg["sampler"] |= sampler
    del model["rpn_head"]["type"]
    test_cfg = dict(model["test_cfg"]["rpn"], nms_pre=50, max_per_img=30)
    return kind(**ConfigDict(model["rpn_head"]), train_cfg=ConfigDict(train_cfg), test_cfg=ConfigDict(test_cfg))


def case(seed: int = 0) -> tuple[list[Tensor], list[Tensor], list[InstanceData], list[dict]]:
    """What the head's convolutions give, the truth and the images' facts."""
    generator = torch.Generator().manual_seed(seed)
    sides = [(PADDED[0] // s, PADDED[1] // s) for s in (4, 8, 16, 32, 64)]
    scores = [torch.randn(len(SIZES), 3, h, w, generator=generator).requires_grad_() for h, w in sides]
    deltas = [(0.3 * torch.randn(len(SIZES), 12, h, w, generator=generator)).requires_grad_() for h, w in sides]
    truth = []
    for number, (height, width) in zip(OBJECTS, SIZES, strict=True):
        limits = torch.tensor([width, height])
        corners = torch.rand(number, 2, generator=generator) * limits * 0.5
        boxes = torch.cat([corners, corners + limits * (0.15 + 0.3 * torch.rand(number, 2, generator=generator))], 1)
        truth.append(InstanceData(bboxes=boxes, labels=torch.zeros(number, dtype=torch.long)))
    metas = [dict(img_shape=size, pad_shape=tuple(-(-s // 32) * 32 for s in size)) for size in SIZES]
    return scores, deltas, truth, metas


@pytest.mark.parametrize("nms_pre", [50, 10**6])
def test_proposals_are_mmdets(nms_pre: int) -> None:
    scores, deltas, _, metas = case()
    found = []
    for kind in (BatchRPNHead, RPNHead):
        rpn = head(kind)
        rpn.test_cfg.nms_pre = nms_pre
        found.append(rpn.predict_by_feat(scores, deltas, batch_img_metas=metas))
    for ours, theirs in zip(*found, strict=True):
        assert len(ours) == len(theirs) > 10
        for field in ("bboxes", "scores", "labels"):
            assert ours[field].equal(theirs[field]), field
            assert not ours[field].requires_grad


def test_kept_anchors_are_those_of_the_maps_at_hand() -> None:
    """Upright and lying images have as many anchors, in other places."""
    rpn = head(BatchRPNHead)
    upright, lying = ([torch.Size((h, w)[::step]) for h, w in ((24, 16), (12, 8), (6, 4), (3, 2), (2, 1))]
                      for step in (1, -1))  # fmt: skip
    for sizes in (upright, lying, lying, upright):
        expected = rpn.prior_generator.grid_priors(sizes, device="cpu")
        assert all(a.equal(b) for a, b in zip(rpn._anchors(sizes, torch.device("cpu")), expected, strict=True))


def test_losses_and_gradients_are_mmdets_when_every_anchor_is_sampled() -> None:
    everything = dict(num=10**5)
    found = []
    for kind in (BatchRPNHead, RPNHead):
        scores, deltas, truth, metas = case()
        losses = head(kind, **everything).loss_by_feat(scores, deltas, truth, metas)
        values = [sum(v) if isinstance(v, list) else v for v in losses.values()]
        sum(values).backward()
        found.append((list(losses), values, [level.grad for level in (*scores, *deltas)]))
    assert found[0][0] == found[1][0]
    for ours, theirs in zip((*found[0][1], *found[0][2]), (*found[1][1], *found[1][2]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)


def test_as_many_anchors_are_sampled_as_mmdet_samples() -> None:
    rpn = head(BatchRPNHead, num=12)
    assigned = torch.zeros(4, 40, dtype=torch.long)
    assigned[0, :20] = 1  # more positives than half of 12
    assigned[1, 3:5] = 1  # fewer: negatives fill up
    assigned[2, 7:] = -1  # few negatives
    assigned[3] = -1  # nothing
    positive, is_positive, negative, is_negative = rpn._sample(assigned)
    assert is_positive.sum(1).tolist() == [6, 2, 0, 0]
    assert is_negative.sum(1).tolist() == [6, 10, 7, 0]
    for image in range(4):
        for columns, there, kind in ((positive, is_positive, 1), (negative, is_negative, 0)):
            chosen = columns[image][there[image]]
            assert len(chosen.unique()) == len(chosen)
            assert (assigned[image][chosen] == kind).all()


def test_every_anchor_is_sampled_alike() -> None:
    rpn = head(BatchRPNHead, num=8)
    torch.manual_seed(0)
    assigned = torch.tensor([1] * 10 + [0] * 10 + [-1] * 5).repeat(4000, 1)
    positive, _, negative, is_negative = rpn._sample(assigned)
    rates = torch.bincount(torch.cat([positive.flatten(), negative[is_negative]]), minlength=25) / 4000
    # 4 of 10; sd of a rate sqrt(0.4 x 0.6 / 4000) = 0.008
    assert (rates[:20] - 0.4).abs().max() < 0.035
    assert rates[20:].sum() == 0


def test_images_without_objects_train_on_background() -> None:
    scores, deltas, truth, metas = case()
    truth = [t[:0] for t in truth]
    losses = head(BatchRPNHead).loss_by_feat(scores, deltas, truth, metas)
    sum(losses.values()).backward()
    assert float(losses["loss_rpn_cls"].detach()) > 0
    assert float(losses["loss_rpn_bbox"].detach()) == 0
    assert all(level.grad is not None and torch.isfinite(level.grad).all() for level in (*scores, *deltas))
