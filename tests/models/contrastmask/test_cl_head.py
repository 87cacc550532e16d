"""Encoder, projector, grouped BatchNorm and self-affinity average."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from contrastmask.config.options import ContrastMaskOptions
from contrastmask.models.contrastmask.cl_head import ContrastiveHead, self_affinity_average


@pytest.mark.parametrize(("convs", "fcs"), [(8, 3), (4, 2), (12, 4), (2, 1)])
@pytest.mark.parametrize("norm", [False, True])
def test_cnfm_has_n_convolutions_and_m_linear_layers(convs: int, fcs: int, norm: bool) -> None:
    head = ContrastiveHead(6, ContrastMaskOptions(cl_convs=convs, cl_fcs=fcs, projector_norm=norm))
    conv = [m for m in head.encoder.modules() if isinstance(m, nn.Conv2d)]
    linear = [m for m in head.projector.modules() if isinstance(m, nn.Linear)]
    assert [c.kernel_size for c in conv] == [(3, 3)] * convs
    assert sum(isinstance(m, nn.ReLU) for m in head.encoder.modules()) == convs
    assert not any(isinstance(m, nn.BatchNorm2d | nn.GroupNorm) for m in head.encoder.modules())
    assert len(linear) == fcs
    assert sum(isinstance(m, nn.BatchNorm1d) for m in head.modules()) == (fcs - 1 if norm else 0)


def test_encoder_ends_in_a_relu_and_the_projector_does_not() -> None:
    torch.manual_seed(0)
    head = ContrastiveHead(6, ContrastMaskOptions())
    encoded = head.encode(torch.randn(2, 6, 14, 14))
    assert encoded.shape == (2, 6, 14, 14)
    assert encoded.min() >= 0
    projected = head.project(encoded, [2])
    assert projected.shape == (2, 14 * 14, 6)
    assert projected.min() < 0


def test_channels_lie_side_by_side_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head = ContrastiveHead(6, ContrastMaskOptions())
    x = torch.randn(2, 6, 14, 14)
    expected = head.encode(x)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    encoded = head.encode(x)
    assert expected.is_contiguous()
    assert encoded.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(encoded, expected)


def test_projector_sees_each_pixel_alone() -> None:
    torch.manual_seed(0)
    head = ContrastiveHead(6, ContrastMaskOptions())
    encoded = torch.rand(2, 6, 4, 4)
    changed = encoded.clone()
    changed[1, :, 2, 3] += 1
    before, after = (head.project(e, [2]) for e in (encoded, changed))
    moved = (before - after).abs().amax(-1) > 1e-6
    assert moved.nonzero().tolist() == [[1, 2 * 4 + 3]]


def test_no_projector_without_the_contrastive_loss() -> None:
    assert not hasattr(ContrastiveHead(6, ContrastMaskOptions(cl_loss=False)), "projector")


def test_the_projector_with_norm_equals_one_for_each_group() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 9, 6, requires_grad=True)
    projector = ContrastiveHead(6, ContrastMaskOptions(projector_norm=True)).projector
    for norm in projector.norms:
        norm.weight.data.uniform_(0.5, 2)
        norm.bias.data.uniform_(-1, 1)
    apart, whole = copy.deepcopy(projector), copy.deepcopy(projector)

    def naive(net: nn.Module, part: torch.Tensor) -> torch.Tensor:
        pixels = part.reshape(-1, 6)
        for layer, norm in zip(net.hidden, net.norms, strict=True):
            pixels = norm(layer(pixels)).relu()
        return net.last(pixels).view_as(part)

    expected, ours = torch.cat([naive(apart, part) for part in (x[:3], x[3:])]), projector(x, [3, 0, 2])
    torch.testing.assert_close(ours, expected)
    assert (ours - naive(whole, x)).abs().max() > 0.01
    weights = torch.randn_like(ours)
    gradients = [
        torch.autograd.grad((z * weights).sum(), [x, *net.parameters()])
        for z, net in ((ours, projector), (expected, apart))
    ]
    torch.testing.assert_close(*gradients)
    # after the backward pass, which computes the layers again
    torch.testing.assert_close(dict(projector.named_buffers()), dict(apart.named_buffers()))


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("enhance", [False, True])
def test_no_rois_pass_through_with_gradients(norm: bool, enhance: bool) -> None:
    head = ContrastiveHead(6, ContrastMaskOptions(projector_norm=norm, enhance=enhance))
    encoded = head.encode(torch.zeros(0, 6, 14, 14))
    projected = head.project(encoded, [0])
    assert projected.shape == (0, 196, 6)
    (projected.sum() + head.mask_features(encoded).sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() == 0 for p in head.parameters())


def test_self_affinity_average_equals_the_softmax_of_cosines() -> None:
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(size=(2, 5, 3, 4)), 0).astype(np.float32)
    ours = self_affinity_average(torch.from_numpy(x)).numpy()
    for roi in range(2):
        pixels = x[roi].reshape(5, -1).T.astype(np.float64)
        for i, pixel in enumerate(pixels):
            norms = np.maximum(np.linalg.norm(pixels, axis=1) * np.linalg.norm(pixel), 1e-12)
            weights = np.exp(pixels @ pixel / norms)
            weights /= weights.sum()
            assert weights.max() / weights.min() <= math.e + 1e-9
            np.testing.assert_allclose(ours[roi].reshape(5, -1)[:, i], weights @ pixels, atol=1e-5)


def test_self_affinity_of_28_pixels_a_side_is_never_in_memory() -> None:
    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = call(*args, **(kwargs or {}))
            self.numbers = max(self.numbers, *(t.numel() for t in tree_leaves(made) if torch.is_tensor(t)), 0)
            return made

    with Largest() as largest:
        x = torch.rand(1, 6, 28, 28).requires_grad_()
        self_affinity_average(x).sum().backward()
    assert 0 < largest.numbers < 784 * 784


def test_enhance_is_optional_and_keeps_constant_maps() -> None:
    plain, enhanced = (ContrastiveHead(6, ContrastMaskOptions(enhance=e)) for e in (False, True))
    constant = torch.rand(2, 6, 1, 1).expand(2, 6, 5, 5).contiguous()
    torch.testing.assert_close(enhanced.mask_features(constant), constant)
    x = torch.rand(2, 6, 5, 5)
    assert plain.mask_features(x) is x
    averaged = enhanced.mask_features(x)
    assert (averaged - x).abs().max() > 0.01
    spread, was = ((v - v.mean((2, 3), keepdim=True)).abs().mean() for v in (averaged, x))
    assert spread < 0.2 * was, "close to the RoI's mean"
