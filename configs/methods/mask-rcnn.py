"""Mask R-CNN with a class-agnostic mask head: the baseline of Tables 1 and 2.

Paper: https://arxiv.org/abs/1703.06870. Printed AP on novel categories, ResNet-50, 1x: 23.9 (nonvoc2voc), 19.2
(voc2nonvoc). These are the numbers of the MaskX R-CNN paper, made with Detectron: `recipe: source` is that recipe
(configs/detectron.py, where its source is cited), with a last mask layer that starts with a standard deviation of 0.001
(seg_every_thing, lib/modeling/mask_rcnn_heads.py:229) and the loss in all positive RoIs of base classes. `recipe:
common`, the default, is everyone's, so that a table can vary one thing.

`mask_rois: gt` restricts the mask loss to ground-truth boxes. `box_head: conv` gives it ContrastMask's box head.
Different here in `source`: ImageNet weights are torchvision's, not Caffe's MSRA; RoIAlign is half-pixel aligned.
"""

_base_ = "../detectron.py"

variants = dict(recipe=dict(source=dict(model=dict(roi_head=dict(mask_head=dict(type="GaussianMaskHead"))))))
