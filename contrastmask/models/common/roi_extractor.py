"""Features of RoIs from the pyramid level of their size: mmdet's SingleRoIExtractor, waiting for a GPU once."""

import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class SortingRoIExtractor(SingleRoIExtractor):
    """mmdet's results to the bit. RoIs are sorted by level, so that one copy of the counts tells where to cut."""

    def forward(self, feats: tuple[Tensor, ...], rois: Tensor, roi_scale_factor: float | None = None) -> Tensor:
        """RoI features (R, C, h, w) of pyramid levels and RoIs (R, 5)."""
        if len(rois) == 0 or len(feats) == 1:
            return super().forward(feats, rois, roi_scale_factor)
        rois = rois.type_as(feats[0])
        levels = self.map_roi_levels(rois, len(feats))
        if roi_scale_factor is not None:
            rois = self.roi_rescale(rois, roi_scale_factor)
        order = levels.argsort(stable=True)
        counts = (levels[:, None] == torch.arange(len(feats), device=rois.device)).sum(0).tolist()
        parts = rois[order].split(counts)
        found = [layer(x, part) for layer, x, part in zip(self.roi_layers, feats, parts, strict=False) if len(part)]
        features = torch.cat(found)[order.argsort()]
        # levels without a RoI stay in the graph, for processes that average their gradients
        for x, count in zip(feats, counts, strict=True):
            features = features if count else features + x.sum() * 0
        return features
