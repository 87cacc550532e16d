"""Measurements of the prior against loops that mirror their definitions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import tiny

from contrastmask.config.options import ContrastMaskOptions
from contrastmask.evaluation.prior_quality import iou, prototype_masks, right_pixels, separation
from contrastmask.models.contrastmask.cl_head import self_affinity_average
from contrastmask.models.contrastmask.keys import Partition

from mmdet.structures.bbox import bbox2roi  # isort: skip  # after contrastmask.models


def maps(seed: int, rois: int = 3, size: int = 5, share: float = 0.5) -> torch.Tensor:
    return torch.rand((rois, size, size), generator=torch.Generator().manual_seed(seed)) < share


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from((0.0, 0.3, 1.0)))
def test_counts_and_iou_equal_their_definitions(seed: int, share: float) -> None:
    masks, fg, bg = maps(seed), maps(seed + 1, share=share), maps(seed + 2, share=share)
    found = right_pixels(Partition(fg, bg), masks)
    wanted = [fg, fg & masks, bg, bg & ~masks]
    assert [f.tolist() for f in found] == [w.sum((1, 2)).tolist() for w in wanted]
    both, either = ((m.sum((1, 2)).tolist()) for m in (fg & masks, fg | masks))
    assert iou(fg, masks).tolist() == pytest.approx([b / e if e else 1.0 for b, e in zip(both, either, strict=True)])


def test_separation_is_the_cosine_of_means_on_and_off_the_object() -> None:
    features, masks = torch.randn(2, 4, 5, 5), maps(0, rois=2)
    for r, value in enumerate(separation(features, masks).tolist()):
        on = torch.stack([features[r, :, y, x] for y, x in masks[r].nonzero().tolist()]).mean(0)
        off = torch.stack([features[r, :, y, x] for y, x in (~masks[r]).nonzero().tolist()]).mean(0)
        assert value == pytest.approx(float(on @ off / on.norm() / off.norm()), abs=1e-5)


def test_separation_of_features_coarser_than_the_mask() -> None:
    """`official` without the contrastive head: features of 14 pixels, a map of 28."""
    features, masks = torch.randn(2, 4, 5, 5), maps(0, rois=2)
    twice = masks.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    assert torch.allclose(separation(features, twice), separation(features, masks))


def test_separation_of_an_object_that_fills_its_box_is_not_a_number() -> None:
    assert math.isnan(separation(torch.randn(1, 4, 5, 5), torch.ones(1, 5, 5, dtype=torch.bool)).item())


def test_prototypes_find_what_two_directions_tell_apart() -> None:
    masks = maps(3)
    on, off = torch.tensor([1.0, 0.2]), torch.tensor([-0.3, 1.0])
    projected = torch.where(masks.flatten(1)[..., None], on, off)
    sure = masks & maps(4, share=0.7), ~masks & maps(5, share=0.7)
    found = prototype_masks(projected, Partition(*sure), ContrastMaskOptions())
    assert found is not None and torch.equal(found, masks)


@pytest.mark.parametrize("similarity", ["cosine", "residual"])
def test_prototypes_are_the_queries_that_the_rois_with_both_regions_share(similarity: str) -> None:
    projected = torch.randn(3, 25, 4, generator=torch.Generator().manual_seed(0))
    regions = Partition(maps(4), maps(5) & ~maps(4))
    regions.background[2] = False  # gives no query, and is drawn all the same
    queries = [torch.stack([projected[r, s[r].flatten()].mean(0) for r in (0, 1)]).mean(0) for s in regions]

    def phi(query: torch.Tensor, key: torch.Tensor) -> float:
        key = key - query if similarity == "residual" else key
        return float(query @ key / query.norm() / key.norm())

    found = prototype_masks(projected, regions, ContrastMaskOptions(similarity=similarity))
    expected = [[phi(queries[0], key) > phi(queries[1], key) for key in roi] for roi in projected]
    assert found is not None and found.flatten(1).tolist() == expected


def test_no_prototypes_without_both_regions() -> None:
    nothing = torch.zeros(2, 5, 5, dtype=torch.bool)
    assert prototype_masks(torch.randn(2, 25, 4), Partition(maps(0, rois=2), nothing), ContrastMaskOptions()) is None


@pytest.mark.parametrize(
    ("options", "names"),
    [({"cl": False}, "X"), ({"cl_loss": False}, "XY"), ({}, "XYZ")],
)
def test_a_head_shows_the_features_that_it_has(options: dict, names: str) -> None:
    model = tiny.build(**options).eval()
    features = model.extract_feat(torch.zeros(1, 3, 96, 96))
    rois = torch.tensor([[0.0, 8, 8, 60, 70], [0, 20, 30, 21, 31]])
    found = model.roi_head.features_in_boxes(features, rois, torch.tensor([0, 1]))
    assert {name for name in found if name in "XYZ"} == set(names)
    assert found["predicted"].shape == (2,) and found["predicted"].max() < 4
    assert found["cam"].shape == (2, 14, 14) and found["cam"].min() >= 0 and found["cam"].max() <= 1


@pytest.mark.parametrize("preset", ["paper", "official"])
def test_what_is_shown_of_a_box_is_what_training_makes_of_it(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = tiny.build(preset=preset).eval(), tiny.make_batch()
    head, truth = model.roi_head, [sample.gt_instances for sample in batch.samples]
    batch.proposals = [found[:0] for found in batch.proposals]  # ground truth is all that is sampled
    monkeypatch.setattr(head, "_contrastive_cam", cam := tiny.Spy(head._contrastive_cam))
    monkeypatch.setattr(head.cl_head, "encode", encoded := tiny.Spy(head.cl_head.encode))
    monkeypatch.setattr(head.cl_head, "project", projected := tiny.Spy(head.cl_head.project))
    with torch.no_grad():
        tiny.roi_losses(model, batch)
        y = self_affinity_average(encoded.result) if preset == "official" else encoded.result
        expected = {"cam": cam.result, "X": encoded.arguments[0], "Y": y, "Z": projected.result}
        head.bbox_head.fc_cls.bias[2], head.bbox_head.fc_cls.bias[-1] = 50.0, 100.0  # the background is no class
        rois, labels = bbox2roi([t.bboxes for t in truth]), torch.cat([t.labels for t in truth])
        found = head.features_in_boxes(model.extract_feat(batch.inputs), rois, labels)
        head.bbox_head.fc_cls.bias.zero_()
    assert found.pop("predicted").tolist() == [2] * 4
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
