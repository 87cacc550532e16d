"""Parameters of the systems' parts at the paper's scale, counted by hand."""

import pytest
from models import tiny


def conv(inputs: int, outputs: int, side: int = 3) -> int:
    """With a bias."""
    return side * side * inputs * outputs + outputs


FOUR = 4 * conv(256, 256)
MASK_HEAD = FOUR + conv(256, 256, 2) + conv(256, 1, 1)  # convolutions, deconvolution, predictor
SMALL = 9 * 128 * 128 + 2 * 128  # ShapeMask's: a convolution and its norm
SIZES = {
    ("mask-rcnn", "mask_head"): MASK_HEAD,
    ("opmask", "bbox_head"): 9 * (256 * 512 + 512 * 1024 + 2 * 1024**2) + 2 * (512 + 3 * 1024) + 1025 * (81 + 320),
    ("opmask", "mask_head"): 7 * (9 * 256**2 + 2 * 256) + conv(256, 256, 2) + conv(256, 1, 1),
    # the predictor is replaced by the transfer of 5 x 1024 weights, and the MLP
    ("maskx-rcnn", "mask_head.transfer"): conv(5120, 256, 1) + conv(256, 256, 1),
    ("maskx-rcnn", "mask_head.mlp"): conv(256 * 28 * 28, 28 * 28, 1),
    ("maskx-rcnn", "mask_head"): FOUR + conv(256, 256, 2) + conv(5120, 256, 1) + conv(256, 256, 1) + 157_352_720,
    ("maskx-rcnn", "bbox_head"): conv(256, 1024, 7) + conv(1024, 1024, 1) + conv(1024, 81 + 320, 1),
    ("cpmask", ""): 2 * MASK_HEAD + 3 * conv(256, 128, 1) + conv(128, 256, 1),
    ("shapeprop", "saliency"): FOUR + conv(256, 81, 1),
    ("shapeprop", "propagation.weights"): FOUR + conv(256, 24 * 9, 1),
    ("shapeprop", "propagation.encoder"): conv(1, 24) + 2 * conv(24, 24),
    ("shapeprop", "propagation.decoder"): 2 * conv(24, 24) + conv(24, 1),
    # it sees the encoded shape beside the features
    ("shapeprop", "mask_head"): MASK_HEAD + 9 * 256 * 256 + conv(1, 256) + 3 * conv(256, 256),
    # features reduced, weights of 100 priors, two embeddings; two decoders, of which one deconvolves
    ("shapemask", ""): conv(256, 128, 1) + conv(128, 100, 1) + 2 * 2 * 128
    + 2 * 4 * SMALL + 2 * conv(128, 1, 1) + conv(128, 128, 4),
}  # fmt: skip


@pytest.mark.parametrize(("method", "part"), SIZES)
def test_size(method: str, part: str) -> None:
    head = tiny.paper_model(method, device="meta").roi_head
    assert tiny.parameters(head.get_submodule(part)) == SIZES[method, part]
