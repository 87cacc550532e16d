"""Objects assigned to boxes, against mmdet's loop."""

import contrastmask.models  # isort: skip  # noqa: F401  # before mmdet
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules.assigners import MaxIoUAssigner

from contrastmask.models.common.in_place import VectorMaxIoUAssigner

RULES = [
    dict(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3),  # of the region proposals
    dict(pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5),  # of the RoI heads
    dict(pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.0),  # of ShapeMask
    dict(pos_iou_thr=0.5, neg_iou_thr=0.5, match_low_quality=False),
    dict(pos_iou_thr=0.6, neg_iou_thr=(0.1, 0.4), min_pos_iou=0.2, gt_max_assign_all=False),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5), st.integers(0, 12), st.integers(0, 10**6))
def test_assignments_are_mmdets(rule: dict, objects: int, boxes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    overlaps = torch.from_numpy(rng.integers(0, 11, (objects, boxes)) / 10)  # many ties
    overlaps[:, rng.random(boxes) < 0.1] = -1  # ignored
    labels = torch.from_numpy(rng.integers(0, 9, objects))
    ours, theirs = (
        kind(**rule).assign_wrt_overlaps(overlaps.clone(), labels) for kind in (VectorMaxIoUAssigner, MaxIoUAssigner)
    )
    assert ours.num_gts == theirs.num_gts
    for field in ("gt_inds", "labels", "max_overlaps"):
        assert getattr(ours, field).equal(getattr(theirs, field)), field
