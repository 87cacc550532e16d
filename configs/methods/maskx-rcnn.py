"""MaskX R-CNN: mask weights transferred from box-head weights, plus a class-agnostic MLP mask.

Paper: https://arxiv.org/abs/1711.10370. Printed AP on novel categories, 1x: ResNet-50 28.9 (nonvoc2voc), 23.7
(voc2nonvoc); ResNet-101 29.5, 23.8. Code: ronghanghu/seg_every_thing; options: contrastmask/config/options.py.

Certain, read in the released code and its end-to-end configurations (configs/bbox2mask_coco/*/eval_e2e*): descriptor,
transfer, MLP, stop-gradient, the loss, RoIAlign with 2 x 2 samples a bin, and the recipe `source`, which is Detectron's
(configs/detectron.py cites it line by line). ResNet-101 has batch 8, half the rate and twice the iterations there.
Different here: ResNet-101 has batch 16 too, over as many images; ImageNet weights are torchvision's, since Caffe's MSRA
ones are not at hand; RoIAlign is half-pixel aligned. Masks are those of the assigned objects: the code takes the
polygon that overlaps most, novel ones included.
Reconstructed: Caffe2's MSRAFill, whose source was not at hand, as a Gaussian of variance 2 / fan-out.
"""

_base_ = "../detectron.py"

_two_by_two = dict(roi_layer=dict(sampling_ratio=2))
model = dict(
    roi_head=dict(
        type="MaskXRoIHead",
        bbox_roi_extractor=_two_by_two,
        mask_roi_extractor=_two_by_two,
        mask_head=dict(type="TransferMaskHead"),
    )
)
