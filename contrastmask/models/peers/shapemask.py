"""ShapeMask: a box becomes a mixture of shape priors, then a coarse mask, then a fine one.

Paper: https://arxiv.org/abs/1904.03239; code read: tensorflow/tpu, models/official/detection ("released code" below):
shapemask_model.py, heads.py, losses.py, shapemask_parser.py, spatial_transform_ops.py.

Shapes: R boxes of the batch, C mask channels (128), K priors, S = 32 the crop's side, 4 S that of the final mask. An
*inner* box is the object's (jittered in training, detected at test); the *outer* box around it is what is cropped and
segmented, so that a mask may exceed its box.
"""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS
from mmdet.utils import InstanceList
from mmengine.model import normal_init, xavier_init
from mmengine.structures import InstanceData
from torch import Tensor, nn

from contrastmask.config.options import ShapeMaskOptions
from contrastmask.data.shape_priors import SIZE
from contrastmask.models.common.mask_batch import MaskBatch, MaskRoIs
from contrastmask.models.common.single_stage import MaskBranch

OBJECTS = 8  # of an image, in the mask losses
JITTER = 0.025  # standard deviation, as a share of a box's sides
OUTER = 1.25  # outer box's sides, in those of the inner box
PRIOR_WEIGHT = 0.1  # of the prior's loss; the masks' losses have 1


@MODELS.register_module()
class ShapeMaskRoIHead(MaskBranch):
    """ShapeMask's mask branch: trains on jittered ground-truth boxes, segments outer boxes.

    Objects of novel categories pass through it too, so that BatchNorm sees them as it will at test; no loss does. The
    released code divides by the mask pixels of all objects. Those of novel ones are unknown here: the loss over base
    pixels is scaled by the share of base objects, which is the same where masks are as large on average.
    """

    options_class = ShapeMaskOptions
    options: ShapeMaskOptions
    sees_novel = True

    def init_mask_head(self, mask_roi_extractor: dict, mask_head: dict) -> None:
        """mmdet's; the number of priors is an option."""
        super().init_mask_head(mask_roi_extractor, dict(mask_head, priors=self.options.priors))

    def training_rois(self, ground_truth: InstanceList, detections: InstanceList | None) -> list[MaskRoIs]:
        """At most 8 random objects of each image with jittered boxes. Released: always 8, of which some are empty."""
        rois = []
        for gt in ground_truth:
            rows = torch.randperm(len(gt), device=gt.labels.device)[:OBJECTS]
            rois.append(MaskRoIs(jitter(gt.bboxes[rows]), rows, gt.labels[rows]))
        return rois

    def mask_losses(self, x: tuple[Tensor, ...], batch: MaskBatch) -> dict[str, Tensor]:
        """Losses of prior, coarse and fine mask (`loss_mask`), over base objects."""
        size = self.input_size(x)
        inner = [clip(res.pos_priors, size) for res in batch.results]
        crops = [
            replace(res, pos_priors=outer_boxes(boxes, size)) for res, boxes in zip(batch.results, inner, strict=True)
        ]
        batch = replace(batch, results=crops)
        masks = self._segment(x, torch.cat(inner), batch.positives)
        prior, coarse, fine = (mask[batch.base].float() for mask in masks)
        small, large = (batch.targets(side) for side in (prior.shape[-1], fine.shape[-1]))
        share = len(fine) / max(len(batch.positives), 1)
        losses = dict(
            loss_prior=share * PRIOR_WEIGHT * per_target_pixel((prior - small) ** 2 / 2, small),
            loss_coarse=share * per_target_pixel(cross_entropy(coarse, small), small),
            loss_mask=share * per_target_pixel(cross_entropy(fine, large), large),
        )
        return losses | self.novel_losses(masks[-1][:, None], batch)

    def predict_mask(
        self, x: tuple[Tensor, ...], batch_img_metas: list[dict], results_list: InstanceList, rescale: bool = False
    ) -> InstanceList:
        """mmdet's, with masks pasted into the outer boxes; boxes, scores and labels stay the detections'."""
        size = self.input_size(x)
        crops = [
            InstanceData(bboxes=outer_boxes(res.bboxes, size), inner=res.bboxes, labels=res.labels)
            for res in results_list
        ]
        crops = super().predict_mask(x, batch_img_metas, crops, rescale)
        for results, crop, meta in zip(results_list, crops, batch_img_metas, strict=True):
            results.masks = crop.masks
            if rescale:
                results.bboxes = results.bboxes / results.bboxes.new_tensor(meta["scale_factor"]).repeat(2)
        return results_list

    def detection_logits(self, x: tuple[Tensor, ...], rois: Tensor, results_list: InstanceList) -> Tensor:
        """Fine mask logits (R, 1, 4S, 4S) in the outer boxes `rois` (R, 5)."""
        return self._segment(x, torch.cat([results.inner for results in results_list]), rois)[2][:, None]

    def _segment(self, x: tuple[Tensor, ...], inner: Tensor, rois: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`ShapeMaskHead.forward` for inner boxes (R, 4) and outer ones `rois` (R, 5)."""
        return self.mask_head(self.mask_roi_extractor(x, rois), inner, rois[:, 1:])

    def input_size(self, x: tuple[Tensor, ...]) -> tuple[int, int]:
        """Height and width of the network's input, padding included: boxes are clipped to it, as released."""
        stride = self.mask_roi_extractor.featmap_strides[0]
        return x[0].shape[-2] * stride, x[0].shape[-1] * stride


@MODELS.register_module()
class ShapeMaskHead(FCNMaskHead):
    """Prior estimation, coarse and fine mask. mmdet's own layers are those of the fine mask, which it pastes.

    The priors are a buffer: they come with the weights; without any they are 0, as released.

    Args:
        in_channels: of the RoI features.
        conv_out_channels: C.
        num_convs: of both decoders together, as Table 1 counts them; half of them each.
        norm_cfg: mmdet's.
        priors: K.
        kwargs: as mmdet's FCNMaskHead, class-agnostic.
    """

    def __init__(
        self, *, in_channels: int, conv_out_channels: int, num_convs: int, norm_cfg: dict, priors: int, **kwargs
    ) -> None:
        c = conv_out_channels
        super().__init__(in_channels=c, conv_out_channels=c, num_convs=num_convs // 2, norm_cfg=norm_cfg, **kwargs)
        self.reduce = nn.Conv2d(in_channels, c, 1)
        self.shape_logits = nn.Linear(c, priors)
        self.prior_embedding = nn.Conv2d(1, c, 1)
        self.coarse_convs = nn.Sequential(
            *(ConvModule(c, c, 3, padding=1, norm_cfg=norm_cfg) for _ in range(num_convs // 2))
        )
        self.coarse_logits = nn.Conv2d(c, 1, 1)
        self.mask_embedding = nn.Conv2d(1, c, 1)
        self.register_buffer("priors", torch.zeros(priors, SIZE, SIZE))

    def init_weights(self) -> None:
        """As released: Gaussian 0.01 in decoders and logits, whose biases say 1 % foreground; Xavier elsewhere."""
        super().init_weights()
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                normal_init(layer, std=0.01)
        for layer in (self.reduce, self.prior_embedding, self.mask_embedding, self.upsample):
            xavier_init(layer, distribution="uniform")
        for layer in (self.coarse_logits, self.conv_logits):
            normal_init(layer, std=0.01, bias=-math.log(99))

    def forward(self, x: Tensor, inner: Tensor, outer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Prior (R, S, S) in [0, 1], coarse logits (R, S, S) and fine logits (R, 4S, 4S), all in the outer boxes.

        Args:
            x: (R, C', S, S), RoI features of the outer boxes.
            inner, outer: (R, 4), in pixels.
        """
        features = self.reduce(x)
        prior = self.estimate_prior(features, inner, outer)
        coarse = self.coarse_logits(self.coarse_convs(features + self.prior_embedding(prior[:, None])))
        refined = features - instance_embedding(features, coarse) + self.mask_embedding(coarse.sigmoid())
        for conv in self.convs:
            refined = conv(refined)
        return prior, coarse[:, 0], self.conv_logits(self.upsample(refined))[:, 0]

    def estimate_prior(self, features: Tensor, inner: Tensor, outer: Tensor) -> Tensor:
        """(R, S, S): the mixture of priors that the features inside the inner box ask for, pasted into that box."""
        inside = paste(torch.ones_like(features[:, 0]), inner, outer)
        weights = self.shape_logits((features * inside[:, None]).mean(dim=(2, 3))).softmax(1)
        return paste(torch.einsum("rk,khw->rhw", weights, self.priors), inner, outer)


# ---------------------------------------------------------------------------- boxes


def jitter(boxes: Tensor) -> Tensor:
    """Boxes (R, 4) as a detector would find them: centres moved and sides stretched by 2.5 %, Gaussian."""
    noise = JITTER * torch.randn_like(boxes)
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    centres, sides = centres + noise[:, :2] * sides, sides * noise[:, 2:].exp()
    return torch.cat([centres - sides / 2, centres + sides / 2], dim=1)


def outer_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (R, 4) enlarged around their centres by 1.25, clipped to (height, width)."""
    margin = (OUTER - 1) / 2 * (boxes[:, 2:] - boxes[:, :2])
    return clip(torch.cat([boxes[:, :2] - margin, boxes[:, 2:] + margin], dim=1), size)


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (R, 4) inside (height, width)."""
    return boxes.clamp(min=0).minimum(boxes.new_tensor([size[1], size[0]] * 2))


def paste(masks: Tensor, boxes: Tensor, frames: Tensor) -> Tensor:
    """What masks (R, h, w), each filling its box, look like in h x w pixels of their frames; 0 outside the boxes.

    Bilinear, between pixel centres. (The released code samples at pixels' corners, in the mask as in the frame.)

    Args:
        masks: (R, h, w), made fp32.
        boxes, frames: (R, 4), in the same coordinates.
    """
    axes = []
    for first, pixels in ((0, masks.shape[2]), (1, masks.shape[1])):
        centres = (torch.arange(pixels, device=boxes.device) + 0.5) / pixels
        start, end = frames[:, first, None], frames[:, first + 2, None]
        low, high = boxes[:, first, None], boxes[:, first + 2, None]
        axes.append((start + centres * (end - start) - low) / (high - low).clamp(min=1e-6) * 2 - 1)
    x, y = axes
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)
    return F.grid_sample(masks[:, None].float(), grid.float(), align_corners=False)[:, 0]


# ---------------------------------------------------------------------------- mask branch


def instance_embedding(features: Tensor, logits: Tensor) -> Tensor:
    """(R, C, 1, 1): mean of the features (R, C, S, S) where a mask's probability exceeds 0.5; 0 where it never does."""
    inside = (logits > 0).to(features.dtype)
    return (features * inside).sum((2, 3), keepdim=True) / inside.sum((2, 3), keepdim=True).clamp(min=1)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Of each pixel."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def per_target_pixel(losses: Tensor, targets: Tensor) -> Tensor:
    """Sum of losses (M, h, w) over the number of foreground pixels of targets (M, h, w) in {0, 1}, at least 1."""
    return losses.sum() / targets.sum().clamp(min=1)
