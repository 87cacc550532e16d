"""OPMask: its map, its heads, which RoIs its BatchNorm sees, and its recipe."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import build_optim_wrapper
from models import tiny
from torch import Tensor, nn

from contrastmask.models.common.cam import EPS
from contrastmask.models.common.norm import RoIBatchNorm
from contrastmask.training.build import train_pipeline
from contrastmask.training.train import optim_wrapper

from mmdet.structures.bbox import bbox2roi  # isort: skip  # after contrastmask.models

K = len(tiny.DATASET["categories"])


def model(**options: bool | str) -> nn.Module:
    return tiny.build("opmask", **options)


def rois_of(results: list) -> tuple[Tensor, Tensor]:
    """Positive RoIs (R, 5) and their labels (R,)."""
    return bbox2roi([r.pos_priors for r in results]), torch.cat([r.pos_gt_labels for r in results])


# ---------------------------------------------------------------- the map


def naive_prior(head: nn.Module, class_map: Tensor, labels: Tensor) -> Tensor:
    """(R, 14, 14): a 1x1 convolution with the classifier's weights, min-max of one 7x7 map at a time, then resized."""
    every = F.conv2d(class_map, head.bbox_head.fc_cls.weight[:, :, None, None])
    maps = []
    for number, label in enumerate(labels):
        raw = every[number, label]
        scaled = (raw - raw.min()) / (raw.max() - raw.min() + EPS)
        maps.append(F.interpolate(scaled[None, None], size=(14, 14), mode="bilinear", align_corners=False)[0, 0])
    return torch.stack(maps)


def test_the_prior_is_the_normalised_then_resized_convolution_of_the_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    net, batch = model().eval(), tiny.make_batch()
    results, _ = tiny.sampling(net, batch)
    rois, labels = rois_of(results)
    monkeypatch.setattr(net.roi_head.mask_head, "forward", seen := tiny.Spy(net.roi_head.mask_head.forward))
    with torch.no_grad():
        tiny.roi_losses(net, batch)
        features = net.roi_head.bbox_roi_extractor(net.extract_feat(batch.inputs)[:4], rois)
        for conv in net.roi_head.bbox_head.shared_convs:
            features = conv(features)
    expected = naive_prior(net.roi_head, features, labels)
    torch.testing.assert_close(seen.arguments[-1], expected, rtol=1e-3, atol=1e-4)


def test_scores_and_boxes_come_from_the_same_trunk() -> None:
    head = model().eval().roi_head.bbox_head
    x = torch.randn(3, head.shared_convs[0].in_channels, 7, 7)
    with torch.no_grad():
        scores, deltas, class_map = head.forward_with_map(x)
        mean = class_map.mean((2, 3))
        torch.testing.assert_close(scores, head.fc_cls(mean))
        torch.testing.assert_close(deltas, head.fc_reg(mean))
        raw = torch.stack([head.activation(class_map, torch.full((3,), label)).mean((1, 2)) for label in range(K)], 1)
        torch.testing.assert_close(raw + head.fc_cls.bias[:K], scores[:, :K])
    assert not head.cls_convs and not head.reg_convs


def test_the_map_is_added_to_every_channel_before_seven_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    net = model().eval()
    head = net.roi_head.mask_head
    assert len(head.convs) == 7 and all(isinstance(conv.norm, RoIBatchNorm) for conv in head.convs)
    x, prior = torch.randn(2, head.in_channels, 14, 14), torch.rand(2, 14, 14)
    with torch.no_grad():
        through = x + prior[:, None].expand_as(x)
        for conv in head.convs:
            through = F.relu(conv.norm(F.conv2d(through, conv.conv.weight, padding=1)))
        expected = head.conv_logits(F.relu(head.upsample(through)))
        torch.testing.assert_close(head(x, prior=prior), expected)
    assert expected.shape == (2, 1, 28, 28)


# ---------------------------------------------------------------- partial supervision


def test_novel_rois_enter_the_statistics_and_no_loss() -> None:
    net = copy.deepcopy(model())
    before = net.roi_head.mask_head.convs[0].norm.running_mean.clone()
    assert float(tiny.roi_losses(net, tiny.make_batch(((tiny.B,), (tiny.D,))))["loss_mask"].detach()) == 0
    assert not net.roi_head.mask_head.convs[0].norm.running_mean.equal(before)


# ---------------------------------------------------------------- configuration


def test_widths_follow_the_scale_and_depths_do_not() -> None:
    head = model().roi_head
    assert [conv.out_channels for conv in head.bbox_head.shared_convs] == [64, 128, 128, 128]
    assert head.bbox_head.fc_cls.in_features == 128
    assert {conv.out_channels for conv in head.mask_head.convs} == {32}


def test_the_source_recipe_clips_values_and_chooses_among_its_sizes() -> None:
    config = tiny.paper_config("opmask", schedule="130k")
    before = copy.deepcopy(config)
    weight = nn.Linear(2, 1, bias=False)
    wrapper = build_optim_wrapper(weight, optim_wrapper(config))
    wrapper.backward(weight(torch.tensor([100.0, 0.5])).sum())
    wrapper.step()
    assert weight.weight.grad.tolist() == [[1.0, 0.5]]
    assert config == before, "the configuration is the run's identity"
    resize = train_pipeline(config)[2]
    assert resize["type"] == "RandomChoiceResize" and len(resize["scales"]) == 6 and resize["keep_ratio"]
