"""The other systems of Table 1, one file each: only what that paper adds to the shared parts."""

from contrastmask.peers.maskx import MaskXRoIHead, TransferMaskHead
from contrastmask.peers.opmask import OPMaskBoxHead, OPMaskMaskHead, OPMaskRoIHead
from contrastmask.peers.shapemask import ShapeMaskHead, ShapeMaskRoIHead
from contrastmask.peers.shapeprop import ShapePropMaskHead, ShapePropRoIHead

__all__ = [
    "MaskXRoIHead",
    "OPMaskBoxHead",
    "OPMaskMaskHead",
    "OPMaskRoIHead",
    "ShapeMaskHead",
    "ShapeMaskRoIHead",
    "ShapePropMaskHead",
    "ShapePropRoIHead",
    "TransferMaskHead",
]
