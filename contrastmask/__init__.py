"""ContrastMask (CVPR 2022), reproduced: partially-supervised instance segmentation, from images to Tables 1-7."""
