"""MaskX R-CNN: mask weights transferred from box-head weights, plus a class-agnostic MLP mask.

Paper: https://arxiv.org/abs/1711.10370. Printed AP on novel categories, 1x: ResNet-50 28.9 (nonvoc2voc), 23.7
(voc2nonvoc); ResNet-101 29.5, 23.8. Code: ronghanghu/seg_every_thing; options: contrastmask/config/options.py.

Certain, read in the released code and its end-to-end configurations (configs/bbox2mask_coco/*/eval_e2e*): descriptor,
transfer, MLP, stop-gradient, the loss, RoIAlign with 2 x 2 samples a bin, and the recipe `source`: short side 800,
weight decay 1e-4, 500 iterations of warm-up from a third of the rate; ResNet-50 with batch 16 for 90,000 iterations at
0.02, drops after 60,000 and 80,000; ResNet-101 with batch 8, half the rate and twice the iterations.
Different here: the length is 12 epochs (87,950 iterations at batch 16), ResNet-101 has batch 16 too; ImageNet weights
are torchvision's, since Caffe's MSRA ones are not at hand; mmdet's box losses are L1, and its RoIAlign is half-pixel
aligned. Masks are those of the assigned objects: the code takes the polygon that overlaps most, novel ones included.
Reconstructed: Caffe2's MSRAFill, whose source was not at hand, as a Gaussian of variance 2 / fan-out.
"""

_base_ = "mask-rcnn.py"

_two_by_two = dict(roi_layer=dict(sampling_ratio=2))
model = dict(
    roi_head=dict(
        type="MaskXRoIHead",
        bbox_roi_extractor=_two_by_two,
        mask_roi_extractor=_two_by_two,
        mask_head=dict(type="TransferMaskHead"),
    )
)

variants = dict(
    recipe=dict(
        source=dict(image=dict(train=[[1333, 800]]), schedule=dict(drops=[60 / 90, 80 / 90]), warmup_factor=1 / 3),
        common=dict(),
    )
)
