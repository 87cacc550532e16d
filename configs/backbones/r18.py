"""ResNet-18, torchvision's ImageNet weights. In no table of the paper."""

_base_ = "r50.py"

weights = "torchvision://resnet18"
model = dict(backbone=dict(depth=18), neck=dict(in_channels=[64, 128, 256, 512]))
