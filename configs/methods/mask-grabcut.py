"""Mask GrabCut: the baseline's detections, each segmented by GrabCut from its box and the image's colours alone.

Printed AP on novel categories (nonvoc2voc, voc2nonvoc), 1x: ResNet-50 19.5, 19.5; ResNet-101 19.6, 19.7. GrabCut:
https://doi.org/10.1145/1015706.1015720. Options: contrastmask/config/options.py; the algorithm:
contrastmask/evaluation/grabcut.py.

Certain: nothing but the printed numbers. No text or code at hand says how they were made. That masks were made at
inference in detected boxes, rather than a detector trained on GrabCut's masks, fits them: AP75 falls to 14-17 from an
AP50 of 39-46, small objects nearly fail, and the backbone changes nothing.
Reconstructed: the whole procedure. Boxes, classes and scores are the final detections of the class-agnostic Mask R-CNN
with the same backbone, schedule, setting and seed; its recipe is that run's. Each box of a novel class is segmented at
the image's own resolution by OpenCV's GrabCut, initialised with the box; where that gives next to nothing, the mask is
the box. Base classes are not segmented, so that this row has no base mask AP.
"""

detector = "mask-rcnn"
