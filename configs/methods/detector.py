"""A detector without masks: RPN and the convolutional box branch of ContrastMask, trained on boxes and categories.

In no table. At a scale with `detector`, one is trained for each backbone and seed, and every run starts from its
weights (training/hooks.py, StartFrom): in few steps boxes are learnt more slowly than masks, and rows would be told
apart by their box heads. No mask is involved: there is no mask branch, so the split makes no difference.
"""

_base_ = "mask-rcnn.py"
options_of = "mask-rcnn"

model = dict(roi_head=dict(mask_roi_extractor=None, mask_head=None))
