"""The contrastive learning head (Sec. 3.2, Fig. 3): encoder f and projector g.

Shapes: R RoIs, C channels, H x W pixels, P = H x W.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from contrastmask.config.options import ContrastMaskOptions


class ContrastiveHead(BaseModule):
    """ "CnFm": n 3x3 Conv-ReLU layers and an m-layer MLP on each pixel, whose last layer has no ReLU.

    Args:
        in_channels: C of the RoI features and of every layer (256 in the paper).
        options: `cl_convs` (n), `cl_fcs` (m), `projector_norm`, `enhance`; without `cl_loss` there is no projector.
    """

    def __init__(self, in_channels: int, options: ContrastMaskOptions) -> None:
        super().__init__(init_cfg=dict(type="Kaiming", layer=["Conv2d", "Linear"], mode="fan_out", nonlinearity="relu"))
        self.encoder = nn.Sequential(
            *(ConvModule(in_channels, in_channels, 3, padding=1) for _ in range(options.cl_convs))
        )
        if options.cl_loss:
            self.projector = Projector(in_channels, options.cl_fcs, options.projector_norm)
        self.enhance = options.enhance

    def init_weights(self) -> None:
        """Kaiming, and torch's default for the projector's last layer (released code)."""
        super().init_weights()
        if hasattr(self, "projector"):
            self.projector.last.reset_parameters()

    def encode(self, x: Tensor) -> Tensor:
        """f(X): (R, C, H, W) to (R, C, H, W)."""
        return self.encoder(channels_last(x))

    def mask_features(self, encoded: Tensor) -> Tensor:
        """Y (R, C, H, W), which enters the mask head: the encoded features, averaged by affinity with `enhance`."""
        return self_affinity_average(encoded) if self.enhance else encoded

    def project(self, encoded: Tensor, sizes: list[int]) -> Tensor:
        """Z = g(Y): (R, C, H, W) to (R, P, C). BatchNorm, if any, sees one query group at a time, of `sizes` RoIs."""
        return self.projector(encoded.flatten(2).transpose(1, 2), sizes)


class Projector(BaseModule):
    """g: linear layers on each pixel, ReLU between them, and BatchNorm with `norm`."""

    def __init__(self, channels: int, layers: int, norm: bool) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(channels, channels) for _ in range(layers - 1))
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in range(layers - 1)) if norm else None
        self.last = nn.Linear(channels, channels)

    def forward(self, x: Tensor, sizes: list[int]) -> Tensor:
        """(R, P, C) to (R, P, C). BatchNorm sees one group of RoIs at a time, of `sizes`, which add up to R.

        That is what each GPU of 2 images does in the paper's set-up. Running statistics follow every group in turn.

        With BatchNorm a group's layers are computed anew in the backward pass, so that those of one group alone are in
        memory, not seven maps of all pixels of all RoIs.
        """
        if self.norms is None:
            return self._layers(x)
        if len(x) == 0:  # no statistics to take; the parameters stay in the graph
            return self.last(x) + sum(p.sum() for p in self.parameters()) * 0
        found = [
            checkpoint(self._layers, p, use_reentrant=False, preserve_rng_state=False, context_fn=self._statistics_once)
            for p in x.split(sizes)
            if len(p)
        ]
        return torch.cat(found)

    def _layers(self, x: Tensor) -> Tensor:
        shape = x.shape
        x = x.flatten(0, 1)
        for index, layer in enumerate(self.hidden):
            x = layer(x)
            if self.norms is not None:
                x = self.norms[index](x)
            x = F.relu(x, inplace=True)
        return self.last(x).view(shape)

    def _statistics_once(self) -> tuple[AbstractContextManager, AbstractContextManager]:
        """Contexts of the first and the second computation: running statistics follow the first alone."""
        return nullcontext(), self._statistics_kept()

    @contextmanager
    def _statistics_kept(self) -> Iterator[None]:
        norms = [norm for norm in self.modules() if isinstance(norm, nn.BatchNorm1d)]
        before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        try:
            yield
        finally:
            for norm, (momentum, number) in zip(norms, before, strict=True):
                norm.momentum, norm.num_batches_tracked = momentum, number


def channels_last(x: Tensor) -> Tensor:
    """Maps (R, C, H, W) as a GPU's convolutions want them, whose own copies would cost more; on a CPU as they are."""
    return x.contiguous(memory_format=torch.channels_last) if x.is_cuda else x


def self_affinity_average(x: Tensor) -> Tensor:
    """Each pixel's average of all pixels of its RoI, weighted by softmax of their cosine similarity.

    The released code's "enhance", not in the paper: no temperature, no parameters, no residual. After a ReLU cosines
    lie in [0, 1], so weights differ by at most a factor e and the result is close to the RoI's mean.

    Args:
        x: (R, C, H, W).

    Returns:
        (R, C, H, W).
    """
    # (R, 1, P, C), contiguous: fused kernels want heads, and channels side by side
    pixels = x.flatten(2).transpose(1, 2)[:, None].contiguous()
    unit = F.normalize(pixels, dim=-1, eps=1e-6)
    # softmax(Q K^T) V with Q = K = unit vectors and scale 1: the fused kernel never stores the P x P affinity
    averaged = F.scaled_dot_product_attention(unit, unit, pixels, scale=1.0)
    return averaged[:, 0].transpose(1, 2).view_as(x)
