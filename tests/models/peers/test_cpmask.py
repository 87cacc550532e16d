"""CPMask: contours, affinities against a loop, and which RoIs train what."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from mmengine.structures import InstanceData
from models import tiny
from scipy import ndimage
from torch import Tensor, nn

from contrastmask.models.common.mask_batch import MaskBatch, MaskRoIs
from contrastmask.models.peers.cpmask import AffinityParsing, affinity_loss, contours, with_detections


def model() -> nn.Module:
    return tiny.build("cpmask", "both")


# ---------------------------------------------------------------- contours


def as_tensor(*rows: str) -> Tensor:
    return torch.tensor([[float(c == "#") for c in row] for row in rows])


@given(st.integers(0, 10**6), st.sampled_from([0, 0.01, 0.1, 0.5, 0.9, 1]))
def test_contours_are_dilation_xor_erosion(seed: int, share: float) -> None:
    masks = np.random.default_rng(seed).random((3, 28, 28)) < share
    cross = ndimage.generate_binary_structure(2, 1)
    expected = [ndimage.binary_dilation(m, cross) ^ ndimage.binary_erosion(m, cross, border_value=1) for m in masks]
    np.testing.assert_array_equal(contours(torch.from_numpy(masks).float()).numpy(), np.array(expected, dtype=float))


def test_of_no_rois() -> None:
    assert contours(torch.zeros(0, 28, 28)).shape == (0, 28, 28)
    none = torch.zeros(0, 196, 196, requires_grad=True)
    loss = affinity_loss(none, torch.zeros(0, 14, 14))
    loss.backward()
    assert float(loss.detach()) == 0 and none.grad.shape == none.shape


# ---------------------------------------------------------------- affinities


def naive_affinity_loss(logits: Tensor, masks: Tensor) -> float:
    """Pair by pair."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for scores, mask in zip(logits.double().tolist(), masks.flatten(1).tolist(), strict=True):
        for i, row in enumerate(scores):
            for j, score in enumerate(row):
                same = mask[i] == mask[j]
                found[same].append(float(np.logaddexp(0, -score if same else score)))
    return sum(float(np.mean(values)) for values in found.values() if values) / 2


@pytest.mark.parametrize(
    "masks",
    [
        as_tensor("##.", "#..")[None],
        torch.stack([as_tensor("##.", "#.."), torch.ones(2, 3), torch.zeros(2, 3)]),
        torch.ones(2, 2, 3),
        torch.zeros(1, 2, 3),
    ],
    ids=["one", "beside uniform ones", "all object", "no object"],
)
def test_affinity_loss_is_the_mean_of_the_means_over_equal_and_unequal_pairs(masks: Tensor) -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(len(masks), 6, 6)
    assert float(affinity_loss(logits, masks)) == pytest.approx(naive_affinity_loss(logits, masks), abs=1e-6)


def parsing(channels: int = 6) -> AffinityParsing:
    torch.manual_seed(0)
    block = AffinityParsing(channels)
    block.init_weights()
    return block


def test_affinity_parsing_starts_as_the_identity() -> None:
    block, x = parsing(), torch.randn(2, 6, 3, 4)
    features, logits = block(x)
    assert features.equal(x) and logits.shape == (2, 12, 12)
    assert not block.output.weight.any() and not block.output.bias.any()
    assert all(layer.weight.std() > 1e-3 and not layer.bias.any() for layer in (block.theta, block.phi, block.g))


def test_affinity_parsing_is_the_average_weighted_by_affinity() -> None:
    block, x = parsing().double(), torch.randn(2, 6, 2, 3, dtype=torch.float64)
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    block.float()
    features, logits = block(x.float())
    theta, phi, g = (layer(x.float()).flatten(2).double() for layer in (block.theta, block.phi, block.g))
    scores = theta.transpose(1, 2) @ phi / 3**0.5
    torch.testing.assert_close(logits, scores.float(), atol=1e-4, rtol=1e-4)
    weights = scores.sigmoid()
    average = (weights @ g.transpose(1, 2) / weights.sum(2, keepdim=True)).transpose(1, 2)
    expected = x.float() + block.output(average.float().view(2, 3, 2, 3))
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)


def test_affinities_near_0_still_average() -> None:
    """All affinities of a pixel below what single precision holds: the average is that of their ratios."""
    block, x = parsing(2), torch.ones(1, 2, 1, 2)
    with torch.no_grad():
        for layer, value in ((block.theta, 400.0), (block.phi, -400.0), (block.g, 1.0), (block.output, 1.0)):
            layer.weight.fill_(value)
    features, logits = block(x)
    assert float(logits.max().detach()) < -1e5
    torch.testing.assert_close(features, torch.full((1, 2, 1, 2), 3.0))


def test_contours_come_from_what_the_boundarys_convolutions_learnt_which_is_added_to_their_input() -> None:
    head, x = model().roi_head.boundary, torch.randn(2, 32, 14, 14)
    with torch.no_grad():
        features, contour = head(x)
        parsed = x
        for conv in head.convs:
            parsed = conv(parsed)
        torch.testing.assert_close(features, x + parsed)
        torch.testing.assert_close(contour, head.conv_logits(F.relu(head.upsample(parsed))))


def test_each_part_sees_what_the_one_before_it_made(monkeypatch: pytest.MonkeyPatch) -> None:
    net = tiny.moved(model())  # the affinity starts as the identity
    parts = net.roi_head.boundary, net.roi_head.affinity, net.roi_head.mask_head
    seen = [tiny.Spy(part.forward) for part in parts]
    for part, spy in zip(parts, seen, strict=True):
        monkeypatch.setattr(part, "forward", spy)
    tiny.detector_losses(net, tiny.make_batch())
    assert seen[1].arguments[0].equal(seen[0].result[0]) and seen[2].arguments[0].equal(seen[1].result[0])
    assert not seen[1].result[0].equal(seen[0].result[0])


# ---------------------------------------------------------------- RoIs

GIVEN = torch.tensor([[0.0, 0, 40, 40], [50, 50, 90, 90]])
OWN = MaskRoIs(GIVEN, torch.tensor([0, 1]), torch.tensor([3, 2]))


def test_detections_are_kept_from_an_iou_of_a_half_for_the_object_they_overlap_most() -> None:
    found = torch.tensor([[50.0, 50, 90, 70], [50, 50, 90, 69.9], [2, 2, 40, 40], [200, 200, 240, 240], [0, 0, 0, 0]])
    rois = with_detections(OWN, found, 0.5)
    assert rois.pos_priors.equal(torch.cat([GIVEN, found[[0, 2]]]))
    assert rois.pos_assigned_gt_inds.tolist() == [0, 1, 1, 0]
    assert rois.pos_gt_labels.tolist() == [3, 2, 2, 3]


def test_of_overlapping_objects_the_nearer_one_counts() -> None:
    own = MaskRoIs(torch.tensor([[0.0, 0, 40, 40], [0, 0, 40, 50]]), torch.tensor([0, 1]), torch.tensor([3, 2]))
    rois = with_detections(own, torch.tensor([[0.0, 0, 40, 48], [0, 0, 40, 42]]), 0.5)
    assert rois.pos_assigned_gt_inds.tolist() == [0, 1, 1, 0]


def test_an_image_without_objects_has_no_roi_and_one_without_detections_its_objects() -> None:
    nothing = MaskRoIs(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    assert len(with_detections(nothing, GIVEN, 0.5).pos_priors) == 0
    assert with_detections(OWN, torch.zeros(0, 4), 0.5).pos_priors.equal(GIVEN)


def test_training_takes_the_100_best_detections_whatever_their_class(monkeypatch: pytest.MonkeyPatch) -> None:
    net, batch = tiny.moved(model()), tiny.make_batch().fresh()
    given = tiny.Spy(net.roi_head.training_rois)
    monkeypatch.setattr(net.roi_head, "training_rois", given)
    net.loss(batch.inputs, batch.samples)
    assert [len(found) for found in given.arguments[1]] == [100, 100]
    truth = InstanceData(bboxes=GIVEN, labels=torch.tensor([3, 2]))
    (rois,) = net.roi_head.training_rois([truth], [InstanceData(bboxes=GIVEN + 1, labels=torch.tensor([0, 0]))])
    assert rois.pos_gt_labels.tolist() == [3, 2, 3, 2]


def test_detections_in_training_are_those_at_test() -> None:
    """mmdet's head gives distances in strides in training."""
    head = copy.deepcopy(model().bbox_head)
    nn.init.normal_(head.conv_reg.weight, std=0.3)
    features = [torch.randn(1, 32, side, side) for side in (12, 6, 3, 2, 1)]
    found = {}
    for mode in (True, False):
        head.train(mode)
        with torch.no_grad():
            outputs = head(features)
            metas = [dict(img_shape=(tiny.SIZE, tiny.SIZE), scale_factor=(1.0, 1.0))]
            found[mode] = head.predict_by_feat(*outputs, batch_img_metas=metas, rescale=False)[0]
    assert found[True].bboxes.equal(found[False].bboxes) and found[True].scores.equal(found[False].scores)
    assert (found[True].bboxes[:, 2:] - found[True].bboxes[:, :2]).max() > 8, "not all less than a stride"


def test_levels_follow_fpns_rule() -> None:
    extractor = tiny.paper_model("cpmask", device="meta").roi_head.mask_roi_extractor
    sides = torch.tensor([1.0, 111, 113, 223, 225, 447, 449, 1300])
    rois = torch.stack([0 * sides, 0 * sides, 0 * sides, sides, sides], 1)
    expected = (4 + (sides / 224).log2().floor()).clamp(3, 5) - 3  # Feature Pyramid Networks, Eq. 1, for P3 to P5
    assert extractor.featmap_strides == [8, 16, 32]
    assert extractor.map_roi_levels(rois, 3).tolist() == expected.tolist()


# ---------------------------------------------------------------- losses


def test_losses_are_those_of_base_rois_with_their_own_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    net, batch = copy.deepcopy(model()), tiny.make_batch()
    parse, rois_of = tiny.Spy(net.roi_head._parse), tiny.Spy(net.roi_head.training_rois)
    monkeypatch.setattr(net.roi_head, "_parse", parse)
    monkeypatch.setattr(net.roi_head, "training_rois", rois_of)
    losses = tiny.detector_losses(net, batch)
    rois, truth = rois_of.result, [sample.gt_instances for sample in batch.samples]
    chosen = net.roi_head.positives_of_base(rois)
    labels = torch.cat([image.pos_gt_labels for image in rois])
    assert set(labels[chosen].tolist()) == set(tiny.BASE) and set(labels[~chosen].tolist()) == set(tiny.NOVEL)
    boundary, affinity, logits = parse.result
    assert boundary.shape == logits.shape == (int(chosen.sum()), 1, 28, 28)
    assert affinity.shape == (int(chosen.sum()), 196, 196)
    fine, coarse = (MaskBatch(rois, truth, chosen, chosen).targets(size) for size in (28, 14))
    expected = {
        "loss_mask": F.binary_cross_entropy_with_logits(logits[:, 0], fine),
        "loss_boundary": F.binary_cross_entropy_with_logits(boundary[:, 0], contours(fine)),
        "loss_affinity": affinity_loss(affinity, coarse),
    }
    for name, value in expected.items():
        torch.testing.assert_close(losses[name].squeeze(), value)


# ---------------------------------------------------------------- configuration


def test_detections_are_chosen_as_in_mask_rcnn() -> None:
    ours, theirs = (tiny.paper_config(method)["model"]["test_cfg"]["rcnn"] for method in ("cpmask", "mask-rcnn"))
    assert ours == theirs


def test_groups_of_the_box_heads_norms_keep_their_size() -> None:
    for config in (tiny.paper_config("cpmask"), tiny.resolved("cpmask", "both", {})):
        head = config["model"]["bbox_head"]
        assert head["feat_channels"] / head["norm_cfg"]["num_groups"] == 8
