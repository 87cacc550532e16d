"""ContrastMask: class activation map, contrastive learning head, query-sharing loss.

Paper: https://arxiv.org/abs/2203.09775. Printed AP on novel categories, ResNet-50, 1x: 35.1 (nonvoc2voc), 30.9
(voc2nonvoc). The authors' README gives +-0.2 AP between runs. Options: contrastmask/config/options.py.
"""

_base_ = "mask-rcnn.py"

model = dict(roi_head=dict(type="ContrastMaskRoIHead", mask_head=dict(type="PriorMaskHead")))


def _hourglass(depth):
    """Deep-MARC's head, as in deep-marc.py, on ContrastMask's inputs."""
    norm = dict(type="RoIBatchNorm")
    return dict(
        model=dict(
            roi_head=dict(
                mask_roi_extractor=dict(roi_layer=dict(output_size=32)),
                mask_head=dict(type="PriorDeepMaskHead", depth=depth, num_convs=0, conv_out_channels=64, norm_cfg=norm),
            ),
            train_cfg=dict(rcnn=dict(mask_size=64)),
        )
    )


variants = dict(
    mask_head={"conv": dict(), "hourglass-20": _hourglass(20), "hourglass-52": _hourglass(52)},
)
