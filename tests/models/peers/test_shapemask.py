"""ShapeMask: priors, pasting, embedding and losses against naive references; gating; outer boxes at test."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from models import tiny
from models.tiny import A, B, Object

from contrastmask.config import settings_with
from contrastmask.models.peers.shapemask import (
    JITTER,
    OBJECTS,
    clip,
    instance_embedding,
    jitter,
    outer_boxes,
    paste,
    per_target_pixel,
)
from contrastmask.training.build import build_model

MASK_LOSSES = ("loss_prior", "loss_coarse", "loss_mask")


# ---------------------------------------------------------------------------- boxes


def test_jittered_boxes_move_and_stretch_by_the_noise() -> None:
    torch.manual_seed(0)
    box = torch.tensor([[10.0, 20, 50, 100]])
    found = jitter(box.repeat(20_000, 1))
    centres, sides = (found[:, :2] + found[:, 2:]) / 2, found[:, 2:] - found[:, :2]
    assert torch.allclose(centres.mean(0), torch.tensor([30.0, 60]), atol=0.1)
    assert torch.allclose(centres.std(0) / torch.tensor([40.0, 80]), torch.tensor(JITTER), rtol=0.05)
    assert torch.allclose((sides / torch.tensor([40.0, 80])).log().std(0), torch.tensor(JITTER), rtol=0.05)


def test_outer_boxes_are_a_quarter_larger_and_end_at_the_border() -> None:
    boxes = torch.tensor([[40.0, 40, 80, 60], [0, 90, 40, 96], [10, 10, 10, 10]])
    expected = torch.tensor([[35.0, 37.5, 85, 62.5], [0, 89.25, 45, 96], [10, 10, 10, 10]])
    assert outer_boxes(boxes, (96, 128)).equal(expected)
    assert clip(torch.tensor([[-5.0, 3, 200, 99]]), (96, 128)).tolist() == [[0, 3, 128, 96]]


# ---------------------------------------------------------------------------- prior


def naive_paste(mask: np.ndarray, box: list[float], frame: list[float]) -> np.ndarray:
    """Pixel by pixel: the mask at the frame's pixel centre, bilinear between the mask's pixel centres, 0 beyond."""
    height, width = mask.shape
    found = np.zeros_like(mask)
    for row in range(height):
        for column in range(width):
            x = frame[0] + (column + 0.5) / width * (frame[2] - frame[0])
            y = frame[1] + (row + 0.5) / height * (frame[3] - frame[1])
            u = (x - box[0]) / (box[2] - box[0]) * width - 0.5
            v = (y - box[1]) / (box[3] - box[1]) * height - 0.5
            for i in (math.floor(v), math.floor(v) + 1):
                for j in (math.floor(u), math.floor(u) + 1):
                    if 0 <= i < height and 0 <= j < width:
                        found[row, column] += mask[i, j] * (1 - abs(v - i)) * (1 - abs(u - j))
    return found


@pytest.mark.parametrize(
    ("box", "frame"),
    [
        ([10.0, 20, 50, 60], [5.0, 15, 55, 65]),
        ([0.0, 3, 17, 90], [0.0, 0, 19.125, 96]),  # clipped to the left and below
        ([7.0, 7, 8, 8], [6.875, 6.875, 8.125, 8.125]),
        ([1.0, 2, 9, 6], [1.0, 2, 9, 6]),
        ([1.0, 2, 9, 6], [51.0, 52, 59, 56]),  # beside it: nothing
    ],
)
def test_a_mask_is_pasted_where_its_box_lies_in_the_frame(box: list[float], frame: list[float]) -> None:
    mask = torch.rand(12, 12, generator=torch.Generator().manual_seed(0))
    found = paste(mask[None], torch.tensor([box]), torch.tensor([frame]))[0]
    assert np.allclose(found, naive_paste(mask.numpy(), box, frame), atol=1e-5)


@given(st.integers(0, 10_000))
def test_the_prior_is_a_convex_mixture_of_the_priors(seed: int) -> None:
    head, generator = tiny.build("shapemask").roi_head.mask_head, torch.Generator().manual_seed(seed)
    features = 50 * torch.randn(3, head.in_channels, 32, 32, generator=generator)
    box = torch.tensor([[10.0, 20, 50, 60]]).repeat(3, 1)  # fills its frame: nothing is cut off
    with torch.no_grad():
        found = head.estimate_prior(features, box, box)
        weights = head.shape_logits(features.mean((2, 3))).softmax(1)
    assert (weights >= 0).all() and torch.allclose(weights.sum(1), torch.ones(3))
    expected = sum(weights[:, k, None, None] * head.priors[k] for k in range(len(head.priors)))
    assert torch.allclose(found, expected, atol=1e-5)
    assert (found >= head.priors.amin(0) - 1e-5).all() and (found <= head.priors.amax(0) + 1e-5).all()


def test_only_features_inside_the_box_choose_the_prior() -> None:
    head = tiny.build("shapemask").roi_head.mask_head
    inner, outer = torch.tensor([[5.0, 5, 37, 37]]), torch.tensor([[1.0, 1, 41, 41]])
    features = torch.randn(1, head.in_channels, 32, 32)
    changed = features.clone()
    changed[..., :2] += 100  # the inner box begins in column 3.2
    with torch.no_grad():
        assert head.estimate_prior(features, inner, outer).equal(head.estimate_prior(changed, inner, outer))
        changed[..., 10] += 100
        assert not head.estimate_prior(features, inner, outer).equal(head.estimate_prior(changed, inner, outer))


# ---------------------------------------------------------------------------- masks


def test_the_embedding_is_the_mean_of_the_features_in_the_coarse_mask() -> None:
    features, logits = torch.randn(3, 4, 5, 5), torch.randn(3, 1, 5, 5)
    logits[1] = -1.0  # nothing is foreground
    logits[2] = 0.0  # a probability of exactly 0.5 is not
    found = instance_embedding(features, logits)
    chosen = [(i, j) for i in range(5) for j in range(5) if torch.sigmoid(logits[0, 0, i, j]) > 0.5]
    expected = sum(features[0, :, i, j] for i, j in chosen) / len(chosen)
    assert torch.allclose(found[0, :, 0, 0], expected, atol=1e-6)
    assert found.shape == (3, 4, 1, 1) and not found[1:].any()


def test_the_coarse_mask_sees_the_prior_and_the_fine_one_the_coarse_mask_and_what_tells_the_object_apart() -> None:
    head = copy.deepcopy(tiny.build("shapemask").roi_head.mask_head).eval()
    torch.manual_seed(0)
    for parameter in head.parameters():  # far from the first weights, whose masks are almost constant
        torch.nn.init.normal_(parameter, std=0.2)
    x = torch.randn(2, head.reduce.in_channels, 32, 32)
    inner, outer = torch.tensor([[10.0, 20, 50, 60]] * 2), torch.tensor([[5.0, 15, 55, 65]] * 2)
    with torch.no_grad():
        head.coarse_logits.bias -= head(x, inner, outer)[1].median()
        prior, coarse, fine = head(x, inner, outer)
        features = head.reduce(x)
        torch.testing.assert_close(prior, head.estimate_prior(features, inner, outer))
        seen = features + head.prior_embedding(prior[:, None])
        torch.testing.assert_close(coarse, head.coarse_logits(head.coarse_convs(seen))[:, 0])
        own = [features[r][:, coarse[r].sigmoid() > 0.5].mean(1) for r in range(2)]
        refined = features - torch.stack(own)[..., None, None] + head.mask_embedding(coarse.sigmoid()[:, None])
        for conv in head.convs:
            refined = conv(refined)
        torch.testing.assert_close(fine, head.conv_logits(head.upsample(refined))[:, 0], rtol=1e-3, atol=1e-3)
    assert 0.1 < (coarse > 0).float().mean() < 0.9 and fine.std() > 0.1


def test_first_masks_are_almost_empty() -> None:
    head = tiny.build("shapemask").roi_head.mask_head
    for layer in (head.coarse_logits, head.conv_logits):
        assert float(layer.bias) == pytest.approx(-math.log(99))


# ---------------------------------------------------------------------------- losses


def test_losses_are_sums_over_base_masks_over_their_own_pixels_times_the_share_of_base_objects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net, batch = tiny.build("shapemask"), tiny.make_batch()
    head = net.roi_head
    monkeypatch.setattr(head.mask_head, "forward", seen := tiny.Spy(head.mask_head.forward))
    monkeypatch.setattr(head, "training_rois", rois := tiny.Spy(head.training_rois))
    losses = tiny.detector_losses(net, batch)
    outer = seen.arguments[2].detach()
    objects = [(n, int(row)) for n, found in enumerate(rois.result) for row in found.pos_assigned_gt_inds]
    labels = torch.cat([found.pos_gt_labels for found in rois.result]).tolist()
    assert set(labels) == {*tiny.BASE, *tiny.NOVEL}
    base = [r for r, label in enumerate(labels) if label in tiny.BASE]
    for name, maps in zip(MASK_LOSSES, seen.result, strict=True):
        size, total, pixels = maps.shape[1:], 0.0, 0.0
        for r in base:
            image, row = objects[r]
            mask = batch.samples[image].gt_instances.masks[row]
            target = mask.crop_and_resize(outer[r : r + 1], size, torch.tensor([0])).to_tensor(torch.float64, "cpu")[0]
            found = maps[r].detach().double()
            entropy = F.binary_cross_entropy_with_logits(found, target, reduction="sum")
            total += 0.1 * (found - target).square().sum() / 2 if name == "loss_prior" else entropy
            pixels += target.sum()
        expected = len(base) / len(labels) * total / pixels
        assert float(losses[name].detach()) == pytest.approx(float(expected), rel=1e-4)


def test_a_mask_without_a_pixel_does_not_divide_by_zero() -> None:
    assert float(per_target_pixel(torch.ones(1, 2, 2), torch.zeros(1, 2, 2))) == 4


def test_the_head_sees_boxes_that_end_at_the_border_and_outer_ones_around_them(monkeypatch: pytest.MonkeyPatch) -> None:
    net, size = tiny.build("shapemask"), (tiny.SIZE, tiny.SIZE)
    monkeypatch.setattr(net.roi_head.mask_head, "forward", seen := tiny.Spy(net.roi_head.mask_head.forward))
    monkeypatch.setattr(net.roi_head, "training_rois", rois := tiny.Spy(net.roi_head.training_rois))
    tiny.detector_losses(net, tiny.make_batch(((Object((0, 0, tiny.SIZE, tiny.SIZE), 1),), (A, B))))
    given = torch.cat([found.pos_priors for found in rois.result])
    assert given.min() < 0 or given.max() > tiny.SIZE
    assert seen.arguments[1].equal(clip(given, size)) and seen.arguments[2].equal(outer_boxes(clip(given, size), size))
    found = torch.tensor([[20.0, 12, 60, 52], [64, 64, 96, 96]])
    tiny.boxes_at_test(net.eval(), [found, found[:0]], [torch.zeros(n, dtype=torch.long) for n in (2, 0)])
    assert seen.arguments[1].equal(found) and seen.arguments[2].equal(outer_boxes(found, size))


def test_at_most_eight_random_objects_of_an_image_are_segmented() -> None:
    many = tuple(Object((4 * n, 4 * n, 4 * n + 20, 4 * n + 30), n % 4) for n in range(12))
    net, batch = tiny.build("shapemask"), tiny.make_batch((many, (A, B)))
    gts = [sample.gt_instances for sample in batch.samples]
    chosen = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        first, second = net.roi_head.training_rois(gts, None)
        assert len(first.pos_priors) == len(set(first.pos_assigned_gt_inds.tolist())) == OBJECTS
        assert sorted(second.pos_assigned_gt_inds.tolist()) == [0, 1]
        assert first.pos_gt_labels.equal(gts[0].labels[first.pos_assigned_gt_inds])
        chosen.append((first.pos_assigned_gt_inds.tolist(), first.pos_priors))
    assert chosen[0][0] == chosen[2][0] != chosen[1][0]
    assert chosen[0][1].equal(chosen[2][1])


def test_box_loss_is_hubers_with_delta_015_and_weight_50_a_quarter_of_it_per_anchor() -> None:
    loss, delta = tiny.build("shapemask").bbox_head.loss_bbox, 0.15
    found, target = torch.tensor([[0.05, -0.1, 0.4, 0.0]], requires_grad=True), torch.zeros(1, 4)
    huber = F.huber_loss(found, target, delta=delta, reduction="sum")
    ours = loss(found, target, avg_factor=3)
    assert float(ours) == pytest.approx(float(50 * huber / (4 * 3)), rel=1e-5)
    gradient = torch.autograd.grad(ours, found)[0]
    assert torch.allclose(gradient, 50 / 12 * found.detach().clamp(-delta, delta))


# ---------------------------------------------------------------------------- test


def test_masks_fill_the_outer_box_at_the_original_size_and_boxes_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    net = tiny.build("shapemask").eval()
    monkeypatch.setattr(net.roi_head.mask_head.conv_logits.bias, "data", torch.full((1,), 1e4))
    boxes = [torch.tensor([[20.0, 12, 60, 52], [64, 64, 96, 96]]), torch.zeros(0, 4)]
    found, nothing = tiny.boxes_at_test(net, boxes, [torch.zeros(len(b), dtype=torch.long) for b in boxes])
    assert nothing.masks.shape == (0, 2 * tiny.SIZE, 2 * tiny.SIZE)
    assert torch.allclose(found.bboxes, 2 * boxes[0])
    expected = [(30, 14, 130, 114), (120, 120, 192, 192)]  # twice the outer boxes
    for mask, (x1, y1, x2, y2) in zip(found.masks, expected, strict=True):
        inside = torch.zeros_like(mask)
        inside[y1:y2, x1:x2] = True
        assert (mask ^ inside).sum() <= 2 * (x2 - x1 + y2 - y1)  # its outermost pixels


def test_features_of_a_large_outer_box_come_from_a_coarser_level() -> None:
    extractor = tiny.build("shapemask").roi_head.mask_roi_extractor
    sides = torch.tensor([20.0, 223, 225, 447, 449, 5000])
    rois = torch.stack([sides * 0, sides * 0, sides * 0, sides, sides], 1)
    assert extractor.map_roi_levels(rois, 5).tolist() == [0, 0, 1, 1, 2, 4]


# ---------------------------------------------------------------------------- configuration


def test_priors_come_from_the_file_and_go_with_the_weights(tmp_path: Path) -> None:
    priors = np.random.default_rng(0).random((3, 32, 32), dtype=np.float32)
    np.savez(tmp_path / "priors.npz", priors=priors)
    config = tiny.resolved("shapemask", "paper", {"priors": 3})
    net = build_model(config, tiny.DATASET, tiny.SPLIT, weights=None, priors=tmp_path / "priors.npz")
    net.init_weights()
    assert np.array_equal(net.roi_head.mask_head.priors.numpy(), priors)
    again = build_model(config, tiny.DATASET, tiny.SPLIT, weights=None)
    again.load_state_dict(net.state_dict())
    assert np.array_equal(again.roi_head.mask_head.priors.numpy(), priors)


def test_settings_name_the_priors_file_of_each_run() -> None:
    settings = settings_with({})
    options = tiny.paper_config("shapemask", priors=20)["model"]["roi_head"]["options"]
    path = settings.shape_priors("nonvoc2voc", options)
    assert path is not None and path.parts[-2:] == ("nonvoc2voc", "shape_priors-K20-a1024.npz")
    assert settings.shape_priors("nonvoc2voc", {"mask_rois": "gt"}) is None


def test_necks() -> None:
    fpn, nas = tiny.paper_config("shapemask")["model"], tiny.paper_config("shapemask", neck="nas-fpn")["model"]
    assert (fpn["neck"]["type"], fpn["data_preprocessor"]["pad_size_divisor"]) == ("FPN", 32)
    assert (nas["neck"]["type"], nas["data_preprocessor"]["pad_size_divisor"]) == ("NASFPN", 128)
    assert (nas["neck"]["stack_times"], nas["neck"]["out_channels"]) == (5, 256)


def test_the_source_has_a_hundred_priors() -> None:
    assert tiny.paper_model("shapemask", device="meta").roi_head.mask_head.priors.shape == (100, 32, 32)
