"""Train the two rows of Table 7 at smoke scale, read the table with pandas, and draw what the second one finds.

    python examples/two_rows.py            some minutes on 2 cores; run it in the project's folder

Query-sharing "no" is the paper's ablation: each RoI has a query pair of its own instead of one for all.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from contrastmask import load_model

OVERLAY, SHOWN = (230, 60, 30), 3


def train(results: Path, cores: int) -> None:
    """What `snakemake table7` needs: data, split, two trainings, two evaluations, the table."""
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "table7", "--config", f"results={results}"]
    subprocess.run(command, check=True)


def show_table(results: Path) -> None:
    """The columns that tell at smoke scale: nothing is found yet, but masks come out in true boxes."""
    table = pd.read_csv(results / "smoke" / "tables" / "table7.csv")
    print(table[["variant", "AP", "IoU", "run"]].to_string(index=False))


def draw(results: Path, out: Path) -> list[Path]:
    """The best objects of three val images, whatever their score: a rehearsal finds nothing with certainty."""
    runs = sorted((results / "smoke" / "runs").glob("contrastmask-*/seed0"))
    model = load_model(runs[-1], device="cpu")
    data = json.loads((results / "smoke" / "data" / "dataset.json").read_text(encoding="utf-8"))
    folder = results / "smoke" / "data" / data["val"]["images"]
    images = sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".png"))[:SHOWN]
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for path in images:
        found = model.predict(path, threshold=0)
        pixels = np.asarray(Image.open(path).convert("RGB")).astype(float)
        for mask in found.masks[:5]:
            pixels[mask] = (pixels[mask] + OVERLAY) / 2
        target = out / path.name
        Image.fromarray(pixels.astype(np.uint8)).save(target)
        written.append(target)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--out", type=Path, default=Path("two_rows"))
    parser.add_argument("--cores", type=int, default=2)
    given = parser.parse_args()
    train(given.results, given.cores)
    show_table(given.results)
    print("\n".join(map(str, draw(given.results, given.out))))


if __name__ == "__main__":
    main()
