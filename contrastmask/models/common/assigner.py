"""Which object each box is to find: mmdet's MaxIoUAssigner, without its loop over objects."""

import torch
from mmdet.models.task_modules.assigners import AssignResult, MaxIoUAssigner
from mmdet.registry import TASK_UTILS
from torch import Tensor


@TASK_UTILS.register_module()
class VectorMaxIoUAssigner(MaxIoUAssigner):
    """mmdet's results to the bit. There a GPU waits for the CPU at each object and at each set of boxes, here never."""

    def assign_wrt_overlaps(self, overlaps: Tensor, gt_labels: Tensor) -> AssignResult:
        """mmdet's, of overlaps (G, N) of G objects and N boxes."""
        if 0 in overlaps.shape:
            return super().assign_wrt_overlaps(overlaps, gt_labels)
        best, _ = overlaps.max(dim=0)
        assigned = self.rows(overlaps)
        labels = torch.where(assigned > 0, gt_labels[(assigned - 1).clamp(min=0)], -1)
        return AssignResult(num_gts=len(overlaps), gt_inds=assigned, max_overlaps=best, labels=labels)

    def rows(self, overlaps: Tensor) -> Tensor:
        """For each box (N,): 1 + the row of its object in overlaps (G, N), 0 for background, -1 for neither."""
        low, high = self.neg_iou_thr if isinstance(self.neg_iou_thr, tuple) else (0, self.neg_iou_thr)
        best, row = overlaps.max(dim=0)
        assigned = torch.where((best >= low) & (best < high), 0, -1)
        assigned = torch.where(best >= self.pos_iou_thr, row + 1, assigned)
        if not self.match_low_quality:
            return assigned
        # an object also takes the boxes closest to it; of several such objects the last
        closest, box = overlaps.max(dim=1, keepdim=True)
        taken = torch.zeros_like(overlaps, dtype=torch.bool).scatter_(1, box, True)
        if self.gt_max_assign_all:
            taken = overlaps == closest
        numbers = torch.arange(1, len(overlaps) + 1, device=overlaps.device, dtype=torch.int32)[:, None]
        last = (taken & (closest >= self.min_pos_iou)).mul(numbers).amax(dim=0)
        return torch.where(last > 0, last, assigned)
