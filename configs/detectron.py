"""The recipe of Detectron's Mask R-CNN 1x, which three systems of Table 1 were trained with.

Read in ronghanghu/seg_every_thing (commit 0bd7b8b), a copy of Detectron: configs/bbox2mask_coco/*/eval_e2e/
e2e_baseline.yaml; biases at twice the rate and without decay, lib/modeling/optimizer.py:113; warm-up,
lib/core/config.py:605; smooth L1 of 1/9 in the RPN, lib/modeling/FPN.py:478, and 1, Caffe2's default, in the box head,
lib/modeling/fast_rcnn_heads.py:76 (facebookresearch/Detectron, commit 04155a0:
detectron/modeling/fast_rcnn_heads.py:81); anchors that cross the border left out, lib/core/config.py:170; the 2,000
best proposals of a GPU's two images together, lib/ops/collect_and_distribute_fpn_rpn_proposals.py:71.
"""

_base_ = "two_stage.py"

_two_by_two = dict(roi_layer=dict(sampling_ratio=2))

variants = dict(
    recipe=dict(
        source=dict(
            image=dict(train=[[1333, 800]]),
            warmup_factor=1 / 3,
            paramwise=dict(bias_lr_mult=2.0, bias_decay_mult=0.0),
            by_schedule={"1x": dict(schedule=dict(iterations=90_000, batch=16, drops=[60 / 90, 80 / 90]))},
            model=dict(
                rpn_head=dict(loss_bbox=dict(type="SmoothL1Loss", beta=1 / 9)),
                roi_head=dict(
                    bbox_head=dict(loss_bbox=dict(type="SmoothL1Loss", beta=1.0)),
                    bbox_roi_extractor=_two_by_two,
                    mask_roi_extractor=_two_by_two,
                ),
                train_cfg=dict(
                    rpn=dict(allowed_border=0),
                    rpn_proposal=dict(max_per_img=2000),
                    rcnn=dict(shared_proposals=dict(images=2, number=2000)),
                ),
            ),
        ),
        common=dict(),
    )
)
