"""Deep-MARC: its mask head, which boxes it learns from, its recipe, and ContrastMask on its head."""

import copy

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import build_optim_wrapper
from models import tiny
from torch import nn

from contrastmask.config import CONFIGS
from contrastmask.config.fragments import fragment
from contrastmask.training.train import optim_wrapper


def model(method: str = "deep-marc") -> nn.Module:
    """A copy of its own: BatchNorm over RoIs keeps statistics."""
    ours = {"mask_head": "hourglass-52", "mask_rois": "gt"} if method == "contrastmask" else {}
    return copy.deepcopy(tiny.build(method, **ours))


# ---------------------------------------------------------------- the head


def test_the_head_is_hourglass_deconvolution_norm_and_one_convolution() -> None:
    head = model().eval().roi_head.mask_head
    x = torch.randn(3, 32, 32, 32)
    with torch.no_grad():
        features = head.hourglass(x)
        up = F.conv_transpose2d(features, head.upsample.weight, head.upsample.bias, stride=2)
        norm = head.upsample_norm
        up = F.batch_norm(up, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-3)
        expected = F.conv2d(F.relu(up), head.conv_logits.weight, head.conv_logits.bias)
        torch.testing.assert_close(head(x), expected, rtol=1e-4, atol=1e-5)
    assert features.shape == (3, 16, 32, 32) and expected.shape == (3, 1, 64, 64)


def test_size_at_paper_scale() -> None:
    sizes = {}
    for depth in (20, 52, 100):
        roi_head = tiny.paper_model("deep-marc", device="meta", depth=depth).roi_head
        sizes[depth], hourglass = tiny.parameters(roi_head.mask_head), tiny.parameters(roi_head.mask_head.hourglass)
        assert sizes[depth] == hourglass + 128 * 64 * 4 + 64 + 2 * 64 + 64 + 1  # deconvolution, BatchNorm, logits
        assert roi_head.mask_roi_extractor.roi_layers[0].output_size == (32, 32)
    assert sizes[20] < sizes[52] < sizes[100]


def test_widths_follow_the_scale_and_depths_do_not() -> None:
    ours, theirs = (
        [m.out_channels for m in net.roi_head.mask_head.hourglass.modules() if isinstance(m, nn.Conv2d)]
        for net in (model(), tiny.paper_model("deep-marc", device="meta"))
    )
    assert [8 * channels for channels in ours] == theirs and set(theirs) == {64, 128, 192, 256}


# ---------------------------------------------------------------- partial supervision


def test_all_objects_of_an_image_enter_and_novel_ones_only_the_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that sampling would leave out."""
    net, batch = model(), tiny.make_batch()
    monkeypatch.setattr(net.roi_head.bbox_sampler, "num", 1)
    monkeypatch.setattr(net.roi_head.mask_head, "forward", seen := tiny.Spy(net.roi_head.mask_head.forward))
    tiny.roi_losses(net, batch)
    assert len(seen.result) == sum(len(s.gt_instances) for s in batch.samples)
    before = net.roi_head.mask_head.upsample_norm.running_mean.clone()
    assert float(tiny.roi_losses(net, tiny.make_batch(((tiny.B,), (tiny.D,))))["loss_mask"].detach()) == 0
    assert not net.roi_head.mask_head.upsample_norm.running_mean.equal(before)


def test_an_image_gives_its_first_hundred_objects() -> None:
    many = tuple(tiny.Object((n % 80, n // 2, n % 80 + 9, n // 2 + 9), n % 4) for n in range(103))
    batch = model().roi_head.mask_batch([], tiny.make_batch((many, (tiny.A,)), jitter=0).samples)
    assert batch.positive_labels.tolist() == [*(thing.label for thing in many[:100]), tiny.A.label]


def test_targets_are_masks_of_112_pixels_resized_without_a_threshold() -> None:
    net, batch = model(), tiny.make_batch()
    found = net.roi_head.mask_batch([], batch.samples)
    targets = net.roi_head.mask_targets(found, 64)
    assert ((targets > 0) & (targets < 1)).any() and targets.shape == (2, 64, 64)
    for ours, fine in zip(targets, found.targets(112), strict=True):
        np.testing.assert_allclose(ours, cv2.resize(fine.numpy(), (64, 64)), atol=1e-5)  # bilinear


def test_mask_loss_is_the_mean_over_ground_truth_boxes_of_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """It sees all objects, in the order of the annotations."""
    net, batch = model(), tiny.make_batch(jitter=3)
    monkeypatch.setattr(net.roi_head.mask_head, "forward", seen := tiny.Spy(net.roi_head.mask_head.forward))
    loss = tiny.roi_losses(net, batch)["loss_mask"]
    base = torch.isin(torch.cat([s.gt_instances.labels for s in batch.samples]), torch.tensor(tiny.BASE))
    targets = net.roi_head.mask_targets(net.roi_head.mask_batch([], batch.samples), 64)
    expected = F.binary_cross_entropy_with_logits(seen.result[base, 0].double(), targets.double())
    assert len(targets) == int(base.sum()) == 2
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)


# ---------------------------------------------------------------- ContrastMask on this head


def test_contrastmasks_inputs_are_fused_before_the_hourglass() -> None:
    head = model("contrastmask").eval().roi_head.mask_head
    x, y, prior = torch.randn(2, 32, 32, 32), torch.randn(2, 32, 14, 14), torch.rand(2, 32, 32)
    seen = []
    handle = head.hourglass.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        assert head(x, y, prior).shape == (2, 1, 64, 64)
    handle.remove()
    enlarged = F.interpolate(y, size=(32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(seen[0], torch.cat([x, enlarged], 1) + prior[:, None])


def test_the_two_systems_have_the_same_head_but_for_its_inputs() -> None:
    ours, theirs = (
        tiny.paper_config("contrastmask", mask_head="hourglass-52")["model"],
        tiny.paper_config("deep-marc", schedule="3x")["model"],
    )
    assert ours["roi_head"]["mask_roi_extractor"] == theirs["roi_head"]["mask_roi_extractor"]
    assert ours["train_cfg"]["rcnn"] == theirs["train_cfg"]["rcnn"]
    head, other = ours["roi_head"]["mask_head"], theirs["roi_head"]["mask_head"]
    assert head | {"type": "DeepMaskHead"} == other
    assert head["type"] == "PriorDeepMaskHead"


def test_without_the_option_contrastmask_is_as_it_was() -> None:
    plain = fragment(CONFIGS / "two_stage.py")["model"]
    config = tiny.paper_config("contrastmask")["model"]
    assert config["roi_head"]["mask_head"] == plain["roi_head"]["mask_head"] | {"type": "PriorMaskHead"}
    assert config["roi_head"]["mask_roi_extractor"] == plain["roi_head"]["mask_roi_extractor"]
    assert config["train_cfg"] == plain["train_cfg"]


# ---------------------------------------------------------------- configuration


def test_the_source_recipes_decay_spares_the_hourglass_norms_and_biases() -> None:
    net = model()
    wrapper = build_optim_wrapper(net, optim_wrapper(tiny.paper_config("deep-marc", schedule="3x")))
    names = {id(p): n for n, p in net.named_parameters()}
    decay = {names[id(g["params"][0])]: g["weight_decay"] for g in wrapper.optimizer.param_groups}
    spared = {name for name, value in decay.items() if value == 0}
    expected = {n for n in decay if "hourglass" in n or n.endswith("bias") or "norm" in n or ".bn" in n}
    assert {n for n in spared ^ expected if "downsample" not in n} == set()
