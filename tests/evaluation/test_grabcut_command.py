"""Mask GrabCut's evaluation: made-up detections of the baseline on a small dataset, segmented, measured, recorded."""

import gzip
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from contrastmask.config import config_hash, find_run, load_tables, resolve, runfile, settings_with
from contrastmask.config.options import GrabCutOptions
from contrastmask.data.dataset import prepare, read_dataset
from contrastmask.data.splits import write_split
from contrastmask.errors import ConfigError, DataError
from contrastmask.evaluation import evaluate, grabcut
from contrastmask.evaluation.coco_metrics import coco_metrics
from contrastmask.evaluation.grabcut import Task, segment, segment_image, segment_images
from contrastmask.evaluation.measurements import read_measurements, read_val
from contrastmask.report import evidence
from contrastmask.runtime.locks import Interrupted
from contrastmask.runtime.provenance import code_digest
from contrastmask.tracking.curves import read_events
from contrastmask.training import train
from contrastmask.training.run import Run

RUN = "mask-grabcut_r50_1x_nonvoc2voc"
DETECTOR = "mask-rcnn_r50_1x_nonvoc2voc"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """results/smoke/data with 8 synthetic images to evaluate on."""
    folder = tmp_path_factory.mktemp("data")
    config = {"kind": "synthetic", "train_images": 12, "val_images": 8, "image_size": 96, "seed": 0, "categories": 8}
    prepare(config, folder / "synthetic", folder / "dataset.json")
    write_split(folder / "dataset.json", "nonvoc2voc", folder / "nonvoc2voc")
    return folder


@pytest.fixture
def results(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A result folder in which the baseline has been evaluated: it found every object, with scores of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "results"
    (folder / "smoke").mkdir(parents=True)
    (folder / "smoke" / "data").symlink_to(data)
    put_baseline(folder)
    return folder


def put_baseline(results: Path, **changes: Any) -> Path:
    settings = settings_with({"results": str(results)})
    dataset = read_dataset(settings.dataset)
    truth = COCO(dataset["val"]["annotations"])
    rng = np.random.default_rng(0)
    detections = []
    for annotation in truth.dataset["annotations"]:
        rle = truth.annToRLE(annotation)
        jitter = rng.normal(0, 1, 4)
        detections.append(
            {
                "image_id": annotation["image_id"],
                "category_id": annotation["category_id"],
                "score": float(rng.random()),
                "bbox": [float(v + d) for v, d in zip(annotation["bbox"], jitter, strict=True)],
                "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
            }
        )
    subsets = {"all": [category["id"] for category in dataset["categories"]]}
    metrics = {
        "run": DETECTOR,
        "config_hash": config_hash(resolve(find_run(load_tables(settings), DETECTOR), settings)),
        "checkpoint_sha256": "c" * 64,
        "data_digest": dataset["digest"],
        "bbox": coco_metrics(truth, detections, iou_type="bbox", subsets=subsets).by_subset,
    }
    folder = settings.run_folder(DETECTOR, 0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics | changes))
    with gzip.open(folder / "detections.json.gz", "wt") as file:
        json.dump(detections, file)
    return folder


def configured(results: Path, run: str = RUN) -> Run:
    """The run, whose folder holds nothing but config.json."""
    settings = settings_with({"results": str(results)})
    tables = load_tables(settings)
    rows = runfile.rows_of(tables.values())[run]
    folder = settings.run_folder(run, 0)
    runfile.write(folder, runfile.describe(find_run(tables, run), 0, settings, rows))
    return Run.read(folder)


def outcome(results: Path, run: str = RUN) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """metrics.json, the detections and the text of gt_box_iou.csv."""
    folder = results / "smoke" / "runs" / run / "seed0"
    ious = (folder / "gt_box_iou.csv").read_text()
    return json.loads((folder / "metrics.json").read_text()), read(folder / "detections.json.gz"), ious


def read(path: Path) -> Any:
    with gzip.open(path, "rt") as file:
        return json.load(file)


# ---------------------------------------------------------------------------- the command


@pytest.mark.usefixtures("no_mlflow")
def test_the_command_measures_records_and_says_where_it_comes_from(results: Path) -> None:
    run_of_results = configured(results)
    evaluate.start(run_of_results)
    metrics, found, ious = outcome(results)
    dataset = run_of_results.dataset
    novel, truth = set(run_of_results.split["novel"]), COCO(dataset["val"]["annotations"])

    # boxes, labels and scores are the baseline's, masks are GrabCut's
    detector = results / "smoke" / "runs" / DETECTOR / "seed0"
    source = read(detector / "detections.json.gz")
    assert [{**d, "segmentation": None} for d in found] == [{**d, "segmentation": None} for d in source]
    bare = [d for d in found if "segmentation" not in d]
    assert 0 < len(bare) < len(found) and {d["category_id"] for d in bare}.isdisjoint(novel)
    found = [d for d in found if "segmentation" in d]
    import cv2

    first = found[0]
    image = cv2.imread(str(Path(dataset["val"]["images"]) / truth.imgs[first["image_id"]]["file_name"]))
    x, y, w, h = first["bbox"]
    expected = segment(image, (x, y, x + w, y + h), GrabCutOptions())
    assert np.array_equal(coco_mask.decode(first["segmentation"]).astype(bool), expected)

    # numbers: what COCOeval says of those masks; null for what was not segmented; boxes as the baseline's
    again = coco_metrics(truth, found, iou_type="segm", subsets={"novel": sorted(novel)})
    assert metrics["segm"]["novel"] == pytest.approx(again.by_subset["novel"])
    assert 0.1 < metrics["segm"]["novel"]["AP"] < metrics["bbox"]["novel"]["AP"]
    assert metrics["gt_box_miou"]["novel"] > 0.4
    for subset in ("base", "all"):
        assert set(metrics["segm"][subset].values()) == {None} and metrics["gt_box_miou"][subset] is None
    assert metrics["bbox"]["all"] == json.loads((detector / "metrics.json").read_text())["bbox"]["all"]
    for category in metrics["per_category"]:
        base = category["split"] == "base"
        assert base == (category["id"] not in novel)
        assert base <= (category["segm_AP"] is None and category["gt_box_miou"] is None)
    expected_rows = [a["id"] for a in truth.dataset["annotations"] if a["category_id"] in novel and evaluate.usable(a)]
    assert sorted(int(line.split(",")[0]) for line in ious.splitlines()[1:]) == sorted(expected_rows)

    # what lies behind the numbers gives them again, also for boxes that have no mask (contrastmask compare)
    measured = read_measurements(results / "smoke", RUN, 0, read_val(results / "smoke"))
    weights = np.ones((1, len(truth.imgs)))
    for kind, subset in (("segm", "novel"), ("bbox", "novel"), ("bbox", "base")):
        ap = measured.average_precision(measured.categories(subset), weights, "AP", kind)[0]
        assert ap == pytest.approx(metrics[kind][subset]["AP"])

    assert metrics["detector"] == DETECTOR and metrics["checkpoint_sha256"] == "c" * 64
    line = evidence.run_line(run_of_results.folder)  # nothing is trained: the evaluation says what made it
    made = ("code_digest", "split_digest", "checkpoint_sha256", "git.commit", "hw.cpu", "version.torch")
    assert all(line[name] for name in made) and line["code_digest"] == code_digest()
    assert metrics["config_hash"] == run_of_results.config_hash

    # what is shown of the run: tests/tracking sends it
    shown = [event for event, _ in read_events(run_of_results.folder / "curves.jsonl")]
    told = {event["event"]: event for event in shown}
    stated = {"run": RUN, "detector": DETECTOR, "option.iterations": "5", "option.margin": "0.5", "seed": "0"}
    params, tags, values = ({k: v for e in shown if e["event"] == kind for k, v in e["values"].items()}
                            for kind in ("params", "tags", "metrics"))  # fmt: skip
    assert stated.items() <= params.items() and told["status"]["status"] == "FINISHED"
    assert values["segm/novel/AP"] == metrics["segm"]["novel"]["AP"] and "segm/base/AP" not in values
    assert tags["data.digest"] == metrics["data_digest"] == told["dataset"]["digest"]
    assert "table1: mask-grabcut" in tags["table_rows"]


@pytest.fixture
def no_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The curves are written, nothing is sent."""
    monkeypatch.setattr("contrastmask.tracking.sync.connect", lambda _: None)
    monkeypatch.setattr("contrastmask.tracking.sync.send", lambda *_: 0)


@pytest.mark.usefixtures("no_mlflow")
def test_threads_change_nothing_and_options_do(results: Path) -> None:
    runs = []
    for threads in (1, 3):
        evaluate.start(configured(results), threads)
        metrics, *files = outcome(results)
        runs.append((metrics | {"seconds": 0}, *files))
    assert runs[0] == runs[1]
    evaluate.start(configured(results, run=f"{RUN}_margin-1"))
    assert outcome(results, f"{RUN}_margin-1")[1] != runs[0][1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"config_hash": "f" * 16}, ["config_hash", "f" * 16, DETECTOR]),
        ({"data_digest": "0"}, ["data_digest", "metrics.json"]),
    ],
)
def test_detections_of_another_baseline_are_refused(results: Path, changes: dict[str, str], words: list[str]) -> None:
    put_baseline(results, **changes)
    with pytest.raises(ConfigError) as caught:
        evaluate.start(configured(results))
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("damage", [None, b"", b"\x1f\x8b cut short", gzip.compress(b"[{", mtime=0)])
def test_missing_and_damaged_detections_are_named(results: Path, damage: bytes | None) -> None:
    path = results / "smoke" / "runs" / DETECTOR / "seed0" / "detections.json.gz"
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(ConfigError, match="missing" if damage is None else "damaged") as caught:
        evaluate.start(configured(results))
    assert "detections.json.gz" in str(caught.value)


def test_a_run_without_weights_is_not_trained(results: Path) -> None:
    with pytest.raises(ConfigError, match=f"{DETECTOR}.*contrastmask evaluate"):
        train.start(configured(results))


# ---------------------------------------------------------------------------- images and threads


def tasks(results: Path) -> list[Task]:
    dataset = read_dataset(results / "smoke" / "data" / "dataset.json")
    images = Path(dataset["val"]["images"])
    return [(path, (96, 96), [[10.0, 10.0, 50.0, 40.0]]) for path in sorted(images.iterdir())]


@pytest.mark.parametrize("threads", [1, 2])
def test_an_unusable_image_is_named(results: Path, tmp_path: Path, threads: int) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"not an image")
    box = [[0.0, 0.0, 9.0, 9.0]]
    with pytest.raises(DataError, match=r"bad\.jpg"):
        list(segment_images([*tasks(results), (bad, (96, 96), box)], GrabCutOptions(), threads))
    with pytest.raises(DataError, match=r"is 96x96, recorded as 96x100"):
        segment_image((tasks(results)[0][0], (100, 96), box), GrabCutOptions())


def test_an_image_without_boxes_is_not_read() -> None:
    assert segment_image((Path("nowhere.jpg"), (9, 9), []), GrabCutOptions()) == []


@pytest.mark.usefixtures("no_mlflow")
def test_a_stopped_evaluation_writes_nothing_and_can_be_repeated(results: Path, monkeypatch) -> None:
    begun: list[Any] = []

    def stopped(*arguments: Any) -> Any:
        begun.append(arguments)
        if len(begun) == 1:  # a second signal would end this process at once
            os.kill(os.getpid(), signal.SIGTERM)
        return segment(*arguments)

    run, threads = configured(results), threading.active_count()
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(grabcut, "segment", stopped)
        evaluate.start(run, 2)
    assert not (run.folder / "metrics.json").exists() and threading.active_count() == threads
    evaluate.start(run)
    assert (run.folder / "metrics.json").exists()
