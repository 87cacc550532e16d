"""ContrastMask (CVPR 2022), reproduced: partially-supervised instance segmentation, from images to Tables 1-7.

from contrastmask import load_model

model = load_model("contrastmask-r50")        # a folder of `contrastmask export`, or of a trained run
found = model.predict("photo.jpg")
found.masks                                   # (N, H, W) bool, with found.boxes, found.scores, found.names
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contrastmask.inference.model import Found, Model

__all__ = ["Found", "Model", "load_model"]


def load_model(path: Any, device: str | None = None) -> "Model":
    """A trained detector, ready to predict: see `contrastmask.inference.model.load_model`."""
    from contrastmask.inference.model import load_model as load  # imports torch and mmdet

    return load(path, device)


def __getattr__(name: str) -> Any:
    if name in ("Found", "Model"):
        from contrastmask.inference import model

        return getattr(model, name)
    raise AttributeError(f"module 'contrastmask' has no attribute '{name}'")
