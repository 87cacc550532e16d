"""Deep-MARC: Mask R-CNN with an hourglass for a mask head, trained in ground-truth boxes only.

Paper: https://arxiv.org/abs/2104.00613. Not in Table 1. Published AP on novel categories, HG-52: with SpineNet-143 at
1280 px 41.0 (nonvoc2voc), 38.7 (voc2nonvoc); voc2nonvoc with ResNet-50 33.1, ResNet-101 34.4. Mask R-CNN's four
convolutions in the same boxes, ResNet-50: 25.9. Code: tensorflow/models, official/projects/deepmac_maskrcnn; options:
contrastmask/config/options.py.

Certain, read in the released code and its ResNet configurations (tensorflow/models, commit 00d83f3, of
instance_heads.py 10e77a6, of deep_mask_head_rcnn.py 00b830c, of the yaml file 373c990; paths from
official/projects/deepmac_maskrcnn unless they begin with official): RoIs of 32 x 32 (configs/experiments/
deep_mask_head_rcnn_voc_r50_hg52.yaml:12), masks of 64 x 64, the hourglass and what follows it, their first weights,
mask loss in ground-truth boxes of base classes; all ground-truth boxes of an image, at most 100
(official/vision/dataloaders/maskrcnn_input.py:51), pass through the mask head and its BatchNorm
(modeling/maskrcnn_model.py:229); targets are masks cropped to 112 px (maskrcnn_input.py:54) and resized to 64 without a
threshold (modeling/maskrcnn_model.py:28, 204); RoIs come from P2-P6; BatchNorm keeps a tenth of its running averages a
step in the hourglass (modeling/heads/hourglass_network.py:59: momentum 0.1, epsilon 1e-5) and 0.99 after the
deconvolution (modeling/heads/instance_heads.py:35; epsilon 1e-3); no decay of the hourglass, which has no regulariser,
of BatchNorm and of biases; SGD with momentum 0.9, weight decay 4e-5, rate 0.12 for batch 64 (by the linear rule 1.5
times ours), 500 iterations of warm-up from 0.0067 (configs/deep_mask_head_rcnn.py:89, 65, 96, 102), divided by 10 after
50,000 and 65,000 of 70,000 iterations (the yaml file, :28).
Different here: ResNet, FPN, RPN and box head are those of Mask R-CNN in this project (there BatchNorm also in FPN and
box head, and 4 convolutions in the latter); 3x is 36 epochs, its schedule 38. There, images with fewer than 100 objects
are filled up with empty boxes, whose features BatchNorm sees too: the price of a fixed shape, left out. The crop to 112
px is thresholded here.
Reconstructed: image sizes, whose 1024 px squares with jitter and crop become everyone's 640-800; nonvoc2voc and the
depths 20 and 100, for which no ResNet configuration was released, with the same values.
"""

_base_ = "../two_stage.py"

model = dict(
    roi_head=dict(
        type="DeepMARCRoIHead",
        bbox_roi_extractor=dict(featmap_strides=[4, 8, 16, 32, 64]),
        mask_roi_extractor=dict(roi_layer=dict(output_size=32), featmap_strides=[4, 8, 16, 32, 64]),
        mask_head=dict(
            type="DeepMaskHead",
            num_convs=0,
            conv_out_channels=64,
            norm_cfg=dict(type="RoIBatchNorm", momentum=0.9),
            upsample_norm_cfg=dict(type="RoIBatchNorm", momentum=0.01, eps=1e-3),
        ),
    ),
    train_cfg=dict(rcnn=dict(mask_size=64)),
)

variants = dict(
    depth={depth: dict(model=dict(roi_head=dict(mask_head=dict(depth=depth)))) for depth in (20, 52, 100)},
    recipe=dict(
        source=dict(
            lr_factor=1.5,
            optimizer=dict(weight_decay=4e-5),
            paramwise=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, custom_keys={"hourglass": dict(decay_mult=0.0)}),
            schedule=dict(drops=[50 / 70, 65 / 70]),
            warmup_factor=0.0067 / 0.12,
        ),
        common=dict(),
    ),
)
