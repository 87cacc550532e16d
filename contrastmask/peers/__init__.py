"""The other systems, one file each: only what that paper adds to the shared parts."""

from contrastmask.peers.deepmarc import DeepMARCRoIHead, DeepMaskHead, PriorDeepMaskHead
from contrastmask.peers.maskx import MaskXRoIHead, TransferMaskHead
from contrastmask.peers.opmask import OPMaskBoxHead, OPMaskMaskHead, OPMaskRoIHead
from contrastmask.peers.shapeprop import ShapePropMaskHead, ShapePropRoIHead

__all__ = [
    "DeepMARCRoIHead",
    "DeepMaskHead",
    "MaskXRoIHead",
    "OPMaskBoxHead",
    "OPMaskMaskHead",
    "OPMaskRoIHead",
    "PriorDeepMaskHead",
    "ShapePropMaskHead",
    "ShapePropRoIHead",
    "TransferMaskHead",
]
