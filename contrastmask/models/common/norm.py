"""BatchNorm over RoIs, whose number varies from step to step and from process to process."""

import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class RoIBatchNorm(nn.BatchNorm2d):
    """BatchNorm over (R, C, h, w) that leaves its running statistics alone where a batch has none to give.

    Without a RoI nothing is normalised. A single value per channel (one RoI at one pixel) has no variance: the running
    statistics normalise it, as at test.

    What a configuration calls SyncBN is this: training on several GPUs replaces it, see `synchronise`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(R, C, h, w) to (R, C, h, w)."""
        if len(x) == 0:
            return x + (self.weight.sum() + self.bias.sum())  # the parameters stay in the graph
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


def norm_images(module: nn.Module, images: int) -> int | None:
    """`images` if something inside takes statistics over all RoIs of a pass; None if there is no RoIBatchNorm."""
    kinds = (RoIBatchNorm, nn.SyncBatchNorm)
    return images if any(isinstance(child, kinds) for child in module.modules()) else None


def synchronise(module: nn.Module) -> None:
    """Replace, in place, each RoIBatchNorm inside by torch's SyncBatchNorm, which weights processes by their RoIs.

    Parameters, buffers and their names stay. Only RoIBatchNorm: a method whose BatchNorm is to see one process's
    RoIs, as ContrastMask's projector, keeps it. SyncBatchNorm needs GPUs.
    """
    for name, child in module.named_children():
        if isinstance(child, RoIBatchNorm):
            module.add_module(name, nn.SyncBatchNorm.convert_sync_batchnorm(child))
        else:
            synchronise(child)
