"""CPMask: contours and pixel affinities learnt from base masks, on an FCOS detector. A reconstruction.

Paper: https://arxiv.org/abs/2007.12387. Printed AP on novel categories: ResNet-50, 1x, 28.8 (voc2nonvoc; the cell of
nonvoc2voc is empty, the run exists here); ResNet-101, 3x, 36.8 (nonvoc2voc), 34.0 (voc2nonvoc).

The authors announced their code inside fanq15/FewX and never released it.
Certain: shape commonality is learnt by predicting object boundaries, appearance commonality by predicting affinities of
pixel pairs within a box (abstract); FCOS, a class-agnostic mask head of 4 convolutions and the numbers (ContrastMask's
paper). A helper left in FewX, fewx/layers/boundary.py, gives the target of the boundary: the two-pixel contour, with
the 4-neighbour cross. It also has a weight around the contour of unknown use, which is not used here.
Reconstructed: everything else. RoIs (ground truth and the 100 best detections of IoU 0.5 or more with it), their level
(FPN's rule, P3 up to 224 pixels, P5 from 448), both modules and their place before the mask head, the balance of the
affinity loss, weights of 1, first weights (Xavier for affinities, not a non-local block's 0.01), and which losses see
base categories only (these three; FCOS's see all).
Reconstructed recipe `source`: learning rate 0.01 at batch 16; 1x with short side 800, 3x with 640-800 and drops after
28 and 34 of 36 epochs. Detector, warm-up from a third and no clipping are those of mmdet's fcos_r50-caffe_fpn_gn-head-
center-normbbox-centeronreg-giou; unlike there, biases have the rate and decay of weights, ImageNet weights are
torchvision's, and NMS is the protocol's (0.5). `common` trains at 0.02 like all others.
"""

_base_ = "../single_stage.py"

model = dict(
    neck=dict(relu_before_extra_convs=True),
    bbox_head=dict(
        type="CPMaskBoxHead",
        in_channels=256,
        feat_channels=256,
        stacked_convs=4,
        strides=[8, 16, 32, 64, 128],
        center_sampling=True,
        centerness_on_reg=True,
        norm_on_bbox=True,
        conv_bias=True,
        norm_cfg=dict(type="GN", num_groups=32),
        loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type="GIoULoss", loss_weight=1.0),
        loss_centerness=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
    ),
    roi_head=dict(
        type="CPMaskBranch",
        mask_roi_extractor=dict(
            type="SingleRoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=14, sampling_ratio=0),
            out_channels=256,
            featmap_strides=[8, 16, 32],
            finest_scale=112,  # P3 below twice that, P4 below four times: FPN's P4 starts at 224
        ),
        mask_head=dict(
            type="FCNMaskHead",
            num_convs=4,
            in_channels=256,
            conv_out_channels=256,
            class_agnostic=True,
            num_classes=1,
            loss_mask=dict(type="CrossEntropyLoss", use_mask=True, loss_weight=1.0),
        ),
    ),
    train_cfg=dict(
        # no score threshold: early detections have scores near 0.01
        detections=dict(
            nms_pre=1000, min_bbox_size=0, score_thr=0.0, nms=dict(type="nms", iou_threshold=0.5), max_per_img=100
        ),
        rcnn=dict(pos_iou_thr=0.5),
    ),
)

variants = dict(
    recipe=dict(
        source=dict(
            lr_factor=0.5,
            warmup_factor=1 / 3,
            by_schedule={
                "1x": dict(image=dict(train=[[1333, 800]])),
                "3x": dict(schedule=dict(drops=[28 / 36, 34 / 36])),
            },
        ),
        common=dict(),
    )
)
