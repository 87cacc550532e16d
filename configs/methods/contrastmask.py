"""ContrastMask: class activation map, contrastive learning head, query-sharing loss.

Paper: https://arxiv.org/abs/2203.09775. Printed AP on novel categories, ResNet-50, 1x: 35.1 (nonvoc2voc), 30.9
(voc2nonvoc). The authors' README gives +-0.2 AP between runs. Options: contrastmask/config/options.py.

Read in huiserwang/ContrastMask (commit 45f0a4d): 3x reads masks as polygons (iconfig/contrastmask_res50_fpn_coco_3x_
nonvoc2voc.py:12), 1x as bitmaps (the 1x file has no poly2mask); the classifier and the box regressor start as Xavier
normal, because mmdet 2.14's list of initialisations overwrote its own Gaussian (mmdetection-2.14.0/mmdet/models/
roi_heads/bbox_heads/convfc_bbox_head.py:98); the projector's last layer as torch does; images come in pairs of one
orientation, two on each GPU (samples_per_gpu=2). docs/fidelity.md has the rest.
"""

_base_ = "../two_stage.py"

model = dict(roi_head=dict(type="ContrastMaskRoIHead", mask_head=dict(type="PriorMaskHead")))


def _hourglass(depth):
    """Deep-MARC's head, as in deep-marc.py, on ContrastMask's inputs."""
    head = dict(
        type="PriorDeepMaskHead",
        depth=depth,
        num_convs=0,
        conv_out_channels=64,
        norm_cfg=dict(type="RoIBatchNorm", momentum=0.9),
        upsample_norm_cfg=dict(type="RoIBatchNorm", momentum=0.01, eps=1e-3),
    )
    extractor = dict(roi_layer=dict(output_size=32), featmap_strides=[4, 8, 16, 32, 64])
    return dict(
        model=dict(
            roi_head=dict(mask_roi_extractor=extractor, mask_head=head),
            train_cfg=dict(rcnn=dict(mask_size=64)),
        )
    )


by_schedule = {"3x": dict(image=dict(masks="polygons"))}

variants = dict(
    mask_head={"conv": dict(), "hourglass-20": _hourglass(20), "hourglass-52": _hourglass(52)},
)
