"""ShapeProp: class saliency learnt from boxes, propagated over the object, as an input of the mask head.

Code: https://github.com/ucbdrive/ShapeProp. Printed AP on novel categories (nonvoc2voc, voc2nonvoc), 1x: ResNet-50
34.4, 30.4; ResNet-101 35.5, 31.9. Options: contrastmask/config/options.py.

Certain, read in the released code and its configuration (ResNet-50, voc2nonvoc): layers, initialisation, losses and
their weights, RoIs of each loss, RoIAlign with 2 x 2 samples a bin, and the recipe `source` (commit 0385f74):
Detectron's (configs/detectron.py), as it is written in configs/coco_voc_mask_rcnn_r50_fpn_shapeprop_1x.yml,
shapeprop/modeling/ roi_heads/box_head/loss.py:163 (smooth L1 of 1), rpn/loss.py:123 (1/9), rpn/inference.py:161 (2,000
proposals of a GPU's images together), config/defaults.py:137 (anchors inside the image), 396 and 401 (biases at twice
the rate, no decay); 2,000 iterations of warm-up from 0.03 of the rate; no score threshold at test.
Different here: ImageNet weights are torchvision's, not Caffe's MSRA; bf16 with `amp` instead of fp16; RoIAlign is
half-pixel aligned.
Reconstructed: ResNet-101 and nonvoc2voc, for which no configuration was released, with the same values.
"""

_base_ = "../detectron.py"

_two_by_two = dict(roi_layer=dict(sampling_ratio=2))
model = dict(
    roi_head=dict(
        type="ShapePropRoIHead",
        bbox_roi_extractor=_two_by_two,
        mask_roi_extractor=_two_by_two,
        mask_head=dict(type="ShapePropMaskHead"),
    )
)

variants = dict(
    recipe=dict(
        source=dict(
            warmup_iterations=2000,
            warmup_factor=0.03,
            model=dict(test_cfg=dict(rcnn=dict(score_thr=0.0))),
        )
    )
)
