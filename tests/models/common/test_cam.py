"""The class activation map, and the box head it comes from."""

import pytest
import torch
import torch.nn.functional as F

from contrastmask.models.common.cam import activation_prior, class_activation_map, min_max, resize
from contrastmask.models.contrastmask.box_head import CAMBoxHead

ROIS, CHANNELS, CLASSES = 3, 6, 4


@pytest.fixture(scope="module")
def head() -> CAMBoxHead:
    torch.manual_seed(0)
    return CAMBoxHead(
        in_channels=CHANNELS,
        roi_feat_size=7,
        num_classes=CLASSES,
        num_shared_convs=2,
        num_cls_convs=1,
        num_reg_convs=2,
        conv_out_channels=CHANNELS,
        with_avg_pool=True,
    )


def test_map_is_a_1x1_convolution_with_the_classifiers_weights() -> None:
    features, weights = torch.randn(ROIS, CHANNELS, 7, 7), torch.randn(CLASSES + 1, CHANNELS)
    labels = torch.tensor([2, 0, 3])
    every = F.conv2d(features, weights[:, :, None, None])
    expected = torch.stack([every[n, label] for n, label in enumerate(labels)])
    torch.testing.assert_close(class_activation_map(features, weights, labels), expected)


def test_mean_of_the_map_plus_bias_is_the_class_score(head: CAMBoxHead) -> None:
    head.fc_cls.bias.data.uniform_(-1, 1)
    with torch.no_grad():
        scores, _, class_map = head.forward_with_map(torch.randn(ROIS, CHANNELS, 7, 7))
        for label in range(CLASSES):
            labels = torch.full((ROIS,), label)
            total = head.activation(class_map, labels).mean((1, 2)) + head.fc_cls.bias[label]
            torch.testing.assert_close(total, scores[:, label])


def test_min_max_spans_zero_to_one_in_each_map_and_constants_become_zero() -> None:
    maps = torch.randn(4, 7, 7) * torch.tensor([0.1, 1, 10, 0])[:, None, None] + 5
    scaled = min_max(maps)
    assert scaled.min() >= 0
    assert scaled.max() <= 1
    assert scaled[:3].amin((1, 2)).tolist() == [0, 0, 0]
    assert scaled[:3].amax((1, 2)).tolist() == pytest.approx([1, 1, 1], abs=1e-4)
    assert scaled[3].abs().max() == 0
    constant = torch.full((1, 7, 7), 2.0, requires_grad=True)
    assert torch.isfinite(torch.autograd.grad(min_max(constant).sum(), constant)[0]).all()


def test_resize_is_bilinear_with_half_pixel_centres() -> None:
    ramp = torch.tensor([[0.0, 4.0]] * 2)
    assert resize(torch.stack([ramp, ramp.T]), 4)[:, :, 1].tolist() == [[1, 1, 1, 1], [0, 1, 3, 4]]
    assert resize(ramp[None], 2)[0].equal(ramp)


def test_prior_follows_the_named_order() -> None:
    maps = torch.randn(3, 7, 7)
    first = activation_prior(maps, 14, "resize_first")
    last = activation_prior(maps, 14, "normalise_first")
    torch.testing.assert_close(first, min_max(resize(maps, 14)))
    torch.testing.assert_close(last, resize(min_max(maps), 14))
    assert first.shape == last.shape == (3, 14, 14)
    assert first.amin((1, 2)).abs().max() == 0
    assert first.amax((1, 2)).min() > 0.999
    assert (first - last).abs().max() > 0.01
    assert last.amax((1, 2)).max() < 1, "interpolation lowers an inner peak"
