"""ShapeMask: RetinaNet; a mixture of shape priors in the box is refined to a coarse, then to a fine mask.

Paper: https://arxiv.org/abs/1904.03239. Printed AP on novel categories (nonvoc2voc, voc2nonvoc), ResNet-101: 33.3, 30.2
with FPN and 1x; 35.7, 33.2 with NAS-FPN and 3x. Options: contrastmask/config/options.py.

Certain, read in the authors' code (tensorflow/tpu, models/official/detection, commit 7dc921f): the mask branch
(modeling/architecture/heads.py:559, 701, 819), its losses (modeling/losses.py:509, 537) and which masks they see
(dataloader/shapemask_parser.py:388); anchors, matching at 0.5 (configs/shapemask_config.py:51), BatchNorm, each level
its own in the dense head (heads.py:496), focal loss 0.4 / 1.5, Huber loss with delta 0.15 and weight 50
(shapemask_config.py:85); NAS-FPN of 5 stacks (configs/detection_config.py:61); recipe `source`: warm-up over 500
iterations from 0.0067 / 0.08 of the rate, weight decay 1e-4 (configs/base_config.py:47, 63), drops after 30/45 and
40/45, scale jitter 0.8 to 1.2 (shapemask_config.py:37, 54).
Normalisers: the code divides the class loss by the positive anchors + 1 and the box loss by four times that
(losses.py:390, 474); mmdet divides both by the positive anchors, so its box weight is a quarter. mmdet's smooth L1 is
Huber's loss over delta: 50 / 4 x 0.15 = 1.875. The masks' losses are sums over pixels divided by the foreground pixels.
Different here: images of 800 pixels, jittered and not cropped, instead of a 640 x 640 crop; batch 16 and rate 0.02
instead of 64 and 0.08; 12 and 36 epochs, as Table 1 labels the rows, instead of 24; 8 objects of an image at most,
where the code fills up with empty boxes (shapemask_parser.py:324, utils/input_utils.py:33), whose features BatchNorm
sees too; the backbone's BatchNorm is frozen; BatchNorm's running means follow with 0.1 instead of 0.003
(modeling/architecture/nn_ops.py:109), whose 45,000 steps no smaller scale has; the last layers of the dense head start
with 0.01, not 1e-5 (heads.py:507, 548); mmdet's FPN normalises P5 before it makes P6 of it, and its NAS-FPN pools P6
and P7 with a convolution more and weights by the mean where the code has the maximum
(modeling/architecture/nasfpn.py:146, 159).
Reconstructed: the priors, which were not released: k-means over base masks of more than 32 x 32 pixels, K = 100 for all
classes together (contrastmask/data/shape_priors.py).

BatchNorm is `RoIBatchNorm`: over all GPUs when there are several.
"""

_base_ = "../single_stage.py"

_norm = dict(type="RoIBatchNorm", eps=1e-4)
_strides = [8, 16, 32, 64, 128]
_neck = dict(in_channels=[256, 512, 1024, 2048], out_channels=256, start_level=1, num_outs=5, norm_cfg=_norm)

model = dict(
    neck=None,  # by option
    bbox_head=dict(
        type="RetinaSepBNHead",
        num_ins=5,
        in_channels=256,
        feat_channels=256,
        stacked_convs=4,
        norm_cfg=_norm,
        anchor_generator=dict(
            type="AnchorGenerator", octave_base_scale=4, scales_per_octave=3, ratios=[0.5, 1.0, 2.0], strides=_strides
        ),
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0, 0.0, 0.0, 0.0], target_stds=[1.0, 1.0, 1.0, 1.0]),
        loss_cls=dict(type="FocalLoss", use_sigmoid=True, alpha=0.4, gamma=1.5, loss_weight=1.0),
        loss_bbox=dict(type="SmoothL1Loss", beta=0.15, loss_weight=50 / 4 * 0.15),
    ),
    roi_head=dict(
        type="ShapeMaskRoIHead",
        mask_roi_extractor=dict(
            type="SingleRoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=32, sampling_ratio=1),
            out_channels=256,
            featmap_strides=_strides,
            finest_scale=112,  # P4 from 224 pixels on
        ),
        mask_head=dict(
            type="ShapeMaskHead",
            num_convs=8,
            in_channels=256,
            conv_out_channels=128,
            norm_cfg=_norm,
            upsample_cfg=dict(type="deconv", scale_factor=4),
            class_agnostic=True,
            num_classes=1,
        ),
    ),
    train_cfg=dict(
        dense=dict(
            assigner=dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0, ignore_iof_thr=-1),
            sampler=dict(type="PseudoSampler"),
            allowed_border=-1,
            pos_weight=-1,
            debug=False,
        )
    ),
)

variants = dict(
    neck={
        "fpn": dict(
            model=dict(
                neck=_neck
                | dict(
                    type="FPN",
                    add_extra_convs="on_output",
                    no_norm_on_lateral=True,
                    relu_before_extra_convs=True,
                )
            )
        ),
        "nas-fpn": dict(
            model=dict(data_preprocessor=dict(pad_size_divisor=128), neck=_neck | dict(type="NASFPN", stack_times=5))
        ),
    },
    recipe=dict(
        source=dict(
            image=dict(train=[[1066, 640], [1600, 960]]),  # 1333 x 800 times 0.8 to 1.2
            schedule=dict(drops=[30 / 45, 40 / 45]),
            warmup_factor=0.0067 / 0.08,
        ),
        common=dict(),
    ),
)
