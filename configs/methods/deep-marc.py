"""Deep-MARC: Mask R-CNN with an hourglass for a mask head, trained in ground-truth boxes only.

Paper: https://arxiv.org/abs/2104.00613. Not in Table 1. Published AP on novel categories, HG-52: with SpineNet-143 at
1280 px 41.0 (nonvoc2voc), 38.7 (voc2nonvoc); voc2nonvoc with ResNet-50 33.1, ResNet-101 34.4. Mask R-CNN's four
convolutions in the same boxes, ResNet-50: 25.9. Code: tensorflow/models, official/projects/deepmac_maskrcnn; options:
contrastmask/config/options.py.

Certain, read in the released code and its ResNet configurations: RoIs of 32 x 32, masks of 64 x 64, the hourglass and
what follows it, their first weights, mask loss in ground-truth boxes of base classes, SGD with momentum 0.9, weight
decay 4e-5, rate 0.12 for batch 64 (by the linear rule 1.5 times ours), divided by 10 after 50,000 and 65,000 of 70,000
iterations, 500 iterations of warm-up from 0.0067.
Different here: ResNet, FPN, RPN and box head are those of Mask R-CNN in this project (there BatchNorm also in FPN and
box head, and 4 convolutions in the latter); 3x is 36 epochs, its schedule 38. BatchNorm in the mask head sees RoIs of
base classes only (there of all), its running averages have torch's momentum of 0.1 (there 0.9 in the hourglass, 0.01
after the deconvolution), and its epsilon is 1e-5 after the deconvolution too (there 1e-3).
Reconstructed: image sizes, whose 1024 px squares with jitter and crop become everyone's 640-800; nonvoc2voc and the
depths 20 and 100, for which no ResNet configuration was released, with the same values.
"""

_base_ = "mask-rcnn.py"

model = dict(
    roi_head=dict(
        type="DeepMARCRoIHead",
        mask_roi_extractor=dict(roi_layer=dict(output_size=32)),
        mask_head=dict(type="DeepMaskHead", num_convs=0, conv_out_channels=64, norm_cfg=dict(type="RoIBatchNorm")),
    ),
    train_cfg=dict(rcnn=dict(mask_size=64)),
)

variants = dict(
    depth={depth: dict(model=dict(roi_head=dict(mask_head=dict(depth=depth)))) for depth in (20, 52, 100)},
    recipe=dict(
        source=dict(
            lr_factor=1.5,
            optimizer=dict(weight_decay=4e-5),
            schedule=dict(drops=[50 / 70, 65 / 70]),
            warmup_factor=0.0067 / 0.12,
        ),
        common=dict(),
    ),
)
