"""The weights that training starts from, against what each source draws: a row each."""

from typing import Any

import pytest
from models import tiny

# The standard deviation, from inputs and outputs of a neuron, each with its window. A number: Gaussian.
LAWS = {
    "msra": lambda inputs, outputs: (2 / outputs) ** 0.5,  # Kaiming normal by fan-out, gain of ReLU
    "glorot": lambda inputs, outputs: (2 / (inputs + outputs)) ** 0.5,
    "glorot uniform": lambda inputs, outputs: (2 / (inputs + outputs)) ** 0.5,
    "kaiming uniform": lambda inputs, outputs: inputs**-0.5,  # by fan-in with a = 1
    "torch": lambda inputs, outputs: (3 * inputs) ** -0.5,  # nn.Linear's, uniform
}
ROWS = [
    ("mask-rcnn", "paper", {"recipe": "source"}, "mask_head.conv_logits", 0.001),
    ("mask-rcnn", "paper", {"recipe": "common"}, "mask_head.conv_logits", "msra"),
    ("contrastmask", "official", {}, "bbox_head.fc_cls", "glorot"),
    ("contrastmask", "official", {}, "bbox_head.fc_reg", "glorot"),
    ("contrastmask", "official", {}, "cl_head.projector.last", "torch"),
    ("opmask", "paper", {}, "bbox_head.fc_cls", 0.01),
    ("opmask", "paper", {}, "bbox_head.fc_reg", 0.001),
    ("opmask", "paper", {}, "bbox_head.shared_convs.1.conv", "msra"),
    ("opmask", "paper", {}, "mask_head.convs.6.conv", "msra"),
    ("opmask", "paper", {}, "mask_head.conv_logits", 0.001),
    ("maskx-rcnn", "paper", {}, "mask_head.transfer.0", "msra"),
    ("maskx-rcnn", "paper", {}, "mask_head.transfer.2", "msra"),
    ("maskx-rcnn", "paper", {}, "mask_head.mlp", 0.001),
    ("deep-marc", "paper", {}, "mask_head.hourglass.stem.0", "glorot uniform"),
    ("shapeprop", "both", {}, "saliency.convs.2.conv", "msra"),
    ("shapeprop", "both", {}, "saliency.predictor", "kaiming uniform"),
    ("shapeprop", "both", {}, "propagation.encoder.1.conv", "msra"),
    ("shapeprop", "both", {}, "propagation.weights.predictor", "kaiming uniform"),
    ("shapeprop", "both", {}, "mask_head.encoder.1.conv", "msra"),
    ("shapemask", "paper", {}, "mask_head.convs.0.conv", 0.01),
    ("shapemask", "paper", {}, "mask_head.coarse_convs.3.conv", 0.01),
    ("shapemask", "paper", {}, "mask_head.shape_logits", 0.01),
]


@pytest.mark.parametrize(("method", "preset", "options", "layer", "law"), ROWS)
def test_a_layer_starts_as_in_its_source(
    method: str, preset: str, options: dict[str, Any], layer: str, law: str | float
) -> None:
    found = tiny.build(method, preset, **options).roi_head.get_submodule(layer)
    weight = found.weight.detach()
    window = weight[0, 0].numel()
    deviation = LAWS[law](weight.shape[1] * window, len(weight) * window) if isinstance(law, str) else law
    assert float(weight.square().mean().sqrt()) == pytest.approx(deviation, rel=3 / weight.numel() ** 0.5)  # 4 sd
    if law in ("glorot uniform", "kaiming uniform", "torch"):
        assert float(weight.abs().max()) <= 1.001 * 3**0.5 * deviation
    assert law == "torch" or found.bias is None or not found.bias.any()
