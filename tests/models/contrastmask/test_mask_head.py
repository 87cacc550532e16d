"""The mask head's input: X, Y and A (Sec. 3.4, Fig. 5)."""

import pytest
import torch
from models.tiny import parameters
from torch import Tensor, nn

from contrastmask.models.contrastmask.mask_head import PriorMaskHead

C = 6


def make(fusion: str | None) -> PriorMaskHead:
    torch.manual_seed(0)
    return PriorMaskHead(
        fusion=fusion, num_convs=4, in_channels=C, conv_out_channels=C, class_agnostic=True, num_classes=1
    )


def first_input(head: PriorMaskHead, *args: Tensor | None) -> Tensor:
    """What enters the head's first convolution."""
    seen = []
    handle = head.convs[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        assert head(*args).shape == (2, 1, 28, 28)
    handle.remove()
    return seen[0]


def test_parameters_of_the_fusions() -> None:
    bare = parameters(make(None))
    assert parameters(make("concat")) == bare + 9 * C * C  # the first convolution sees 2 C channels
    assert parameters(make("add")) == bare + C * C + C  # a 1x1 convolution with bias
    assert make("add").fuse.conv.kernel_size == (1, 1)
    assert make("add").fuse.norm is None
    assert not make("add").fuse.with_activation


@pytest.mark.parametrize("size", [14, 28])
def test_concat_puts_y_beside_x_and_add_adds_its_convolution(size: int) -> None:
    x, y = torch.randn(2, C, 14, 14), torch.randn(2, C, size, size)
    small = y if size == 14 else nn.functional.avg_pool2d(y, 2)  # 28 to 14 is exactly 2x2 average pooling
    torch.testing.assert_close(first_input(make("concat"), x, y), torch.cat([x, small], 1))
    head = make("add")
    with torch.no_grad():
        fused = nn.functional.conv2d(small, head.fuse.conv.weight, head.fuse.conv.bias)
    torch.testing.assert_close(first_input(head, x, y), x + fused)


@pytest.mark.parametrize("fusion", [None, "concat", "add"])
def test_the_map_is_added_to_every_channel(fusion: str | None) -> None:
    head = make(fusion)
    x, prior = torch.randn(2, C, 14, 14), torch.rand(2, 14, 14)
    y = torch.randn(2, C, 14, 14) if fusion else None
    without, with_ = first_input(head, x, y, None), first_input(head, x, y, prior)
    torch.testing.assert_close(with_ - without, prior[:, None].expand_as(without))


def test_without_y_and_a_it_is_mask_rcnns_head() -> None:
    x = torch.randn(2, C, 14, 14)
    assert first_input(make(None), x).equal(x)
