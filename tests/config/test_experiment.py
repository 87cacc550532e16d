"""Rows to runs to configurations."""

import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import yaml

from contrastmask import config as experiment
from contrastmask.config import CONFIGS, RunSpec, load_table, load_tables, resolve, run_spec, settings_with
from contrastmask.config.fragments import fragment
from contrastmask.config.options import METHODS, OFFICIAL, preset_options
from contrastmask.config.resolve import narrow
from contrastmask.config.rows import RULES
from contrastmask.errors import ConfigError
from contrastmask.paths import ROOT
from contrastmask.report.figure_rows import TEXTS
from tests.golden.golden import shipped

ROW = {"method": "contrastmask", "backbone": "r50", "schedule": "1x", "setting": "nonvoc2voc"}


def write_table(configs: Path, **content: object) -> None:
    table = {"title": "t", "caption": "c", "rows": [{"label": "a"}], "base": ROW} | content
    (configs / "tables" / "table8.yaml").write_text(yaml.safe_dump(table))


def test_rows_that_need_the_same_training_share_one_run() -> None:
    settings = settings_with({})
    assert settings.tables == tuple(f"table{n}" for n in range(1, 8))
    tables = {name: table for name, table in load_tables(settings).items() if name in settings.tables}
    main = run_spec(ROW, "paper")
    sharing = {(t.name, row.label) for t in tables.values() for row in t.rows if row.run == main}
    assert sharing == {
        ("table1", "Ours"), ("table2", "Baseline + CM + CL"), ("table3", "CL head C8F3"), ("table4", "sigma=0.3"),
        ("table5", "tau=0.7"), ("table6", "CL supervision=all"), ("table7", "query-sharing=yes"),
    }  # fmt: skip
    runs = experiment.all_runs(tables).values()
    assert (sum(not run.detector for run in runs), sum(bool(run.detector) for run in runs)) == (50, 4)


def test_two_spellings_of_one_training_give_one_id() -> None:
    explicit = run_spec(ROW | {"options": {"sigma": 0.3, "cl": True}}, "paper")
    assert explicit == run_spec(ROW, "paper")
    assert explicit.id == "contrastmask-paper_r50_1x_nonvoc2voc"
    whole, fraction = (run_spec(ROW | {"options": {"sigma": value}}, "paper") for value in (1, 1.0))
    assert whole.id == fraction.id
    assert len({experiment.config_hash(resolve(spec, settings_with({}))) for spec in (whole, fraction)}) == 1


def test_different_options_give_different_ids_and_hashes() -> None:
    settings = settings_with({})
    specs = [run_spec(ROW | {"options": {"sigma": s}}, "paper") for s in (0.1, 0.2, 0.3)]
    specs += [run_spec(ROW, "official"), run_spec(ROW | {"config": {"clip_grad": {"max_norm": 1}}}, "paper")]
    assert len({spec.id for spec in specs}) == len(specs)
    assert len({experiment.config_hash(resolve(spec, settings)) for spec in specs}) == len(specs)


def test_values_that_print_alike_in_six_digits_give_different_ids() -> None:
    ids = [run_spec(ROW | {"options": {"sigma": s}}, "paper").id for s in (0.1, 0.1000001, 0.1000002)]
    assert ids == [f"contrastmask-paper_r50_1x_nonvoc2voc_sigma-{s}" for s in ("0.1", "0.1000001", "0.1000002")]


def test_a_method_without_preset_differences_has_one_run_for_both() -> None:
    row = ROW | {"method": "mask-rcnn"}
    assert run_spec(row, "paper") == run_spec(row, "official")


def test_resolved_configuration_holds_every_option_of_the_preset() -> None:
    for preset in ("paper", "official"):
        spec = run_spec(ROW | {"options": {"sigma": 0.6}}, preset)
        resolved = resolve(spec, settings_with({}))["model"]["roi_head"]["options"]
        assert resolved == preset_options("contrastmask", preset) | {"sigma": 0.6}
        METHODS["contrastmask"](**resolved)


def test_width_narrows_channels_and_nothing_else() -> None:
    scale_free = settings_with(dict(scale="paper", data_root="/data"))
    full = resolve(run_spec(ROW, "paper"), scale_free)["model"]
    model = {"in_channels": [256, 512], "groups": 32, "num_convs": 4, "deep": [{"feat_channels": 3}]}
    narrow(model, 0.25)
    assert model == {"in_channels": [64, 128], "groups": 8, "num_convs": 4, "deep": [{"feat_channels": 1}]}
    assert full["neck"]["out_channels"] == 256
    assert full["backbone"] == full["backbone"] | {"depth": 50, "frozen_stages": 1, "norm_eval": True}


def test_the_recipe_is_the_same_for_any_number_of_gpus() -> None:
    digests = set()
    for gpus, images, passes in ((8, 2, 1), (1, 2, 8), (4, 2, 2), (2, 8, 1), (1, 16, 1), (8, None, 1), (1, None, 8)):
        settings = settings_with(dict(scale="paper", data_root="/d", gpus_per_run=gpus, images_per_gpu=images))
        resolved = resolve(run_spec(ROW, "paper"), settings)
        assert settings.passes == passes
        assert (resolved["batch"], resolved["optimizer"]["lr"]) == (16, 0.02)
        digests.add(experiment.config_hash(resolved))
    assert len(digests) == 1


@pytest.mark.parametrize(("gpus", "images"), [(3, None), (1, 3), (8, 4), (1, 32), (16, 2)])
def test_gpus_that_cannot_make_the_batch_are_refused(gpus: int, images: int | None) -> None:
    with pytest.raises(ConfigError, match=f"gpus_per_run={gpus} with images_per_gpu=.* must divide 16"):
        settings_with(dict(scale="paper", data_root="/d", gpus_per_run=gpus, images_per_gpu=images))


def test_a_pass_that_would_cut_query_groups_is_refused() -> None:
    settings = settings_with(dict(scale="paper", data_root="/d", gpus_per_run=16))
    assert settings.images_per_gpu == 1
    with pytest.raises(ConfigError, match="images_per_gpu=1 would cut the query groups of 2 images of contrastmask"):
        resolve(run_spec(ROW, "paper"), settings)
    resolve(run_spec(ROW | {"method": "mask-rcnn", "options": {}}, "paper"), settings)


def test_auto_takes_as_many_gpus_as_the_batch_asks_for_or_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, images, taken in ((16, None, 8), (4, None, 4), (3, None, 2), (0, None, 1), (4, 16, 1), (8, 4, 4)):
        monkeypatch.setattr("contrastmask.config.settings.visible_gpus", lambda n=there: [str(i) for i in range(n)])
        settings = settings_with(dict(scale="paper", data_root="/d", images_per_gpu=images))
        assert settings.gpus_per_run == taken
    assert settings_with({}).gpus_per_run == 1  # smoke's batch fits one


def test_seeds_may_come_as_the_command_line_gives_them() -> None:
    for given in ([0, 1], ["0", "1"]):
        assert settings_with(dict(seeds=given)).seeds == (0, 1)
    assert settings_with(dict(seeds=3)).seeds == (3,)


def test_comments_do_not_change_the_hash_and_values_do(configs: Path) -> None:
    settings = settings_with({})

    def digest() -> str:
        fragment.cache_clear()
        return experiment.config_hash(resolve(run_spec(ROW, "paper"), settings))

    path, before = configs / "schedules" / "1x.py", digest()
    path.write_text("# a comment\n" + path.read_text())
    assert digest() == before
    path.write_text(path.read_text().replace("length=1", "length=2"))
    assert digest() != before


def test_mask_head_depth_is_what_the_row_prints() -> None:
    settings = settings_with({})
    for name in shipped(CONFIGS / "tables"):
        for row in load_table(name, "paper").rows:
            if row.run and not row.run.detector:
                head = resolve(row.run, settings)["model"]["roi_head"]["mask_head"]
                assert head.get("depth", head["num_convs"]) == row.mask_layers


def test_a_new_table_is_one_file(configs: Path) -> None:
    write_table(configs, rows=[{"label": "delta=0.2", "options": {"delta": 0.2}}, {"label": "0.1"}])
    table = load_tables(settings_with({}))["table8"]
    assert [row.run.options for row in table.rows if row.run] == [(("delta", 0.2),), ()]


def test_no_table_has_the_name_of_a_rule(configs: Path) -> None:
    texts = [file.read_text() for file in (ROOT / "workflow" / "rules").glob("*.smk")]
    assert {"all", *TEXTS, *(rule for text in texts for rule in re.findall(r"^rule (\w+):", text, re.M))} == RULES
    write_table(configs)
    (configs / "tables" / "table8.yaml").rename(configs / "tables" / "dataset.yaml")
    with pytest.raises(ConfigError, match=r"dataset.yaml: a rule of the workflow is named 'dataset'"):
        load_tables(settings_with({}))


def test_other_tables_wait_to_be_asked_for(configs: Path) -> None:
    write_table(configs)
    assert "table8" not in settings_with({}).tables
    assert "table8" in settings_with(dict(tables="all")).tables
    asked = settings_with(dict(tables=["controls"]))
    assert asked.tables == ("controls",)
    assert {"table1", "table8", "deviations"} < set(load_tables(asked))  # but each can be made by its name


def test_every_difference_of_the_presets_is_a_row_of_the_table_of_deviations() -> None:
    rows = load_table("deviations", "official").rows
    alone = [dict(row.run.options) for row in rows if row.run and row.run.preset == "paper" and row.run.options]
    assert sorted(alone, key=str) == sorted(({k: v} for k, v in OFFICIAL["contrastmask"].items()), key=str)
    assert [row.run.preset for row in rows[:2] if row.run] == ["paper", "official"]


def test_each_control_changes_one_thing() -> None:
    """A0 to A5 in one setting: the options that differ from one row to the next."""
    rows = [row for row in load_table("controls", "paper").rows if row.setting == "nonvoc2voc"]
    runs = {row.label: row.run for row in rows}
    assert [dict(runs[label].options) for label in ("A0", "A1", "A2")] == [
        {}, {"mask_rois": "gt"}, {"mask_rois": "gt", "box_head": "conv"},
    ]  # fmt: skip
    assert [dict(runs[label].options) for label in ("A3", "A4", "A5")] == [{"cl": False}, {"cl_loss": False}, {}]
    loss = {"tau", "tau_in_denominator", "similarity", "pool_keys", "lambda_warmup", "loss_scale"}
    assert set(dict(runs["A6"].options)) == loss
    assert all(value == preset_options("contrastmask", "paper")[key] for key, value in runs["A6"].options)


def test_only_marked_runs_use_novel_masks() -> None:
    for name in shipped(CONFIGS / "tables"):
        for row in load_table(name, "paper").rows:
            if row.run:
                assert row.run.uses_novel_masks == ("all masks" in row.label or "true masks" in row.label)


def test_options_of_base_and_row_are_merged(configs: Path) -> None:
    write_table(configs, base=ROW | {"options": {"cl_convs": 4}}, rows=[{"label": "x", "options": {"sigma": 0.1}}])
    assert load_table("table8", "paper").rows[0].run == RunSpec(
        **ROW, preset="paper", options=(("cl_convs", 4), ("sigma", 0.1))
    )


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"options": {"sgma": 0.1}}, ["table8.yaml", "row 1", "sgma", "sigma"]),
        ({"options": {"sigma": 2}}, ["row 1", "sigma", "(0, 1]"]),
        ({"options": {"fusion": "sum"}}, ["fusion", "concat"]),
        ({"options": {"cl": False, "cl_convs": 4}}, ["row 1", "'cl_convs' changes nothing beside cl: false"]),
        ({"optoins": {}}, ["table8.yaml", "optoins", "options"]),
        ({"config": {"optimiser": {"type": "Adam"}}}, ["row 1", "optimiser", "optimizer"]),
        ({"config": {"optimizer": {"lr": 0.1}}}, ["optimizer.lr", "lr_factor"]),  # the scale's would stay
        ({"config": {"image": {"flipp": 0}}}, ["image.flipp"]),
        ({"config": {"batch": 4}}, ["batch", "scale's"]),
        (
            {"config": {"model": {"roi_head": {"options": {"tau": 9}}}}},
            ["roi_head.options", "options"],
        ),
        ({"config": {"model": {"test_cfg": {"rcnn": {"score_th": 0.1}}}}}, ["rcnn.score_th'", "rcnn.score_thr,"]),
        ({"config": {"model": {"train_cfg": {"rccn": {"sampler": {"num": 9}}}}}}, ["rccn", "train_cfg.rcnn.sampler"]),
        ({"config": {"model": {"test_cfg": {"rcnn": {"nms": {"type": "soft_nms"}}}}}}, ["rcnn.nms.type", "installed"]),
        ({"config": {"model": {"test_cfg": {"rcnn": {"nms": {"iou_thr": 0.5}}}}}}, ["iou_thr'", "iou_threshold"]),
        ({"config": {"paramwise": {"bias_lr_mul": 2}}}, ["bias_lr_mul", "bias_lr_mult"]),
        ({"config": {"model": {"neck": {"since": date(2025, 1, 1)}}}}, ["row 1", "date"]),
        ({"config": {"model": {"neck": {"eps": float("inf")}}}}, ["row 1", "config.json", ".inf"]),
        ({"config": {"image": {"test": [96]}}}, ["rows.0.config.image.test", "Long and short side"]),
        ({"config": {"one_x": {"iterations": 0}}}, ["rows.0.config.one_x.iterations"]),
        ({"config": {"schedule": {"lenght": 2}}}, ["lenght", "length"]),
        ({"config": {"warmup_iterations": "long"}}, ["rows.0.config.warmup_iterations", "integer"]),
        ({"config": {"lr_factor": float("nan")}}, ["rows.0.config.lr_factor"]),
        (
            {"config": {"weights": "r50.pth"}},
            ["rows.0.config.weights", "--config weights"],
        ),
        ({"config": {"model": None}}, ["rows.0.config.model"]),
        ({"method": "contrasmask"}, ["contrasmask", "contrastmask", "mask-rcnn"]),
        ({"backbone": "r34"}, ["r34", "r50", "x101"]),
        ({"schedule": "2x"}, ["2x", "1x", "3x"]),
        ({"setting": "voc"}, ["voc", "row 1"]),
        ({"setting": "nonvoc2dogs"}, ["dogs"]),
    ],
)
def test_a_mistake_in_a_table_names_file_row_and_what_there_is(configs: Path, row: dict, words: list[str]) -> None:
    write_table(configs, rows=[{"label": "a"} | row])
    with pytest.raises(ConfigError) as caught:
        load_table("table8", "paper")
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scale": "smok"}, ["smok", "smoke", "paper"]),
        ({"scale": "../../etc"}, ["scale"]),
        ({"preset": "mine"}, ["preset", "official"]),
        ({"seeds": []}, ["seeds"]),
        ({"seeds": [-1]}, ["seeds.0"]),
        ({"seeds": "0,1"}, ["seeds.0", "'seeds=[0,1,2]'"]),
        ({"seeds": [2**32]}, ["seeds.0", "32 bits"]),  # NumPy takes no more
        ({"seeds": "²"}, ["seeds.0"]),
        ({"tables": ["table99"]}, ["table99", "table1"]),
        ({"tabels": "all"}, ["tabels", "tables"]),
        ({"scale": "paper"}, ["data_root"]),
        ({"data_root": "/data"}, ["smoke", "data_root"]),
        ({"gpus_per_run": 0}, ["gpus_per_run"]),
    ],
)
def test_a_mistake_in_the_configuration_names_the_key(changes: dict, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_tables(settings_with(changes))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_every_scale_file_is_valid() -> None:
    for path in (CONFIGS / "scales").glob("*.yaml"):
        makes_its_own = yaml.safe_load(path.read_text())["dataset"]["kind"] == "synthetic"
        data_root = None if makes_its_own else "/data"
        assert settings_with(dict(scale=path.stem, data_root=data_root)).scale["name"] == path.stem


# ---------------------------------------------------------------------------- runs that read another run's detections

GRABCUT = ROW | {"method": "mask-grabcut"}


def test_a_grabcut_run_names_the_baseline_with_its_backbone_schedule_and_setting() -> None:
    entry = GRABCUT | {"backbone": "r101", "options": {"iterations": 5, "margin": 1.0}}
    run = run_spec(entry, "official")
    assert run.id == "mask-grabcut_r101_1x_nonvoc2voc_margin-1"
    assert run.detector == run_spec(ROW | {"method": "mask-rcnn", "backbone": "r101"}, "paper")
    assert run.preset == "both"


def test_the_detector_is_known_though_it_is_no_rows_run() -> None:
    settings = settings_with({})
    tables = load_tables(settings)
    detector = "mask-rcnn_r101_1x_voc2nonvoc"
    assert detector not in {run.id for table in tables.values() for run in table.runs}
    assert experiment.find_run(tables, detector) == experiment.all_runs(tables)[detector]


def test_a_grabcut_run_is_made_again_when_its_options_or_its_detector_change(configs: Path) -> None:
    settings = settings_with({})

    def digest(**changes: object) -> str:
        fragment.cache_clear()
        return experiment.config_hash(resolve(run_spec(GRABCUT | changes, "paper"), settings))

    digests = [digest(), digest(options={"margin": 1}), digest(options={"iterations": 1}), digest(config={"amp": True})]
    assert digest(options={"margin": 0.5}) == digests[0]
    detector = configs / "two_stage.py"
    detector.write_text(
        detector.read_text().replace("nms_pre=2000", "nms_pre=1000").replace("mask_size=28", "mask_size=14")
    )
    assert len({*digests, digest()}) == 5


def test_a_grabcut_runs_configuration_is_its_options_and_its_detectors_identity() -> None:
    settings = settings_with({})
    resolved = resolve(run_spec(GRABCUT | {"options": {"iterations": 10}}, "paper"), settings)
    baseline = run_spec(ROW | {"method": "mask-rcnn"}, "paper")
    assert resolved["options"] == {"iterations": 10, "margin": 0.5}
    identity = {"run": baseline.id, "config_hash": experiment.config_hash(resolve(baseline, settings))}
    assert resolved["detector"] == identity


def test_a_rows_config_is_its_detectors() -> None:
    changes = {"model": {"test_cfg": {"rcnn": {"score_thr": 0.3}}}}
    run = run_spec(GRABCUT | {"config": changes}, "paper")
    assert run.detector == run_spec(ROW | {"method": "mask-rcnn", "config": changes}, "paper")
    assert run.id != run_spec(GRABCUT, "paper").id


def test_a_detector_with_presets_gives_its_reader_presets(configs: Path) -> None:
    mine = '_base_ = "mask-grabcut.py"\noptions_of = "mask-grabcut"\ndetector = "contrastmask"\n'
    (configs / "methods" / "mine.py").write_text(mine)
    runs = [run_spec(ROW | {"method": "mine"}, preset) for preset in ("paper", "official")]
    assert [run.id for run in runs] == ["mine-paper_r50_1x_nonvoc2voc", "mine-official_r50_1x_nonvoc2voc"]
    assert [run.detector and run.detector.preset for run in runs] == ["paper", "official"]


@pytest.mark.parametrize(("detector", "words"), [("mask-rcn", ["mask-rcnn"]), ("mask-grabcut", ["not trained"])])
def test_a_detector_that_cannot_be_is_named(configs: Path, detector: str, words: list[str]) -> None:
    path = configs / "methods" / "mask-grabcut.py"
    path.write_text(path.read_text().replace('detector = "mask-rcnn"', f'detector = "{detector}"'))
    fragment.cache_clear()
    with pytest.raises(ConfigError) as caught:
        run_spec(GRABCUT, "paper")
    assert all(word in str(caught.value) for word in ["mask-grabcut.py", detector, *words]), str(caught.value)


# ---------------------------------------------------------------------------- stand-ins


def test_a_scale_s_backbone_stands_in_for_a_row_s() -> None:
    photos = settings_with(dict(scale="coco-mini", data_root="/data"))
    assert resolve(run_spec(ROW, "paper"), photos)["backbone"] == "lite0"
    other = resolve(run_spec(ROW | {"backbone": "r101"}, "paper"), settings_with({}))
    assert other["backbone"] == "r101" and other["model"]["backbone"]["depth"] == 101


def test_a_backbone_of_fixed_width_keeps_its_channels() -> None:
    photos = settings_with(dict(scale="coco-mini", data_root="/data"))
    resolved = resolve(run_spec(ROW, "paper"), photos)
    neck = resolved["model"]["neck"]
    assert neck["in_channels"] == [24, 40, 112, 320] and neck["out_channels"] == 64
    assert resolved["weights"].startswith("package://") and "fixed_width" not in resolved


def test_a_key_of_a_scale_s_config_that_nothing_reads_is_named(configs: Path) -> None:
    path = configs / "scales" / "smoke.yaml"
    path.write_text(path.read_text().replace("warmup_iterations: 2", "warmup_iteration: 2"))
    with pytest.raises(ConfigError, match=r"smoke.yaml: .*'warmup_iteration'; .*warmup_iterations"):
        settings_with({})


def test_a_key_that_stands_twice_is_named(configs: Path) -> None:
    path = configs / "scales" / "smoke.yaml"
    path.write_text(f"{path.read_text()}\nconfig: {{amp: false}}\n")  # the one above would be lost
    with pytest.raises(ConfigError, match=r"smoke.yaml cannot be read as YAML: 'config' stands twice"):
        settings_with({})


def test_a_rate_that_is_no_number_is_named(configs: Path) -> None:
    path = configs / "scales" / "smoke.yaml"
    for rate in (".nan", ".inf"):
        path.write_text(re.sub(r"(?m)^lr: \S+", f"lr: {rate}", path.read_text()))
        with pytest.raises(ConfigError, match=r"smoke.yaml .*\n  lr: (nan|inf) is not of type 'number'"):
            settings_with({})


@pytest.mark.parametrize(
    ("config", "deleted"),
    [
        ({"optimizer": {"_delete_": True, "weight_decay": 0.1}}, "optimizer.type"),
        ({"model": {"roi_head": {"_delete_": True, "type": "PartialRoIHead"}}}, "model.roi_head.options"),
        ({"image": {"_delete_": True, "test": [96, 96]}}, "image.train"),
    ],
)
def test_what_a_config_must_not_delete_is_named(config: dict, deleted: str) -> None:
    with pytest.raises(ConfigError, match=f"contrastmask-paper_r50_1x_nonvoc2voc.* deletes {deleted}"):
        resolve(run_spec(ROW | {"config": config}, "paper"), settings_with({}))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"neck": {"out_channels": -8}}, "neck.out_channels must be a whole number from 1 on, not -8"),
        ({"backbone": {"base_channels": 8.0}}, "backbone.base_channels must be a whole number from 1 on, not 8.0"),
        ({"roi_head": {"mask_head": {"num_convs": "4"}}}, "num_convs must be a whole number from 0 on, not '4'"),
        ({"backbone": {"depth": "50"}}, "backbone.depth must be a number, such as 50, not '50'"),
        ({"backbone": 50}, "backbone must be a mapping"),
        ({"rpn_head": {"anchor_generator": {"scales": 8}}}, "scales must be a list of numbers, such as .8., not 8"),
        ({"rpn_head": {"anchor_generator": {"scales": ["8"]}}}, "scales must be a list of numbers"),
        ({"train_cfg": {"rcnn": {"assigner": {"pos_iou_thr": "0.5"}}}}, "rcnn.assigner.pos_iou_thr must be a number"),
        ({"roi_head": {"bbox_head": {"reg_class_agnostic": 3}}}, "reg_class_agnostic must be true or false"),
        ({"rpn_head": {"loss_bbox": {"type": "SmoothL1Loss", "loss_weight": "1"}}}, None),  # another type's: mmdet's
        ({"roi_head": {"mask_roi_extractor": {"roi_layer": {"output_size": [14, 14]}}}}, None),
        ({"neck": {"norm_cfg": {"type": "GN", "num_groups": 4}, "upsample_cfg": [None]}}, None),
    ],
)
def test_a_value_of_another_kind_in_a_config_is_named(model: dict, said: str | None) -> None:
    settings, config = settings_with({}), {"model": model}
    of_row = run_spec(ROW | {"config": config}, "paper"), settings
    of_scale = run_spec(ROW, "paper"), replace(settings, scale=settings.scale | {"config": config})
    for given, whose in ((of_row, "a row of contrastmask"), (of_scale, "scale 'smoke'")):
        if said is None:
            resolve(*given)
            continue
        with pytest.raises(ConfigError, match=f"`config` of {whose}.*: model.*{said}"):
            resolve(*given)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("backbones: {r50: lite9}", "unknown backbone 'lite9'; there are: .*lite0"),
        ("backbones: {r5O: lite0}", "unknown backbone 'r5O'; there are: .*r50"),
        ("options: {mask-rnn: {box_head: conv}}", "unknown method 'mask-rnn'; there are: .*mask-rcnn"),
        ("options: {mask-rcnn: {box_haed: conv}}", "no option 'box_haed'; it has: .*box_head"),
        ("settings: {nonvoc2vco: lower2upper}", "'nonvoc2vco' must be <base>2<novel>"),
        ("settings: {nonvoc2voc: lower2uper}", "'lower2uper' must be <base>2<novel>"),
        ("detector: {setting: nonvoc2vco, one_x: {iterations: 1}}", "'nonvoc2vco' must be <base>2<novel>"),
    ],
)
def test_a_name_in_a_scale_that_no_row_can_have_is_named(configs: Path, line: str, words: str) -> None:
    path = configs / "scales" / "smoke.yaml"
    path.write_text(f"{path.read_text()}\n{line}\n")
    with pytest.raises(ConfigError, match=f"smoke.yaml: .*{words}"):
        load_tables(settings_with({}))
