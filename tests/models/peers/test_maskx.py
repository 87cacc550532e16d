"""MaskX R-CNN: the transfer against the box head's rows, and the MLP."""

import pytest
import torch
import torch.nn.functional as F
from models import tiny
from torch import Tensor, nn

from contrastmask.models.peers.maskx import class_descriptors

K = len(tiny.DATASET["categories"])


def model(**options: bool | str) -> nn.Module:
    return tiny.build("maskx-rcnn", **options)


def naive_kernels(head: nn.Module) -> Tensor:
    """(K, C), one class at a time, from numbered rows and plain algebra."""
    first, _, last = head.mask_head.transfer
    rows = []
    for k in range(K):
        boxes = [head.bbox_head.fc_reg.weight[4 * k + i] for i in range(4)]
        hidden = first.weight @ torch.cat([head.bbox_head.fc_cls.weight[k], *boxes]) + first.bias
        rows.append(last.weight @ torch.where(hidden > 0, hidden, 0.1 * hidden) + last.bias)
    return torch.stack(rows)


# ---------------------------------------------------------------------------- transfer


def naive_maps(head: nn.Module, x: Tensor) -> Tensor:
    """All K maps of each RoI (R, K, 28, 28): convolution with every kernel, plus the MLP's map on each."""
    mask_head = head.mask_head
    for conv in mask_head.convs:
        x = conv(x)
    x = F.relu(mask_head.upsample(x))
    maps = F.conv2d(x, naive_kernels(head)[:, :, None, None])
    if mask_head.mlp is None:
        return maps
    return maps + F.linear(x.reshape(len(x), -1), mask_head.mlp.weight, mask_head.mlp.bias).reshape(-1, 1, 28, 28)


@pytest.mark.parametrize("mlp", [True, False])
def test_each_rois_map_is_its_class_channel_of_all_maps(mlp: bool) -> None:
    head = model(mlp=mlp).roi_head
    x, labels = torch.randn(5, 32, 14, 14), torch.tensor([3, 0, 2, 2, 1])
    with torch.no_grad():
        found = head.mask_head(x, labels, class_descriptors(head.bbox_head))
        expected = naive_maps(head, x)[torch.arange(5), labels]
    assert found.shape == (5, 1, 28, 28)
    assert torch.allclose(found[:, 0], expected, atol=1e-5)


def test_training_takes_the_channel_of_the_objects_class(monkeypatch: pytest.MonkeyPatch) -> None:
    net, batch = model(), tiny.make_batch()
    results, _ = tiny.sampling(net, batch)
    monkeypatch.setattr(net.roi_head.mask_head, "forward", seen := tiny.Spy(net.roi_head.mask_head.forward))
    tiny.roi_losses(net, batch)
    labels = torch.cat([r.pos_gt_labels for r in results])[net.roi_head.positives_of_base(results)]
    assert seen.arguments[1].equal(labels) and set(labels.tolist()) == set(tiny.BASE)


# ---------------------------------------------------------------------------- test


class FixedKernels(nn.Module):
    """In place of the transfer: even classes fill their box, odd ones leave it empty."""

    def forward(self, descriptors: Tensor) -> Tensor:
        return torch.tensor([1e4, -1e4]).repeat(K // 2)[:, None].expand(K, 32)


def test_a_mask_is_that_of_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    net = model().eval()
    monkeypatch.setitem(net.roi_head.mask_head._modules, "transfer", FixedKernels())
    labels, box = [torch.tensor([0, 1, 2]), torch.tensor([3, 2])], torch.tensor([[10.0, 12, 80, 70]])
    boxes = [box.repeat(3, 1), box.repeat(2, 1)]
    areas = [r.masks.flatten(1).sum(1).tolist() for r in tiny.boxes_at_test(net, boxes, labels)]
    assert areas[0][0] == areas[0][2] == areas[1][1] > 1000
    assert areas[0][1] == areas[1][0] == 0


# ---------------------------------------------------------------------------- configuration


def test_a_convolutional_box_head_gives_descriptors_too() -> None:
    net = model(box_head="conv")
    assert class_descriptors(net.roi_head.bbox_head).shape == (K, 5 * 32)
    assert torch.isfinite(tiny.roi_losses(net, tiny.make_batch())["loss_mask"])
