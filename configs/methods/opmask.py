"""OPMask: the class activation map as an object mask prior for a class-agnostic mask head.

Paper: https://arxiv.org/abs/2011.11787. Printed AP on novel categories, 130k iterations: 36.5 (nonvoc2voc), 31.9
(voc2nonvoc) with ResNet-50, 37.1 and 33.2 with ResNet-101.

Certain, read in the authors' code (dbtmpl/OPMask on detectron2): box head 256-512-1024-1024-1024 with synchronised
BatchNorm, shared by class and box; map from the detached classifier weights, gradient kept in the convolutions,
min-max at 7x7, then bilinear to 14x14, added to X; 7 mask convolutions with BatchNorm; loss on all positive RoIs of
base classes; a detection's map is that of its proposal. Recipe `source`: batch 16, learning rate 0.02, 130k iterations
with one drop at 120k (configs/schedules/130k.py), short side one of 640, 672 … 800, warm-up of 1000 iterations from a
thousandth, every gradient element clipped to +-1, no decay of BatchNorm (detectron2's default), stem and first stage
frozen. All positive RoIs pass through the mask head, so that its BatchNorm sees novel ones too; the loss picks the base
ones afterwards (commit d9daab1, opmask/modeling/mask_head.py:41, opmask/utils/training_utils.py:75).

Reconstructed: detectron2's BGR Caffe weights of the backbone are not used; they are torchvision's with its own
normalisation, as for every system here. Detectron2 crops its 28 px targets from polygons. A map without range
becomes 0 here, where the code divides by 0. The arXiv paper also has 1x and 3x results, which Table 1 does not print.

BatchNorm is `RoIBatchNorm`: over all GPUs' RoIs when there are several, plain on one.
"""

_base_ = "../two_stage.py"

_norm = dict(type="RoIBatchNorm")

model = dict(
    roi_head=dict(
        type="OPMaskRoIHead",
        bbox_head=dict(type="OPMaskBoxHead", conv_channels=[512, 1024, 1024, 1024], norm_cfg=_norm),
        mask_head=dict(type="OPMaskMaskHead", num_convs=7, norm_cfg=_norm),
    )
)

variants = dict(
    box_head=dict(_delete_=True, conv=dict()),  # OPMask's own
    recipe=dict(
        source=dict(
            image=dict(train=[[1333, short] for short in range(640, 801, 32)]),
            clip_grad=dict(type="value", clip_value=1.0),
            warmup_iterations=1000,
            paramwise=dict(norm_decay_mult=0.0),
        ),
        common=dict(),
    ),
)
