"""ShapeProp: message passing against a naive reference, saliency, and which RoIs train what."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import tiny

from contrastmask.models.common.mask_batch import MaskBatch
from contrastmask.models.peers.shapeprop import (
    EPS,
    ShapePropMaskHead,
    max_normalised,
    neighbour_weights,
    propagate,
    saliency_loss,
)


def shapeprop(**options: Any) -> torch.nn.Module:
    return tiny.build("shapeprop", "both" if not options else "paper", **options)


# ---------------------------------------------------------------- message passing


def naive_step(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """One step, from a copy of each pixel's neighbourhood: (R, L, 9, h, w)."""
    rois, channels, h, w = x.shape
    return (F.unfold(x, 3, padding=1).view(rois, channels, 9, h, w) * weights).sum(2)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_propagation_is_the_weighted_sum_of_the_neighbours(steps: int) -> None:
    x, weights = torch.randn(2, 3, 5, 4), torch.rand(2, 3, 9, 5, 4)
    expected = x
    for _ in range(steps):
        expected = naive_step(expected, weights)
    torch.testing.assert_close(propagate(x, weights, steps), expected)


def test_propagation_has_the_gradient_of_its_definition() -> None:
    x = torch.randn(1, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(1, 2, 9, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: propagate(x, w, 3), (x, weights))


@pytest.mark.parametrize("border", ["zero", "inside"])
def test_weights_of_each_pixel_sum_to_one(border: str) -> None:
    scores = torch.randn(2, 3, 9, 14, 14)
    weights = neighbour_weights(scores, border)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(2), torch.ones(2, 3, 14, 14), atol=1e-4, rtol=0)
    if border == "zero":
        torch.testing.assert_close(weights, scores.sigmoid() / (scores.sigmoid().sum(2, keepdim=True) + EPS))
    else:  # the upper left pixel's row above and column to the left are outside
        assert not weights[:, :, [0, 1, 2, 3, 6], 0, 0].any()
        torch.testing.assert_close(weights[..., 1:-1, 1:-1], neighbour_weights(scores, "zero")[..., 1:-1, 1:-1])


def test_a_constant_map_stays_constant() -> None:
    scores, constant = torch.randn(2, 3, 9, 14, 14), torch.full((2, 3, 14, 14), 5.0)
    inside = propagate(constant, neighbour_weights(scores, "inside"), 14)
    torch.testing.assert_close(inside, constant, atol=1e-3, rtol=0)
    # as released, zeros come in from the border by one pixel a step
    for steps in range(1, 7):
        zero = propagate(constant, neighbour_weights(scores, "zero"), steps)
        inner = (..., slice(steps, -steps), slice(steps, -steps))
        torch.testing.assert_close(zero[inner], constant[inner], atol=1e-3, rtol=0)
        assert (zero[..., 0, :] < 5).all()


@pytest.mark.parametrize("corner", [(0, 0), (13, 0), (6, 13)])
def test_an_impulse_reaches_the_whole_box_in_as_many_steps_as_it_is_wide(corner: tuple[int, int]) -> None:
    weights = neighbour_weights(torch.randn(1, 1, 9, 14, 14), "zero")
    impulse = torch.zeros(1, 1, 14, 14)
    impulse[0, 0, corner[0], corner[1]] = 1
    assert (propagate(impulse, weights, 13) > 0).all()
    five = (propagate(impulse, weights, 5) > 0)[0, 0]
    y, x = torch.meshgrid(torch.arange(14), torch.arange(14), indexing="ij")
    assert five.equal(torch.maximum((y - corner[0]).abs(), (x - corner[1]).abs()) <= 5)


def test_steps_and_latent_are_the_options() -> None:
    head = shapeprop(steps=2, latent=5, border="inside").roi_head.propagation
    assert (head.steps, head.latent, head.border) == (2, 5, "inside")
    assert head.weights.predictor.out_channels == 45
    assert shapeprop().roi_head.propagation.latent == 24, "not narrowed with the scale's width"
    features, saliency = torch.randn(2, 32, 6, 5), torch.randn(2, 1, 6, 5)
    weights = neighbour_weights(head.weights(features).view(2, 5, 9, 6, 5), "inside")
    expected = head.encoder(saliency)
    for _ in range(2):
        expected = naive_step(expected, weights)
    torch.testing.assert_close(head(features, saliency), head.decoder(expected), atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------- saliency


def test_saliency_loss_is_the_cross_entropy_of_the_mean_over_every_sampled_roi() -> None:
    head = shapeprop().roi_head
    batch = tiny.make_batch(jitter=2, background=9)
    results, _ = tiny.sampling(shapeprop(), batch)
    labels = head.sampled_labels(results)
    assert len(labels) == sum(len(r.priors) for r in results)
    assert int((labels == 4).sum()) == sum(len(r.neg_priors) for r in results) > 10  # 4 categories
    assert set(labels.tolist()) == {0, 1, 2, 3, 4}, "base, novel and background"
    start = 0
    for r in results:
        assert labels[start : start + len(r.pos_priors)].equal(r.pos_gt_labels)
        start += len(r.priors)
    maps = torch.randn(len(labels), 5, 14, 14)
    scores = maps.double().flatten(2).mean(2)
    each = [-(row[label] - row.exp().sum().log()) for row, label in zip(scores, labels, strict=True)]
    assert float(saliency_loss(maps, labels)) == pytest.approx(float(sum(each) / len(each)), abs=1e-5)


def test_saliency_sees_every_sampled_roi_and_propagation_only_base_positives(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = shapeprop(), tiny.make_batch(jitter=2)
    results, truth = tiny.sampling(model, batch)
    head = model.roi_head
    monkeypatch.setattr(head.saliency, "forward", saliency := tiny.Spy(head.saliency.forward))
    monkeypatch.setattr(head.propagation, "forward", propagation := tiny.Spy(head.propagation.forward))
    losses = tiny.roi_losses(model, batch)
    labels = head.sampled_labels(results)
    rows = torch.isin(labels, torch.tensor(tiny.BASE)).nonzero()[:, 0]
    (sampled,), (features, given) = saliency.arguments, propagation.arguments
    assert len(sampled) == len(labels) > len(rows) > 2
    assert features.equal(sampled[rows])
    assert given.equal(torch.stack([saliency.result[row, labels[row]] for row in rows])[:, None])
    assert losses["loss_saliency"].equal(saliency_loss(saliency.result, labels))
    # the masks at 14 pixels are what the propagated shapes learn
    chosen = head.positives_of_base(results)
    masks = MaskBatch(results, truth, chosen, chosen).targets(14)
    expected = F.binary_cross_entropy_with_logits(propagation.result, masks[:, None])
    torch.testing.assert_close(losses["loss_propagation"].squeeze(), expected)


# ---------------------------------------------------------------- mask head and test


def test_shapes_are_normalised_by_their_largest_value() -> None:
    shapes = torch.stack([torch.tensor([[-1.0, 2], [4, 0]]), -torch.rand(2, 2), torch.zeros(2, 2)])[:, None]
    shapes.requires_grad_()
    found = max_normalised(shapes)
    torch.testing.assert_close(found[0, 0], torch.tensor([[0, 0.5], [1, 0]]), atol=1e-4, rtol=0)
    assert not found[1:].any(), "nothing positive: 0, not 0/0"
    found.sum().backward()
    assert torch.isfinite(shapes.grad).all()


def test_mask_head_concatenates_the_features_and_the_encoded_shape() -> None:
    settings = dict(tiny.resolved("shapeprop", "paper", {})["model"]["roi_head"]["mask_head"])
    assert settings.pop("type") == "ShapePropMaskHead"
    head = ShapePropMaskHead(**settings)
    assert [len(head.convs), head.convs[0].in_channels, head.convs[0].out_channels] == [4, 64, 32]
    assert [(m.in_channels, m.out_channels, m.with_activation) for m in head.encoder] == [
        (1, 32, True),
        (32, 32, True),
        (32, 32, True),
        (32, 32, False),
    ]
    assert head(torch.randn(3, 32, 14, 14), torch.randn(3, 1, 14, 14)).shape == (3, 1, 28, 28)


def test_masks_in_boxes_use_the_saliency_of_their_label(monkeypatch: pytest.MonkeyPatch) -> None:
    model = shapeprop().eval()
    for part in ("propagation", "saliency"):
        module = getattr(model.roi_head, part)
        monkeypatch.setattr(module, "forward", tiny.Spy(module.forward))
    boxes = [torch.tensor([[10.0, 12, 60, 70]] * 3), torch.zeros(0, 4)]
    tiny.boxes_at_test(model, boxes, [torch.tensor([2, 0, 3]), torch.zeros(0, dtype=torch.long)])
    seen, maps = model.roi_head.propagation.forward.arguments[1], model.roi_head.saliency.forward.result
    assert seen.equal(torch.stack([maps[0, 2], maps[1, 0], maps[2, 3]])[:, None])
    assert not seen[0].equal(seen[1])


def test_no_roi_at_all_is_no_loss_of_masks() -> None:
    losses = tiny.roi_losses(shapeprop(), tiny.make_batch(((), ()), background=0))
    assert all(float(losses[name].detach()) == 0 for name in ("loss_mask", "loss_propagation"))
    assert torch.isfinite(losses["loss_saliency"])
