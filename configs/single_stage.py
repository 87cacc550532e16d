"""What the single-stage systems share: a dense detector on P3-P7 and a mask branch (models/common/single_stage.py).

Values are mmdet's, as for Mask R-CNN. `test_cfg` has the keys of the two-stage systems (base.py), so that a scale or a
recipe sets thresholds once for all.
"""

model = dict(
    type="SingleStageMaskDetector",
    neck=dict(
        type="FPN",
        in_channels=[256, 512, 1024, 2048],
        out_channels=256,
        start_level=1,
        add_extra_convs="on_output",
        num_outs=5,
    ),
    train_cfg=dict(dense=dict(), rcnn=dict(mask_size=28)),
    test_cfg=dict(rpn=dict(nms_pre=1000)),
)
