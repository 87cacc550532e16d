"""What the single-stage systems share: a dense detector on P3-P7 and a mask branch (models/single_stage.py).

Values are mmdet's, as for Mask R-CNN. `test_cfg` has the keys of the two-stage systems, so that a scale or a recipe
sets thresholds once for all.
"""

model = dict(
    type="SingleStageMaskDetector",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_mask=True,
        pad_size_divisor=32,
    ),
    neck=dict(
        type="FPN",
        in_channels=[256, 512, 1024, 2048],
        out_channels=256,
        start_level=1,
        add_extra_convs="on_output",
        num_outs=5,
    ),
    train_cfg=dict(dense=dict(), rcnn=dict(mask_size=28)),
    test_cfg=dict(
        rpn=dict(nms_pre=1000),
        rcnn=dict(score_thr=0.05, nms=dict(type="nms", iou_threshold=0.5), max_per_img=100, mask_thr_binary=0.5),
    ),
)

variants = dict(
    box_losses=dict(
        none=dict(),
        projection=dict(),
        pairwise=dict(model=dict(data_preprocessor=dict(type="ColourPreprocessor"))),
        both=dict(model=dict(data_preprocessor=dict(type="ColourPreprocessor"))),
    )
)
