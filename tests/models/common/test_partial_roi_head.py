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
