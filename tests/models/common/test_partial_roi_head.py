"""Masks are learnt from base categories only, and from nothing else."""

import pytest
import torch
from models.tiny import (
    BASE,
    IMAGES,
    NOVEL,
    SIZE,
    A,
    B,
    Batch,
    Build,
    C,
    D,
    Object,
    detector_losses,
    grads,
    make_batch,
    roi_losses,
    sampling,
)

from contrastmask.models.common.partial_roi_head import MaskBatch, best_proposals

from mmengine.structures import InstanceData  # isort: skip

SYSTEMS = [("mask-rcnn", "paper"), ("contrastmask", "paper"), ("contrastmask", "official")]
TINY = Object((10, 10, 11, 11), 1), Object((40, 40, 41, 41), 0)
HARD = {
    "no base object": make_batch(((B,), (D,))),
    "no novel object": make_batch(((A,), (C,))),
    "no objects": make_batch(((), ())),
    "one image without objects": make_batch(((A, B), ())),
    "crowds only": make_batch(((), ()), ignored=(A, B)),
    "one-pixel boxes": make_batch((TINY, TINY), jitter=0),
}


@pytest.mark.parametrize("system", SYSTEMS, ids="-".join)
@pytest.mark.parametrize("batch", HARD.values(), ids=HARD)
def test_losses_are_finite_and_every_parameter_has_a_gradient(build: Build, system: tuple, batch: Batch) -> None:
    model = build(*system)
    losses = detector_losses(model, batch)
    sum(loss for name, loss in losses.items() if "loss" in name).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    # a parameter without a gradient would stop a distributed training
    missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("system", SYSTEMS, ids="-".join)
@pytest.mark.parametrize("name", ["no base object", "no objects", "crowds only"])
def test_mask_loss_is_exactly_zero_without_base_objects(build: Build, system: tuple, name: str) -> None:
    model = build(*system)
    loss = roi_losses(model, HARD[name])["loss_mask"]
    assert float(loss.detach()) == 0
    loss.backward()
    reached = grads(model.roi_head.mask_head)
    assert reached.keys() == {n for n, _ in model.roi_head.mask_head.named_parameters()}
    assert set(reached.values()) == {0.0}


@pytest.mark.parametrize("system", SYSTEMS, ids="-".join)
def test_novel_masks_change_no_loss_by_a_bit_and_base_masks_do(build: Build, system: tuple) -> None:
    model = build(*system)
    losses, novel, base = (detector_losses(model, make_batch(scrambled=s)) for s in ((), NOVEL, BASE))
    assert losses.keys() == novel.keys()
    assert all(losses[name].equal(novel[name]) for name in losses)
    assert not losses["loss_mask"].equal(base["loss_mask"])
    assert losses["loss_cls"].equal(base["loss_cls"])


@pytest.mark.parametrize("system", SYSTEMS, ids="-".join)
def test_novel_masks_change_no_gradient(build: Build, system: tuple) -> None:
    model = build(*system)
    found = []
    for scrambled in ((), NOVEL):
        model.zero_grad()
        losses = roi_losses(model, make_batch(scrambled=scrambled))
        (losses["loss_mask"] + losses.get("loss_contrast", 0)).backward()
        found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert all(found[0][n].equal(found[1][n]) for n in found[0])


def test_crowds_give_no_positive_and_change_nothing(build: Build) -> None:
    model = build("mask-rcnn")
    crowd = Object((60, 60, 90, 90), 1)
    plain, with_crowd = (roi_losses(model, make_batch(ignored=i)) for i in ((), (crowd,)))
    assert all(plain[name].equal(with_crowd[name]) for name in plain)


def mask_rois_seen(model: torch.nn.Module, batch: Batch) -> int:
    """RoIs that pass through the mask head."""
    seen = []
    handle = model.roi_head.mask_head.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    roi_losses(model, batch)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("method", ["mask-rcnn", "contrastmask"])
def test_mask_rois_are_all_base_positives_or_only_ground_truth_boxes(build: Build, method: str) -> None:
    batch = make_batch(jitter=3)
    positive, gt = (build(method, mask_rois=kind) for kind in ("positive", "gt"))
    results, _ = sampling(positive, batch)
    labels = torch.cat([r.pos_gt_labels for r in results])
    is_gt = torch.cat([r.pos_is_gt for r in results]).bool()
    base = torch.isin(labels, torch.tensor(BASE))
    assert mask_rois_seen(positive, batch) == int(base.sum()) > 2
    assert mask_rois_seen(gt, batch) == int((base & is_gt).sum()) == 2
    assert positive.roi_head.positives_of_base(results).equal(base)
    assert gt.roi_head.mask_rois(results).equal(base & is_gt)


def test_mask_targets_are_the_objects_cropped_to_the_rois(build: Build) -> None:
    model = build("mask-rcnn")
    batch = make_batch()
    results, truth = sampling(model, batch)
    chosen = model.roi_head.positives_of_base(results) & torch.cat([r.pos_is_gt for r in results]).bool()
    targets = MaskBatch(results, truth, chosen, chosen).targets(28)
    assert targets.shape == (2, 28, 28)
    assert set(targets.unique().tolist()) == {0, 1}
    y, x = (torch.stack(torch.meshgrid(*[torch.arange(28) + 0.5] * 2, indexing="ij")) - 14) / 14
    disc = (x**2 + y**2 <= 1).float()  # an ellipse in its own box is a disc
    for target in targets:
        assert (target != disc).float().mean() < 0.05


def test_mask_loss_is_the_mean_cross_entropy_of_base_rois(build: Build) -> None:
    head = build("mask-rcnn").roi_head
    logits, targets = torch.randn(3, 1, 28, 28), torch.randint(0, 2, (3, 28, 28)).float()
    p = torch.sigmoid(logits[:, 0].double())
    expected = -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()
    assert float(head.mask_cross_entropy(logits, targets)) == pytest.approx(float(expected), abs=1e-5)


def given_boxes() -> list[torch.Tensor]:
    return [torch.tensor([[10.0, 12, 40, 30], [50, 50, 90, 80]]), torch.zeros(0, 4)]


@pytest.mark.parametrize("system", SYSTEMS, ids="-".join)
def test_masks_in_boxes_fill_the_boxes_at_the_original_size(build: Build, system: tuple) -> None:
    model = build(*system).eval()
    boxes, labels = given_boxes(), [torch.tensor([1, 0]), torch.zeros(0, dtype=torch.long)]
    metas = [dict(img_shape=(SIZE, SIZE), ori_shape=(2 * SIZE, 2 * SIZE), scale_factor=(0.5, 0.5))] * 2
    bias = model.roi_head.mask_head.conv_logits.bias
    before = bias.detach().clone()
    with torch.no_grad():
        bias.fill_(100.0)  # every logit is positive: the mask is the whole box
        features = model.extract_feat(make_batch().inputs)
        found = model.roi_head.predict_masks_in_boxes(features, metas, boxes, labels)
        nothing = model.roi_head.predict_masks_in_boxes(features, metas, boxes[1:] * 2, labels[1:] * 2)
        bias.copy_(before)
    assert [r.masks.shape for r in found] == [(2, 2 * SIZE, 2 * SIZE), (0, 2 * SIZE, 2 * SIZE)]
    assert [r.masks.shape for r in nothing] == [(0, 2 * SIZE, 2 * SIZE)] * 2
    for mask, (x1, y1, x2, y2) in zip(found[0].masks, (2 * given_boxes()[0]).int().tolist(), strict=True):
        inside = torch.zeros(2 * SIZE, 2 * SIZE, dtype=torch.bool)
        inside[y1:y2, x1:x2] = True
        assert mask[y1 + 4 : y2 - 4, x1 + 4 : x2 - 4].all()
        inside[max(y1 - 4, 0) : y2 + 4, max(x1 - 4, 0) : x2 + 4] = True
        assert not (mask & ~inside).any()
    assert boxes[0].equal(given_boxes()[0]), "the caller's boxes are left alone"


@pytest.mark.parametrize("system", SYSTEMS, ids="-".join)
def test_features_reach_roi_align_in_fp32_under_autocast(build: Build, system: tuple) -> None:
    model, batch = build(*system), make_batch(IMAGES).fresh()
    types = set()
    layers = [
        m.register_forward_pre_hook(lambda module, args: types.update(a.dtype for a in args))
        for m in model.modules()
        if type(m).__name__ == "RoIAlign"
    ]
    with torch.autocast("cpu", torch.bfloat16):
        losses = detector_losses(model, batch)
    sum(loss for name, loss in losses.items() if "loss" in name).backward()
    for handle in layers:
        handle.remove()
    assert types == {torch.float32}
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_best_proposals_of_two_images_together() -> None:
    """As Detectron's 2,000 of a GPU's images; the third image is a group of its own."""
    scores = [torch.tensor([0.9, 0.2, 0.8]), torch.tensor([0.7, 0.1]), torch.tensor([0.3, 0.4])]
    found = best_proposals([InstanceData(scores=s, bboxes=torch.zeros(len(s), 4)) for s in scores], 2, 3)
    assert [f.scores.tolist() for f in found] == [
        pytest.approx([0.9, 0.8]),
        pytest.approx([0.7]),
        pytest.approx([0.3, 0.4]),
    ]
    assert [len(f) for f in best_proposals([InstanceData(scores=s[:0]) for s in scores], 2, 3)] == [0, 0, 0]
