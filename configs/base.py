"""What every system shares unless it says otherwise: images, optimiser, precision, detections that count.

Recipe of ContrastMask (Sec. 4.1): short side 640-800, long side up to 1333, random flip; SGD. The learning rate is
the scale's, for the scale's batch; a system may have a multiple (`lr_factor`).
"""

# (long side, short side) in pixels; for training one size, the two ends of a range, or more to choose from
image = dict(train=[[1333, 640], [1333, 800]], test=[1333, 800], flip=0.5, masks="bitmaps")
neighbours = 2  # images in a row that share their orientation, as on each of the paper's GPUs
optimizer = dict(type="SGD", momentum=0.9, weight_decay=1e-4)
lr_factor = 1  # on the scale's learning rate; a recipe of its own may have another rate
clip_grad = None
paramwise = None  # mmengine's paramwise_cfg: decay and rate of biases and norms, where a recipe has its own
warmup_iterations = 500  # linear
warmup_factor = 0.001  # share of the learning rate that the warm-up starts from
amp = False  # bf16 autocast; the contrastive loss stays in fp32

model = dict(
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_mask=True,
        pad_size_divisor=32,
    ),
    test_cfg=dict(
        rcnn=dict(score_thr=0.05, nms=dict(type="nms", iou_threshold=0.5), max_per_img=100, mask_thr_binary=0.5),
    ),
)

# What an option's value changes in the configuration, beside being handed to the RoI head.
variants = dict(
    box_losses=dict(
        none=dict(),
        projection=dict(),
        pairwise=dict(model=dict(data_preprocessor=dict(type="ColourPreprocessor"))),
        both=dict(model=dict(data_preprocessor=dict(type="ColourPreprocessor"))),
    )
)
