"""BatchNorm over RoIs: torch's, but for batches that have no statistics to give; synchronised over GPUs."""

import copy

import pytest
import torch
from models import tiny
from torch import nn

from contrastmask.models.common.norm import RoIBatchNorm, synchronise


def test_batch_norm_is_torchs_and_survives_no_roi() -> None:
    torch.manual_seed(0)
    norm, plain = RoIBatchNorm(3), nn.BatchNorm2d(3)
    x = torch.randn(1, 3, 7, 7)  # one RoI has 49 values
    torch.testing.assert_close(norm(x), plain(x))
    before = {n: b.clone() for n, b in norm.named_buffers()}
    nothing = norm(torch.zeros(0, 3, 7, 7, requires_grad=True))
    nothing.sum().backward()
    assert nothing.shape == (0, 3, 7, 7)
    assert norm.weight.grad.equal(torch.zeros(3)) and norm.bias.grad.equal(torch.zeros(3))
    assert all(b.equal(before[n]) for n, b in norm.named_buffers())


def test_a_single_value_per_channel_is_normalised_by_the_running_statistics() -> None:
    norm = RoIBatchNorm(2)
    norm.running_mean.copy_(torch.tensor([1.0, -1]))
    norm.running_var.copy_(torch.tensor([4.0, 0.25]))
    x = torch.tensor([3.0, 0]).view(1, 2, 1, 1).requires_grad_()
    out = norm(x)
    torch.testing.assert_close(out.flatten(), torch.tensor([1.0, 2]), rtol=1e-4, atol=1e-4)
    out.sum().backward()
    assert x.grad.flatten().tolist() == pytest.approx([0.5, 2], rel=1e-4)
    assert norm.running_mean.tolist() == [1, -1] and norm.running_var.tolist() == [4, 0.25]


def of_kind(module: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(child, kind) for child in module.modules())


@pytest.mark.parametrize("method", ["opmask", "deep-marc"])
def test_several_gpus_synchronise_the_norms_over_rois_and_no_other(method: str) -> None:
    net = copy.deepcopy(tiny.build(method))
    state, norms = net.state_dict(), of_kind(net, RoIBatchNorm)
    # OPMask's box head and mask head; all of Deep-MARC's layers but the logits, and the deconvolution
    assert norms == {"opmask": 4 + 7, "deep-marc": of_kind(net.roi_head.mask_head, nn.Conv2d)}[method]
    synchronise(net)
    assert of_kind(net, nn.SyncBatchNorm) == norms and not of_kind(net, RoIBatchNorm)
    assert not of_kind(net.backbone, nn.SyncBatchNorm)
    after = net.state_dict()
    assert list(state) == list(after) and all(state[name].equal(after[name]) for name in state)


def test_the_projectors_norms_stay_of_one_process() -> None:
    net = copy.deepcopy(tiny.build("contrastmask", projector_norm=True))
    synchronise(net)
    assert not of_kind(net, nn.SyncBatchNorm)
