"""ShapeProp: saliency learnt from boxes, propagated to the whole object, handed to the mask head as a shape.

Source: https://github.com/ucbdrive/ShapeProp, "released code" below. Everything here was read in it: shapeprop_head.py,
its loss.py, roi_mask_feature_extractors.py and the released configuration.

Shapes: S sampled RoIs of the batch, R RoIs among them (base positives in training, detections at test), C channels,
h x w pixels (14 x 14), K classes, L = `latent` channels.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import InstanceList
from mmengine.model import BaseModule
from torch import Tensor, nn

from contrastmask.config.options import ShapePropOptions
from contrastmask.models.common.mask_batch import MaskBatch
from contrastmask.models.common.partial_roi_head import PartialRoIHead

EPS = 1e-5  # in both normalisations, as released


@MODELS.register_module()
class ShapePropRoIHead(PartialRoIHead):
    """Box head -> saliency -> propagation -> mask head. Nothing is detached: every loss trains what lies before it.

    The released code has three RoIAligns of the same 14 x 14 bins and 2 x 2 samples (saliency, propagation, mask); they
    have no parameters and give the same values, so one serves all three here. The saliency loss sees every sampled RoI;
    the rest runs only for the RoIs that have a mask loss (option `mask_rois`), as no loss reads it elsewhere.
    """

    options_class = ShapePropOptions
    options: ShapePropOptions

    def __init__(self, *, num_classes: int, mask_roi_extractor: dict, **kwargs) -> None:
        super().__init__(num_classes=num_classes, mask_roi_extractor=mask_roi_extractor, **kwargs)
        self.background = num_classes  # mmdet's label
        channels = mask_roi_extractor["out_channels"]
        self.saliency = PredictionHead(channels, num_classes + 1)
        self.propagation = PropagationHead(channels, self.options)

    def train_masks(self, x: tuple[Tensor, ...], batch: MaskBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mask logits; the losses of saliency and propagation, each of weight 1."""
        features = self._mask_features(x, bbox2roi([res.priors for res in batch.results]))
        maps, labels = self.saliency(features), self.sampled_labels(batch.results)
        rows = (labels != self.background).nonzero()[:, 0][batch.rows]
        shapes, logits = self._shapes_and_masks(features[rows], maps[rows, labels[rows]])
        return logits, dict(
            loss_saliency=saliency_loss(maps, labels),
            loss_propagation=self.mask_cross_entropy(shapes[batch.base], batch.targets(shapes.shape[-1])),
        )

    def sampled_labels(self, sampling_results: list[SamplingResult]) -> Tensor:
        """(S,): the assigned object's label of positive RoIs, K for background; image by image, positives first."""
        parts = []
        for res in sampling_results:
            parts += [res.pos_gt_labels, res.pos_gt_labels.new_full((len(res.neg_priors),), self.background)]
        return torch.cat(parts)

    def _shapes_and_masks(self, features: Tensor, saliency: Tensor) -> tuple[Tensor, Tensor]:
        """Shape activations (R, 1, h, w) and mask logits (R, 1, 2h, 2w) from features and one saliency map a RoI."""
        shapes = self.propagation(features, saliency[:, None])
        return shapes, self.mask_head(features, shapes)

    def detection_logits(self, x: tuple[Tensor, ...], rois: Tensor, results_list: InstanceList) -> Tensor:
        """Each detection's saliency is that of its label in its final box."""
        features = self._mask_features(x, rois)
        labels = torch.cat([results.labels for results in results_list])
        rows = torch.arange(len(rois), device=rois.device)
        return self._shapes_and_masks(features, self.saliency(features)[rows, labels])[1]


# ---------------------------------------------------------------------------- saliency


def saliency_loss(maps: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each map's spatial mean, over all sampled RoIs, background included; 0 without RoIs.

    Args:
        maps: (S, K + 1, h, w), not normalised.
        labels: (S,), K for background.
    """
    if len(maps) == 0:
        return maps.sum() * 0
    return F.cross_entropy(maps.float().mean(dim=(2, 3)), labels)


class PredictionHead(BaseModule):
    """Four 3x3 Conv-ReLU layers and a 1x1 convolution, the form of both of ShapeProp's branches.

    Initialised as released: 3x3 by ConvModule (Kaiming normal, fan out), 1x1 Kaiming uniform with a = 1; biases 0.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        linear = dict(type="Kaiming", a=1, mode="fan_in", nonlinearity="leaky_relu", distribution="uniform")
        super().__init__(init_cfg=dict(type="Kaiming", layer=[], override=linear | dict(name="predictor")))
        self.convs = conv3x3([channels] * 5, last_relu=True)
        self.predictor = nn.Conv2d(channels, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(R, C, h, w) to (R, outputs, h, w)."""
        return self.predictor(self.convs(x))


def conv3x3(channels: list[int], last_relu: bool) -> nn.Sequential:
    """3x3 convolutions with biases between the given channel counts, ReLU between them and, if asked, after them."""
    last = len(channels) - 2
    return nn.Sequential(
        *(
            ConvModule(before, after, 3, padding=1, act_cfg=dict(type="ReLU") if i < last or last_relu else None)
            for i, (before, after) in enumerate(pairwise(channels))
        )
    )


# ---------------------------------------------------------------------------- propagation


class PropagationHead(BaseModule):
    """Saliency -> L latent channels -> `steps` of message passing, weighted by the RoI's features -> shape activation.

    Args:
        channels: C of the RoI features.
        options: `latent`, `steps`, `border`.
    """

    def __init__(self, channels: int, options: ShapePropOptions) -> None:
        super().__init__()
        self.latent, self.steps, self.border = options.latent, options.steps, options.border
        self.weights = PredictionHead(channels, self.latent * 9)
        self.encoder = conv3x3([1] + [self.latent] * 3, last_relu=False)
        self.decoder = conv3x3([self.latent] * 3 + [1], last_relu=False)

    def forward(self, features: Tensor, saliency: Tensor) -> Tensor:
        """Shape activations (R, 1, h, w) from features (R, C, h, w) and saliency maps (R, 1, h, w).

        Message passing is in fp32 under autocast: bf16 would round at each of its steps.
        """
        scores = self.weights(features).float().unflatten(1, (self.latent, 9))
        weights = neighbour_weights(scores, self.border)
        return self.decoder(propagate(self.encoder(saliency).float(), weights, self.steps))


def neighbour_weights(scores: Tensor, border: str) -> Tensor:
    """Sigmoid weights of each pixel's 3x3 neighbours, row by row from the upper left, which sum to 1 (almost: EPS).

    Args:
        scores: (R, L, 9, h, w).
        border: "zero": neighbours outside the map have weights too, though their values are 0; "inside": they have
            weight 0.
    """
    weights = scores.sigmoid()
    if border == "inside":
        h, w = scores.shape[-2:]
        weights = weights * F.unfold(weights.new_ones(1, 1, h, w), 3, padding=1).view(9, h, w)
    return weights / (weights.sum(2, keepdim=True) + EPS)


def propagate(x: Tensor, weights: Tensor, steps: int) -> Tensor:
    """`steps` times: each pixel becomes the weighted sum of its 3x3 neighbourhood; outside the map are zeros.

    Views of one padded map stand for the neighbours, so a step keeps one map for the gradient and not nine: with 2048
    RoIs (16 images of 128 positives), 24 channels and 14 x 14 pixels, 50 MB in fp32. The weights take 350 MB.

    Args:
        x: (R, L, h, w).
        weights: (R, L, 9, h, w).
    """
    h, w = x.shape[-2:]
    parts = weights.unbind(2)
    for _ in range(steps):
        padded = F.pad(x, (1, 1, 1, 1))
        x = torch.zeros_like(x)
        for place, part in enumerate(parts):
            row, column = divmod(place, 3)
            x = x + part * padded[..., row : row + h, column : column + w]
    return x


# ---------------------------------------------------------------------------- mask head


@MODELS.register_module()
class ShapePropMaskHead(FCNMaskHead):
    """Mask R-CNN's mask head on the RoI features and the encoded shape activation, concatenated.

    Args:
        in_channels: C of the RoI features, and of the encoder's layers.
        kwargs: as mmdet's FCNMaskHead.
    """

    def __init__(self, *, in_channels: int = 256, **kwargs) -> None:
        super().__init__(in_channels=2 * in_channels, **kwargs)
        self.encoder = conv3x3([1] + [in_channels] * 4, last_relu=False)

    def forward(self, x: Tensor, shapes: Tensor) -> Tensor:
        """Mask logits (R, 1, 2h, 2w) from features (R, C, h, w) and shape activations (R, 1, h, w)."""
        return super().forward(torch.cat([x, self.encoder(max_normalised(shapes))], dim=1))


def max_normalised(shapes: Tensor) -> Tensor:
    """The positive part of each map (R, 1, h, w), divided by its largest value; 0 where nothing is positive."""
    positive = shapes.float().relu()
    return positive / (positive.amax(dim=(2, 3), keepdim=True) + EPS)
