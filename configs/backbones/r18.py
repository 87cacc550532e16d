"""ResNet-18, torchvision's ImageNet weights. In no table of the paper."""

weights = "torchvision://resnet18"
model = dict(
    backbone=dict(
        type="ResNet",
        depth=18,
        num_stages=4,
        out_indices=[0, 1, 2, 3],
        frozen_stages=1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=True,
        style="pytorch",
        base_channels=64,
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
