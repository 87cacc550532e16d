"""A trained model as an MLflow pyfunc: image paths in, a line for each object out.

MLflow copies this file beside the model and runs it to load one ("models from code"), so that nothing is pickled; it
needs this project in the environment that it is loaded in.
"""

import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import ModelSignature, set_model
from mlflow.pyfunc import PythonModel, save_model
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from contrastmask.inference.model import THRESHOLD, load_model

COLUMNS = {
    **{"image": DataType.string, "category": DataType.string, "novel": DataType.boolean, "score": DataType.double},
    **dict.fromkeys(("x1", "y1", "x2", "y2"), DataType.double),
    **{"height": DataType.long, "width": DataType.long, "rle": DataType.string},
}
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, "image")]),
    outputs=Schema([ColSpec(kind, name) for name, kind in COLUMNS.items()]),
    params=ParamSchema([ParamSpec("threshold", DataType.double, THRESHOLD)]),
)


class Segmenter(PythonModel):
    """What `mlflow.pyfunc.load_model` gives; its artifact `export` is a folder of `contrastmask export`."""

    def load_context(self, context: Any) -> None:
        """Called once, by MLflow."""
        self.model = load_model(context.artifacts["export"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """The objects of images, best first within each.

        Args:
            context: MLflow's.
            model_input: its column `image` has the paths.
            params: `threshold`: detections of a lower score are left out.

        Returns:
            a line for each object: its image, category, whether that is novel, score, box in pixels, and mask as COCO's
            compressed RLE (`rle`, with `height` and `width`).

        Raises:
            ImageError: an image cannot be read.
        """
        threshold = (params or {}).get("threshold", THRESHOLD)
        lines = [line for path in model_input["image"] for line in self._lines(path, threshold)]
        return pd.DataFrame(lines, columns=list(COLUMNS))

    def _lines(self, path: str, threshold: float) -> list[tuple[Any, ...]]:
        found = self.model.predict(path, threshold)
        masks = [entry["segmentation"] for entry in found.coco]
        return [
            (path, name, bool(novel), float(score), *map(float, box), *mask["size"], mask["counts"])
            for name, novel, score, box, mask in zip(
                found.names, found.novel, found.scores, found.boxes, masks, strict=True
            )
        ]


def save(export: Path, out: Path) -> None:
    """Write the folder `export`, of `contrastmask export`, as the MLflow model `out`, a new folder."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # that no example says what SIGNATURE does
        save_model(
            out,
            python_model=__file__,
            artifacts={"export": str(export)},
            signature=SIGNATURE,
            pip_requirements=[f"contrastmask=={version('contrastmask')}"],
        )


set_model(Segmenter())
