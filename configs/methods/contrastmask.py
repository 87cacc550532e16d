"""ContrastMask: class activation map, contrastive learning head, query-sharing loss.

Paper: https://arxiv.org/abs/2203.09775. Printed AP on novel categories, ResNet-50, 1x: 35.1 (nonvoc2voc), 30.9
(voc2nonvoc). The authors' README gives +-0.2 AP between runs. Options: contrastmask/options.py.
"""

_base_ = "mask-rcnn.py"

model = dict(roi_head=dict(type="ContrastMaskRoIHead", mask_head=dict(type="PriorMaskHead")))
