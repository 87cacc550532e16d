"""ResNet-101, torchvision's ImageNet weights (released code)."""

_base_ = "r50.py"

weights = "torchvision://resnet101"
model = dict(backbone=dict(depth=101))
