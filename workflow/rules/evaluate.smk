# One evaluation, under the same protocol for every system.


rule evaluate:
    input:
        weights=f"{RUN}/model.pth",
        record=f"{RUN}/train.json",
    output:
        metrics=f"{RUN}/metrics.json",
        detections=f"{RUN}/detections.json.gz",
        ious=f"{RUN}/gt_box_iou.csv",
    log:
        str(OUT / "logs" / "evaluate" / "{run}_seed{seed}.log"),
    benchmark:
        str(OUT / "benchmarks" / "evaluate" / "{run}_seed{seed}.jsonl")
    threads: SETTINGS.scale["threads"]
    resources:
        gpu=1,
    message:
        "Evaluating {wildcards.run}, seed {wildcards.seed}"
    shell:
        "exec {PYTHON} -m contrastmask evaluate --run {wildcards.run:q} --seed {wildcards.seed}"
        " --settings {SETTINGS_JSON:q} >> {log:q} 2>&1"
