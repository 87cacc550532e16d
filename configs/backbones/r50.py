"""ResNet-50, torchvision's ImageNet weights (Sec. 4.1; released code)."""

weights = "torchvision://resnet50"
model = dict(
    backbone=dict(
        type="ResNet",
        depth=50,
        num_stages=4,
        out_indices=[0, 1, 2, 3],
        frozen_stages=1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=True,
        style="pytorch",
        base_channels=64,
    )
)
