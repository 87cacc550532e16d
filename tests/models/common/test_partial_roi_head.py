"""Masks are learnt from base categories only, and from nothing else."""

import pytest
import torch
from models import tiny
from models.tiny import build

from contrastmask.models.common.mask_batch import MaskBatch
from contrastmask.models.common.partial_roi_head import best_proposals

from mmengine.structures import InstanceData  # isort: skip


def test_crowds_give_no_positive_and_change_nothing() -> None:
    model = build("mask-rcnn")
    crowd = tiny.Object((60, 60, 90, 90), 1)
    plain, with_crowd = (tiny.roi_losses(model, tiny.make_batch(ignored=i)) for i in ((), (crowd,)))
    assert all(plain[name].equal(with_crowd[name]) for name in plain)


def mask_rois_seen(model: torch.nn.Module, batch: tiny.Batch) -> int:
    """RoIs that pass through the mask head."""
    seen = []
    handle = model.roi_head.mask_head.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    tiny.roi_losses(model, batch)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("method", ["mask-rcnn", "contrastmask"])
def test_mask_rois_are_all_base_positives_or_only_ground_truth_boxes(method: str) -> None:
    batch = tiny.make_batch(jitter=3)
    positive, gt = (build(method, mask_rois=kind) for kind in ("positive", "gt"))
    results, _ = tiny.sampling(positive, batch)
    labels = torch.cat([r.pos_gt_labels for r in results])
    is_gt = torch.cat([r.pos_is_gt for r in results]).bool()
    base = torch.isin(labels, torch.tensor(tiny.BASE))
    assert mask_rois_seen(positive, batch) == int(base.sum()) > 2
    assert mask_rois_seen(gt, batch) == int((base & is_gt).sum()) == 2
    assert positive.roi_head.positives_of_base(results).equal(base)
    assert gt.roi_head.mask_rois(results).equal(base & is_gt)


def test_mask_targets_are_the_objects_cropped_to_the_rois() -> None:
    model = build("mask-rcnn")
    batch = tiny.make_batch()
    results, truth = tiny.sampling(model, batch)
    chosen = model.roi_head.positives_of_base(results) & torch.cat([r.pos_is_gt for r in results]).bool()
    targets = MaskBatch(results, truth, chosen, chosen).targets(28)
    assert targets.shape == (2, 28, 28)
    assert set(targets.unique().tolist()) == {0, 1}
    y, x = (torch.stack(torch.meshgrid(*[torch.arange(28) + 0.5] * 2, indexing="ij")) - 14) / 14
    disc = (x**2 + y**2 <= 1).float()  # an ellipse in its own box is a disc
    for target in targets:
        assert (target != disc).float().mean() < 0.05


def test_mask_loss_is_the_mean_cross_entropy_of_base_rois() -> None:
    head = build("mask-rcnn").roi_head
    logits, targets = torch.randn(3, 1, 28, 28), torch.randint(0, 2, (3, 28, 28)).float()
    p = torch.sigmoid(logits[:, 0].double())
    expected = -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()
    assert float(head.mask_cross_entropy(logits, targets)) == pytest.approx(float(expected), abs=1e-5)


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
