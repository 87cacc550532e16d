"""The hourglass network of Deep-MARC's mask head: a recursive encoder-decoder of residual blocks.

Newell et al., https://arxiv.org/abs/1603.06937; widths, blocks and order of layers as in tensorflow/models,
official/projects/deepmac_maskrcnn/modeling/heads/hourglass_network.py. Shapes: R RoIs, C channels, S = H = W pixels.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

# By depth, which counts the layers on the longest path: the stages' widths in multiples of the stem's, and the residual
# blocks on each path of a stage.
STAGES: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {
    20: ((2, 2, 3), (1, 2, 2)),
    52: ((2, 2, 3, 3, 3, 4), (2, 2, 2, 2, 2, 4)),
    100: ((2, 2, 3, 3, 3, 4), (4, 4, 4, 4, 4, 8)),
}


class Hourglass(BaseModule):
    """Stem, nested stages, output convolution; the resolution of the input is kept.

    Args:
        in_channels: C of the RoI features.
        channels: width of the stem, 64 in Deep-MARC; the stages have 2 to 4 times as many.
        depth: 20, 52 or 100. Each stage halves the map: depth 20 goes from 32 px to 8, the others to 1.
        norm_cfg: mmdet's, of every normalisation.
    """

    def __init__(self, in_channels: int, channels: int, depth: int, norm_cfg: dict) -> None:
        super().__init__()
        multiples, blocks = STAGES[depth]
        widths = [channels * multiple for multiple in multiples]
        self.out_channels = widths[0]
        self.stem = nn.Sequential(
            *conv_norm(in_channels, channels, 3, norm_cfg),
            nn.ReLU(inplace=True),
            ResidualBlock(channels, widths[0], norm_cfg),
        )
        self.stages = Stage(widths, blocks, norm_cfg)
        self.output = nn.Sequential(*conv_norm(widths[0], widths[0], 3, norm_cfg), nn.ReLU(inplace=True))

    def init_weights(self) -> None:
        """Glorot's uniform distribution, which the source leaves to Keras's default."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(R, in_channels, S, S) to (R, 2 channels, S, S); S divides by 4 (depth 20) or 32."""
        return self.output(self.stages(self.stem(x)))


class Stage(nn.Module):
    """One resolution: a skip path beside a path through half of it, where the next stage lies; their sum.

    Args:
        widths: of this stage and all inside it; the innermost is not a stage but residual blocks only.
        blocks: residual blocks of each path, this stage's first.
        norm_cfg: mmdet's.
    """

    def __init__(self, widths: Sequence[int], blocks: Sequence[int], norm_cfg: dict) -> None:
        super().__init__()
        width, deeper, number = widths[0], widths[1], blocks[0]
        self.skip = residual_blocks([width] * (number + 1), norm_cfg)
        self.down = residual_blocks([width] + [deeper] * number, norm_cfg, stride=2)
        self.inner = (
            Stage(widths[1:], blocks[1:], norm_cfg)
            if len(widths) > 2
            else residual_blocks([deeper] * (blocks[1] + 1), norm_cfg)
        )
        self.up = residual_blocks([deeper] * number + [width], norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """(R, C, S, S) to (R, C, S, S)."""
        coarse = self.up(self.inner(self.down(x)))
        return self.skip(x) + F.interpolate(coarse, scale_factor=2, mode="nearest")


class ResidualBlock(nn.Module):
    """ReLU(3x3-norm-ReLU-3x3-norm + skip); the skip is a 1x1 convolution with norm where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, norm_cfg: dict, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *conv_norm(in_channels, out_channels, 3, norm_cfg, stride),
            nn.ReLU(inplace=True),
            *conv_norm(out_channels, out_channels, 3, norm_cfg),
        )
        same = stride == 1 and in_channels == out_channels
        self.skip = nn.Identity() if same else nn.Sequential(*conv_norm(in_channels, out_channels, 1, norm_cfg, stride))

    def forward(self, x: Tensor) -> Tensor:
        """(R, in_channels, S, S) to (R, out_channels, S / stride, S / stride)."""
        return F.relu(self.body(x) + self.skip(x))


def residual_blocks(widths: Sequence[int], norm_cfg: dict, stride: int = 1) -> nn.Sequential:
    """Blocks from each width to the next; the first has the stride."""
    pairs = enumerate(pairwise(widths))
    return nn.Sequential(*(ResidualBlock(before, after, norm_cfg, 1 if n else stride) for n, (before, after) in pairs))


def conv_norm(
    in_channels: int, out_channels: int, kernel: int, norm_cfg: dict, stride: int = 1
) -> tuple[nn.Conv2d, nn.Module]:
    """A convolution without bias that keeps the resolution but for its stride, and its normalisation."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
    return conv, build_norm_layer(norm_cfg, out_channels)[1]
