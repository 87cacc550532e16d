"""ShapeProp: class saliency learnt from boxes, propagated over the object, as an input of the mask head.

Code: https://github.com/ucbdrive/ShapeProp. Printed AP on novel categories (nonvoc2voc, voc2nonvoc), 1x: ResNet-50
34.4, 30.4; ResNet-101 35.5, 31.9. Options: contrastmask/config/options.py.

Certain, read in the released code and its configuration (ResNet-50, voc2nonvoc): layers, initialisation, losses and
their weights, RoIs of each loss, RoIAlign with 2 x 2 samples a bin, and the recipe `source`: short side 800, batch 16,
90,000 iterations at 0.02 with drops after 60,000 and 80,000, 2,000 iterations of warm-up from 0.03 of the rate, no
score threshold at test.
Different here: its length is 12 epochs (87,950 iterations at batch 16); ImageNet weights are torchvision's, not Caffe's
MSRA; bf16 with `amp` instead of fp16; mmdet's RoIAlign is half-pixel aligned.
Reconstructed: ResNet-101 and nonvoc2voc, for which no configuration was released, with the same values.
"""

_base_ = "mask-rcnn.py"

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
            image=dict(train=[[1333, 800]]),
            schedule=dict(drops=[60 / 90, 80 / 90]),
            warmup_iterations=2000,
            warmup_factor=0.03,
            model=dict(test_cfg=dict(rcnn=dict(score_thr=0.0))),
        ),
        common=dict(),
    )
)
