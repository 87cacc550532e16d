"""ResNeXt-101-64x4d. The paper names no weights; these are open-mmlab's, mmdet's practice."""

_base_ = "r50.py"

weights = "open-mmlab://resnext101_64x4d"
model = dict(backbone=dict(type="ResNeXt", depth=101, groups=64, base_width=4))
