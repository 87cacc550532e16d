"""The convolutional box head whose classifier yields the class activation map."""

from mmdet.models.layers import multiclass_nms
from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.model import xavier_init
from mmengine.structures import InstanceData
from torch import Tensor

from contrastmask.models.common.cam import class_activation_map


@MODELS.register_module()
class CAMBoxHead(ConvFCBBoxHead):
    """Box head without fully connected hidden layers: convolutions, average pooling, one linear layer.

    The released code's: 4 shared 3x3 convolutions, 1 more for the class, 2 more for the box (set in the config). The
    linear classifier after average pooling is what makes a class activation map (Sec. 3.1, Fig. 2).
    """

    def init_weights(self) -> None:
        """mmdet's but for the classifier and the regressor: Xavier normal, as mmdet 2.14 started them."""
        super().init_weights()
        for layer in (self.fc_cls, self.fc_reg):
            xavier_init(layer, distribution="normal")

    def forward_with_map(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Class scores (R, K + 1), box deltas (R, 4 K), the class branch's last map (R, C, h, w); RoIs (R, C, h, w)."""
        for conv in self.shared_convs:
            x = conv(x)
        class_map, box_map = x, x
        for conv in self.cls_convs:
            class_map = conv(class_map)
        for conv in self.reg_convs:
            box_map = conv(box_map)
        scores = self.fc_cls(self.avg_pool(class_map).flatten(1))
        deltas = self.fc_reg(self.avg_pool(box_map).flatten(1))
        return scores, deltas, class_map

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Class scores and box deltas, as mmdet's box heads."""
        return self.forward_with_map(x)[:2]

    def activation(self, class_map: Tensor, labels: Tensor) -> Tensor:
        """Class activation maps (R, h, w), not normalised, of the class branch's maps for `labels` (R,)."""
        return class_activation_map(class_map, self.fc_cls.weight, labels)

    def _predict_by_feat_single(
        self,
        roi: Tensor,
        cls_score: Tensor,
        bbox_pred: Tensor,
        img_meta: dict,
        rescale: bool = False,
        rcnn_test_cfg: ConfigDict | None = None,
    ) -> InstanceData:
        """mmdet's, keeping for each detection the proposal it came from, as `proposals` (n, 4) in network pixels."""
        if rcnn_test_cfg is None or roi.shape[0] == 0:
            return super()._predict_by_feat_single(roi, cls_score, bbox_pred, img_meta, rescale, rcnn_test_cfg)
        raw = super()._predict_by_feat_single(roi, cls_score, bbox_pred, img_meta, rescale, None)
        detections, labels, flat = multiclass_nms(
            raw.bboxes,
            raw.scores,
            rcnn_test_cfg.score_thr,
            rcnn_test_cfg.nms,
            rcnn_test_cfg.max_per_img,
            return_inds=True,
        )
        # NMS numbers the (proposal, class) pairs row by row
        proposals = roi[flat // self.num_classes, 1:]
        return InstanceData(bboxes=detections[:, :4], scores=detections[:, 4], labels=labels, proposals=proposals)
