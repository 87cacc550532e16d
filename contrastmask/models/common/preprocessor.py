"""mmdet's data preprocessor, with the objects' masks on the device."""

import torch
import torch.nn.functional as F
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks


@MODELS.register_module()
class MaskPreprocessor(DetDataPreprocessor):
    """Bitmaps become (N, H, W) bytes on the device, once a step, and are padded there.

    mmdet pads them on the CPU, copying each twice, and leaves them there.
    """

    def pad_gt_masks(self, batch_data_samples: list[DetDataSample]) -> None:
        """Pad the masks to the batch's shape; polygons stay mmdet's."""
        for sample in batch_data_samples:
            truth, shape = sample.gt_instances, sample.batch_input_shape
            masks = truth.get("masks")
            if isinstance(masks, BitmapMasks):
                maps = torch.from_numpy(masks.masks).to(self.device)
                truth.masks = F.pad(maps, (0, shape[1] - masks.width, 0, shape[0] - masks.height))
            elif masks is not None:
                truth.masks = masks.pad(shape, pad_val=self.mask_pad_value)
