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
    wildcard_constraints:
        run=TRAINED,
    threads: SETTINGS.scale["threads"]
    resources:
        gpu=1,
    message:
        "Evaluating {wildcards.run}, seed {wildcards.seed}"
    shell:
        'contrastmask evaluate "$(dirname {output.metrics:q})" >> {log:q} 2>&1'


# Mask GrabCut has no training: it segments the boxes that another run detected. More processes for a large val set:
# snakemake --set-threads grabcut=32.
rule grabcut:
    input:
        metrics=of_detector("metrics.json"),
        detections=of_detector("detections.json.gz"),
        split=training_data,
        dataset=str(SETTINGS.dataset),
    output:
        metrics=f"{RUN}/metrics.json",
        detections=f"{RUN}/detections.json.gz",
        ious=f"{RUN}/gt_box_iou.csv",
    log:
        str(OUT / "logs" / "evaluate" / "{run}_seed{seed}.log"),
    benchmark:
        str(OUT / "benchmarks" / "evaluate" / "{run}_seed{seed}.jsonl")
    wildcard_constraints:
        run=DERIVED,
    threads: SETTINGS.scale["threads"]
    params:
        config_hash=config_hash,
    message:
        "Segmenting the detections of another run: {wildcards.run}, seed {wildcards.seed}"
    shell:
        '(contrastmask configure {wildcards.run:q} --seed {wildcards.seed} --settings "$settings") >> {log:q} 2>&1'
        ' && contrastmask evaluate "$(dirname {output.metrics:q})" --processes {threads} >> {log:q} 2>&1'
