"""The hourglass: its shapes, its size, and each part against the layers written out."""

import pytest
import torch
import torch.nn.functional as F
from models.tiny import parameters
from torch import Tensor, nn

from contrastmask.models.common.hourglass import STAGES, Hourglass, ResidualBlock, Stage

NORM = {"type": "RoIBatchNorm"}
PUBLISHED = {  # widths and blocks of the source for a stem of 64
    20: ((128, 128, 192), (1, 2, 2)),
    52: ((128, 128, 192, 192, 192, 256), (2, 2, 2, 2, 2, 4)),
    100: ((128, 128, 192, 192, 192, 256), (4, 4, 4, 4, 4, 8)),
}


def make(depth: int, channels: int = 2, in_channels: int = 3) -> Hourglass:
    torch.manual_seed(0)
    net = Hourglass(in_channels, channels, depth, NORM)
    net.init_weights()
    return net


def naive_count(in_channels: int, stem: int, widths: tuple[int, ...], blocks: tuple[int, ...]) -> int:
    """Parameters, layer by layer: each convolution k x k without bias has two of BatchNorm for each channel."""

    def layer(kernel: int, before: int, after: int) -> int:
        return kernel * kernel * before * after + 2 * after

    def block(before: int, after: int, stride: int = 1) -> int:
        shortcut = 0 if before == after and stride == 1 else layer(1, before, after)
        return layer(3, before, after) + layer(3, after, after) + shortcut

    total = layer(3, in_channels, stem) + block(stem, widths[0]) + layer(3, widths[0], widths[0])
    for level in range(len(widths) - 1):
        here, below, number = widths[level], widths[level + 1], blocks[level]
        total += number * block(here, here)  # skip
        total += block(here, below, stride=2) + (number - 1) * block(below, below)  # down
        total += (number - 1) * block(below, below) + block(below, here)  # up
    return total + blocks[-1] * block(widths[-1], widths[-1])


@pytest.mark.parametrize("depth", PUBLISHED)
def test_size_is_that_of_the_layers_counted_one_by_one(depth: int) -> None:
    assert parameters(make(depth, channels=64, in_channels=256)) == naive_count(256, 64, *PUBLISHED[depth])


@pytest.mark.parametrize("depth", STAGES)
def test_the_name_is_the_number_of_layers_on_the_longest_path(depth: int) -> None:
    def layers(module: nn.Module) -> int:
        if isinstance(module, ResidualBlock):
            return 2
        if isinstance(module, Stage):
            return layers(module.down) + layers(module.inner) + layers(module.up)
        if isinstance(module, nn.Conv2d):
            return 1
        return sum(layers(child) for child in module.children())

    assert layers(make(depth)) == depth


@pytest.mark.parametrize(
    ("depth", "sizes"), [(20, [32, 16, 8]), (52, [32, 16, 8, 4, 2, 1]), (100, [32, 16, 8, 4, 2, 1])]
)
def test_each_stage_halves_the_map_and_gives_it_back(depth: int, sizes: list[int]) -> None:
    net = make(depth).eval()
    seen: list[tuple[int, ...]] = []

    def record(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        seen.append(tuple(inputs[0].shape[1:]))
        if isinstance(module, Stage):
            assert output.shape == inputs[0].shape

    inside: nn.Module = net.stages
    while isinstance(inside, Stage):
        inside.register_forward_hook(record)
        inside = inside.inner
    inside.register_forward_hook(record)
    with torch.no_grad():
        assert net(torch.randn(2, 3, 32, 32)).shape == (2, 4, 32, 32)
    # hooks run when a module is done: the innermost first
    widths = [2 * multiple for multiple in STAGES[depth][0]]
    assert seen[::-1] == [(width, size, size) for width, size in zip(widths, sizes, strict=True)]


def by_hand(block: ResidualBlock, x: Tensor, stride: int) -> Tensor:
    """The residual block in functions, normalised by the batch."""
    first, norm, _, second, norm_again = block.body

    def normalised(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
        return (x - mean) / (var + 1e-5).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]

    inner = F.relu(normalised(F.conv2d(x, first.weight, stride=stride, padding=1), norm))
    inner = normalised(F.conv2d(inner, second.weight, padding=1), norm_again)
    shortcut = x
    if not isinstance(block.skip, nn.Identity):
        conv, norm = block.skip
        shortcut = normalised(F.conv2d(x[:, :, ::stride, ::stride], conv.weight), norm)
    return F.relu(inner + shortcut)


@pytest.mark.parametrize(("before", "after", "stride"), [(4, 4, 1), (4, 6, 1), (4, 4, 2), (4, 6, 2)])
def test_residual_block_is_the_one_written_out(before: int, after: int, stride: int) -> None:
    torch.manual_seed(0)
    block = ResidualBlock(before, after, NORM, stride)
    for norm in (m for m in block.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    x = torch.randn(3, before, 8, 8)
    torch.testing.assert_close(block(x), by_hand(block, x, stride), rtol=1e-4, atol=1e-5)
    assert isinstance(block.skip, nn.Identity) == (before == after and stride == 1)


def test_a_stage_adds_its_skip_path_to_what_comes_back_from_below() -> None:
    stage = make(52).stages.eval()
    x = torch.rand(2, 4, 32, 32)
    with torch.no_grad():
        below = stage.up(stage.inner(stage.down(x)))
        doubled = below.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        torch.testing.assert_close(stage(x), stage.skip(x) + doubled)
    assert below.shape == (2, 4, 16, 16)


@pytest.mark.parametrize("rois", [0, 1, 2])
@pytest.mark.parametrize("depth", [20, 52])
def test_gradients_reach_every_parameter_with_few_rois_and_none(depth: int, rois: int) -> None:
    net = make(depth)
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    x = torch.randn(rois, 3, 32, 32, requires_grad=True)
    out = net(x)
    assert out.shape == (rois, 4, 32, 32)
    (out * torch.randn_like(out)).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert all(torch.isfinite(buffer).all() for buffer in net.buffers())
    if rois:
        still = [name for name, p in net.named_parameters() if float(p.grad.abs().max()) == 0]
        assert not still
    else:
        assert all(buffer.equal(before[name]) for name, buffer in net.named_buffers())
