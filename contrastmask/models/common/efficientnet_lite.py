"""EfficientNet-Lite0 as a backbone, for a scale at which ResNet-50 is out of reach. timm's network.

Source: https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html.
"""

from typing import Any

from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

BLOCKS = (0, 2, 3, 5, 7)  # of the network, from the stem up to C2, C3, C4 and C5

CHANNELS = (24, 40, 112, 320)  # of C2 to C5


@MODELS.register_module()
class EfficientNetLite0(BaseModule):
    """C2 to C5: strides 4, 8, 16 and 32 with 24, 40, 112 and 320 channels.

    Args:
        frozen_stages: as of mmdet's ResNet: 0 freezes the stem, 1 all up to C2, 2 up to C3, and so on; -1 nothing.
        out_norm: a BatchNorm without affine parameters after each map, which learns its statistics whatever is frozen.
            ImageNet's maps have standard deviations of some 10; beside them a class activation map in 0..1 is not seen.
        norm_eval: BatchNorm keeps its statistics in training, as mmdet's ResNet does.
        init_cfg: mmengine's; `Pretrained` reads a file of the rule `weights`.
    """

    def __init__(
        self, frozen_stages: int = 1, norm_eval: bool = True, out_norm: bool = False, init_cfg: dict | None = None
    ) -> None:
        from timm import create_model  # half a second that the other backbones do without

        super().__init__(init_cfg)
        self.net = create_model("tf_efficientnet_lite0", features_only=True, out_indices=(1, 2, 3, 4))
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval
        norms = (nn.BatchNorm2d(channels, affine=False) for channels in CHANNELS)
        self.out_norms = nn.ModuleList(norms if out_norm else (nn.Identity() for _ in CHANNELS))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (N, 3, H, W) to four maps (N, C, H / stride, W / stride)."""
        return tuple(norm(level) for norm, level in zip(self.out_norms, self.net(x), strict=True))

    def train(self, mode: bool = True) -> "EfficientNetLite0":
        """As nn.Module's; what is frozen stays in evaluation mode."""
        super().train(mode)
        net: Any = self.net
        stem = [net.conv_stem, net.bn1] if self.frozen_stages >= 0 else []
        for part in (*stem, *net.blocks[: BLOCKS[max(self.frozen_stages, 0)]]):
            part.eval()
            part.requires_grad_(False)
        if mode and self.norm_eval:
            for module in self.net.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self
