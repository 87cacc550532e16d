"""What is imported, what is not, and that all of mmdet is there nevertheless. In processes of their own."""

import json
import pkgutil
from pathlib import Path

import pytest
from fresh_python import ROOT, run

import contrastmask

NOT_FOR_A_TRAINING = (
    "matplotlib", "scipy", "sklearn", "imgaug", "numba", "timm", "torch._dynamo", "pandas", "mlflow", "snakemake",
)  # fmt: skip
TRAINING = (
    "import contrastmask.training.train, contrastmask.training.build, contrastmask.training.hooks, mmengine.runner"
)
REGISTERED = """
import json, mmdet.registry as registries
nodes = {name: node for name, node in vars(registries).items() if name.isupper() and hasattr(node, "module_dict")}
print(json.dumps({name: sorted(node.module_dict) for name, node in nodes.items() if not name.startswith("MMENGINE")}))
"""


def loaded(code: str, names: tuple[str, ...]) -> list[str]:
    return json.loads(run(f"{code}\nimport json, sys\nprint(json.dumps([n for n in {names} if n in sys.modules]))"))


def test_a_training_imports_what_it_needs_and_says_nothing() -> None:
    assert loaded(TRAINING, NOT_FOR_A_TRAINING) == []


def test_reports_settings_and_data_need_no_torch(tmp_path: Path) -> None:
    """A page is made, too."""
    rooms = ("config", "runtime", "tracking", "report", "cli")
    modules = [m.name for m in pkgutil.walk_packages(contrastmask.__path__, "contrastmask.")]
    light = [name for name in modules if name.split(".")[1] in rooms]
    assert len(light) > 40
    light += [f"contrastmask.data.{name}" for name in ("dataset", "splits", "download", "synthetic")]
    script = f"""
import {", ".join(light)}, contrastmask.evaluation.coco_metrics
settings = contrastmask.config.settings_with({dict(results=str(tmp_path), tables=["table2"])!r})
contrastmask.report.page.write_report(settings, contrastmask.config.load_tables(settings))"""
    assert loaded(script, ("torch", "torchvision", "mmdet", "mmcv", "mmengine", "mlflow")) == []
    assert list(tmp_path.rglob("index.html"))


def test_libraries_that_were_put_off_are_real_for_who_asks() -> None:
    said = run(f"""
{TRAINING}
import torch
from mmdet.registry import TASK_UTILS
from mmdet.models.dense_heads import paa_head
from mmengine.structures import InstanceData
assigner = TASK_UTILS.build(dict(type="mmdet.HungarianAssigner", match_costs=[dict(type="mmdet.BBoxL1Cost")]))
boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
predicted, true = InstanceData(bboxes=boxes), InstanceData(bboxes=boxes.flip(0), labels=torch.tensor([3, 4]))
print(assigner.assign(predicted, true, img_meta=dict(img_shape=(40, 40))).labels.tolist())  # SciPy's assignment
print(len(paa_head.skm.GaussianMixture(2).fit([[0.0], [1.0], [9.0]]).means_))  # scikit-learn's
import imgaug.augmenters, matplotlib.pyplot, scipy.optimize, sklearn.cluster, torch._dynamo
modules = (imgaug, matplotlib, scipy, sklearn, torch._dynamo)
print(all(module.__file__ for module in modules))
""")
    assert said.split("\n")[:3] == ["[4, 3]", "2", "True"]


def test_an_mmdet_configuration_of_somebody_else_takes_our_networks(tmp_path: Path) -> None:
    """By `custom_imports`, under a scope of ours or by the bare name."""
    (tmp_path / "plain.py").write_text("""
_base_ = "mmdet::_base_/models/mask-rcnn_r50_fpn.py"
custom_imports = dict(imports=["contrastmask.models"], allow_failed_imports=False)
default_scope = "mmdet"
model = dict(
    backbone=dict(depth=18, init_cfg=None),
    neck=dict(in_channels=[64, 128, 256, 512]),
    rpn_head=dict(type="BatchRPNHead"),
    roi_head=dict(bbox_roi_extractor=dict(type="contrastmask.SortingRoIExtractor")),
)
""")
    said = run(f"""
from mmengine.config import Config
config = Config.fromfile({str(tmp_path / "plain.py")!r})
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
init_default_scope("mmdet")
model = MODELS.build(config.model)
print(type(model.rpn_head).__module__, type(model.roi_head.bbox_roi_extractor).__module__)
""")
    assert said.split() == ["contrastmask.models.common.in_place"] * 2


@pytest.mark.slow
def test_mmdet_registers_all_that_it_does_by_itself() -> None:
    alone = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("ops", {str(ROOT / "contrastmask/models/common/ops.py")!r})
ops = importlib.util.module_from_spec(spec); spec.loader.exec_module(ops); ops.install()
import mmdet.datasets, mmdet.models
{REGISTERED}"""
    plain, ours = (json.loads(run(code).splitlines()[-1]) for code in (alone, TRAINING + REGISTERED))
    assert plain["MODELS"] and plain["DATASETS"] and plain["TRANSFORMS"] and plain["TASK_UTILS"]
    for registry, names in plain.items():
        assert set(names) <= set(ours[registry]), registry


@pytest.mark.slow
def test_mmdets_own_interface_works_beside_ours() -> None:
    said = run("""
import contrastmask.models
import mmdet, numpy as np, pathlib, tempfile
from mmdet.apis import inference_detector, init_detector
from mmengine.config import Config
from mmengine.runner import Runner

config = Config.fromfile(pathlib.Path(mmdet.__file__).parent / ".mim/configs/mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py")
config.model.backbone.update(depth=18, init_cfg=None)
config.model.neck.in_channels = [64, 128, 256, 512]
config.test_dataloader.dataset.pipeline[1].scale = (160, 160)
model = init_detector(config, None, device="cpu")
found = inference_detector(model, np.zeros((120, 160, 3), np.uint8))
print(type(found).__name__, tuple(found.pred_instances.masks.shape[1:]))
config.work_dir = tempfile.mkdtemp()
runner = Runner.from_cfg(config)
print(type(runner.model).__name__)
""")
    assert "DetDataSample (120, 160)" in said and said.rstrip().endswith("MaskRCNN")
