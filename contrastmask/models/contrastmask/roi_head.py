"""ContrastMask's RoI head: box head -> CAM -> CL head -> mask head (Fig. 2), with the losses of Eq. 5.

Shapes: R positive RoIs of the batch (training) or detections (test), C channels, S = `cl_size`.
"""

from copy import deepcopy

import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS
from torch import Tensor

from contrastmask.config.options import ContrastMaskOptions
from contrastmask.models.common.cam import CAMRoIHead, activation_prior, min_max, resize
from contrastmask.models.common.mask_batch import MaskBatch
from contrastmask.models.contrastmask.cl_head import ContrastiveHead
from contrastmask.models.contrastmask.contrast import contrastive_loss, contrastive_weight
from contrastmask.models.contrastmask.keys import KeySets, Partition, key_sets, partition


@MODELS.register_module()
class ContrastMaskRoIHead(CAMRoIHead):
    """Adds the CL head (option `cl`) to the RoI head with the CAM, which option `cam` can leave out.

    Base RoIs train the mask head; RoIs of all categories train the CL head.
    """

    options_class = ContrastMaskOptions
    options: ContrastMaskOptions

    def __init__(self, *, options: dict, mask_roi_extractor: dict, mask_head: dict, **kwargs) -> None:
        parsed = ContrastMaskOptions(**options)
        mask_head = dict(mask_head, fusion=parsed.fusion if parsed.cl else None)
        super().__init__(options=options, mask_roi_extractor=mask_roi_extractor, mask_head=mask_head, **kwargs)
        if self.options.cl:
            self.cl_head = ContrastiveHead(mask_roi_extractor["out_channels"], self.options)
            self.cl_roi_extractor = self._resized_extractor(mask_roi_extractor, self.options.cl_size)

    @staticmethod
    def _resized_extractor(config: dict, size: int) -> SingleRoIExtractor:
        config = deepcopy(config)
        config["roi_layer"]["output_size"] = size
        return MODELS.build(config)

    # ------------------------------------------------------------------ training

    def train_masks(self, x: tuple[Tensor, ...], batch: MaskBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mask logits, and lambda L_con of Eq. 5."""
        raw_cam, losses, encoded = self._raw_cam(batch), {}, None
        if self.options.cl and self.options.cl_loss:
            every = self._encode(x, batch.positives)
            is_base, masks = self.is_base[batch.positive_labels], batch.masks(self.options.cl_size)
            regions, keys = self._regions_and_keys(raw_cam.detach(), is_base, masks)
            losses["loss_contrast"] = self._contrastive_loss(every, regions, keys, batch.results)
            encoded = every[batch.rows]
        return self._mask_logits(x, batch.rois, raw_cam[batch.rows], encoded), losses

    def _contrastive_loss(
        self, encoded: Tensor, regions: Partition, keys: KeySets, sampling_results: list[SamplingResult]
    ) -> Tensor:
        """lambda L_con, the mean over the query groups of the batch: in fp32, of features that autocast may halve."""
        of_image = [len(res.pos_priors) for res in sampling_results]
        each = self.options.query_group_size
        sizes = [sum(of_image[first : first + each]) for first in range(0, len(of_image), each)]
        groups = torch.cat([encoded.new_full((size,), n, dtype=torch.long) for n, size in enumerate(sizes)])
        projected = self.cl_head.project(encoded, sizes)
        with torch.autocast(encoded.device.type, enabled=False):
            total = contrastive_loss(projected.float(), regions, keys, groups, self.options)
        return total / len(sizes) * contrastive_weight(self.progress, self.options)

    @torch.no_grad()
    def _regions_and_keys(self, raw_cam: Tensor, is_base: Tensor, masks: Tensor) -> tuple[Partition, KeySets]:
        """I+, I- and the key sets of the RoIs that take part; those of the others are empty.

        Args:
            raw_cam: (R, h, w), detached.
            is_base: (R,) bool.
            masks: (R, S, S) bool, read at base RoIs only, unless option `novel_masks` says otherwise.
        """
        options = self.options
        cam = self._contrastive_cam(raw_cam)
        has_mask = torch.ones_like(is_base) if options.novel_masks == "keys" else is_base
        masks = masks & has_mask[:, None, None]
        taking_part = {"all": torch.ones_like(is_base), "base": is_base, "novel": ~is_base}
        supervised = taking_part[options.cl_supervision][:, None, None]
        foreground, background = partition(masks, has_mask, cam, options)
        keys = key_sets(masks, has_mask, cam, options)
        if options.min_keys:
            enough = [s.sum(dim=(1, 2)) >= options.min_keys for s in keys.sets()]
            keys = keys.only(torch.stack(enough).all(0))
        return Partition(foreground & supervised, background & supervised), keys.only(supervised[:, 0, 0])

    def _contrastive_cam(self, raw_cam: Tensor) -> Tensor:
        """A as the contrastive loss sees it, (R, S, S), of raw maps (R, h, w). Always in fp32."""
        cam = activation_prior(raw_cam.float(), self.mask_size, self.options.cam_norm)
        return cam if self.options.cl_size == self.mask_size else min_max(resize(cam, self.options.cl_size))

    @torch.no_grad()
    def pseudo_masks(self, x: tuple[Tensor, ...], rois: Tensor, labels: Tensor) -> tuple[Tensor, Partition]:
        """A (R, S, S) and I+, I- that RoIs (R, 5) of novel categories `labels` (R,) get in training (Fig. 7)."""
        cam = self._contrastive_cam(self.bbox_head.activation(self._bbox_forward(x, rois)["class_map"], labels))
        is_base = torch.zeros(len(rois), dtype=torch.bool, device=rois.device)
        unread = torch.zeros(cam.shape, dtype=torch.bool, device=rois.device)
        return cam, partition(unread, is_base, cam, self.options)

    @torch.no_grad()
    def features_in_boxes(self, x: tuple[Tensor, ...], rois: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """What the head sees of given RoIs (R, 5) with true `labels` (R,), for a close look at the prior.

        Returns:
            `predicted` (R,) the likeliest of the K classes, background apart; `cam` A (R, S, S); `X` (R, C, S, S); with
            the CL head `Y` alike, and with its loss `Z` (R, S * S, C).
        """
        seen = self._bbox_forward(x, rois)
        found = {"predicted": seen["cls_score"][:, :-1].argmax(1)}
        found["cam"] = self._contrastive_cam(self.bbox_head.activation(seen["class_map"], labels))
        if not self.options.cl:
            return found | {"X": self._mask_features(x, rois)}
        found["X"] = self.cl_roi_extractor(x[: self.cl_roi_extractor.num_inputs], rois)
        encoded = self.cl_head.encode(found["X"])
        found["Y"] = self.cl_head.mask_features(encoded)
        if self.options.cl_loss:
            found["Z"] = self.cl_head.project(encoded, [len(rois)])
        return found

    # ------------------------------------------------------------------ training and test

    def _encode(self, x: tuple[Tensor, ...], rois: Tensor) -> Tensor:
        """f(X): (R, C, S, S)."""
        features = self.cl_roi_extractor(x[: self.cl_roi_extractor.num_inputs], rois)
        return self.cl_head.encode(features.detach() if self.options.detach_cl_input else features)

    def _mask_logits(
        self, x: tuple[Tensor, ...], rois: Tensor, raw_cam: Tensor, encoded: Tensor | None = None
    ) -> Tensor:
        """Logits (R, 1, 28, 28) from X, Y and A. `encoded` is f(X), where it has been made already."""
        y = None
        if self.options.cl:
            y = self.cl_head.mask_features(self._encode(x, rois) if encoded is None else encoded)
        return self.mask_head(self._mask_features(x, rois), y, self._prior(raw_cam) if self.options.cam else None)
