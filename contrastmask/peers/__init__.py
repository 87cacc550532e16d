"""The other systems of Table 1, one file each: only what that paper adds to the shared parts."""

from contrastmask.peers.cpmask import CPMaskBoxHead, CPMaskBranch
from contrastmask.peers.maskx import MaskXRoIHead, TransferMaskHead
from contrastmask.peers.opmask import OPMaskBoxHead, OPMaskMaskHead, OPMaskRoIHead
from contrastmask.peers.shapeprop import ShapePropMaskHead, ShapePropRoIHead

__all__ = [
    "CPMaskBoxHead",
    "CPMaskBranch",
    "MaskXRoIHead",
    "OPMaskBoxHead",
    "OPMaskMaskHead",
    "OPMaskRoIHead",
    "ShapePropMaskHead",
    "ShapePropRoIHead",
    "TransferMaskHead",
]
