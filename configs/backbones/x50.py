"""ResNeXt-50-32x4d. The paper names no weights; these are open-mmlab's, mmdet's practice."""

_base_ = "r50.py"

weights = "open-mmlab://resnext50_32x4d"
model = dict(backbone=dict(type="ResNeXt", depth=50, groups=32, base_width=4))
