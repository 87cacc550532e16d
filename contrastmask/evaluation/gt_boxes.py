"""A trained run's network on val objects in their annotated boxes, for evaluation, examples and diagnosis."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from contrastmask.training.run import Run


def trained_model(run: Run) -> Any:
    """The detector of a finished training, on the GPU if there is one, in evaluation mode."""
    import torch

    from contrastmask.training.build import build_model
    from contrastmask.training.checkpoint import load_weights

    torch.set_num_threads(run.decided["threads"])
    model = build_model(run.config, run.dataset, run.split, weights=None)
    model.load_state_dict(load_weights(run.folder / "model.pth")[0])
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def val_samples(run: Run) -> Callable[[int], dict[str, Any]]:
    """Gives the sample of the test pipeline of a val image's id."""
    from contrastmask.training.build import build_dataset

    dataset = build_dataset(run.config, run.dataset, "val")
    position = {dataset.get_data_info(i)["img_id"]: i for i in range(len(dataset))}
    return lambda image: dataset[position[image]]


@dataclass(frozen=True)
class Image:
    """A val image as the network sees it."""

    features: Any
    """FPN features of a batch of one."""
    samples: list[Any]
    """mmdet's data samples, one."""

    @property
    def meta(self) -> dict[str, Any]:
        """mmdet's image meta."""
        return self.samples[0].metainfo

    def boxes(self, annotations: Sequence[dict[str, Any]]) -> Any:
        """Annotated boxes (n, 4) in pixels of the network's input, on its device."""
        import torch

        scale = torch.tensor(self.meta["scale_factor"], dtype=torch.float32).repeat(2)
        return (torch.tensor([corners(a["bbox"]) for a in annotations]) * scale).to(self.features[0].device)

    def labels(self, annotations: Sequence[dict[str, Any]], categories: list[int]) -> Any:
        """Annotated labels (n,), on the network's device; `categories` are the ids in the labels' order."""
        import torch

        return torch.tensor([categories.index(a["category_id"]) for a in annotations]).to(self.features[0].device)

    def masks_in_boxes(self, model: Any, annotations: Sequence[dict[str, Any]], categories: list[int]) -> Any:
        """The mask branch's masks (n, H, W), bool, in the original image's pixels, in the annotated boxes."""
        boxes, labels = self.boxes(annotations), self.labels(annotations, categories)
        return model.roi_head.predict_masks_in_boxes(self.features, [self.meta], [boxes], [labels])[0].masks


def see(model: Any, sample: dict[str, Any]) -> Image:
    """A sample of the test pipeline through backbone and neck. Call it under torch.no_grad."""
    data = model.data_preprocessor({"inputs": [sample["inputs"]], "data_samples": [sample["data_samples"]]})
    return Image(model.extract_feat(data["inputs"]), data["data_samples"])


def corners(bbox: list[float]) -> list[float]:
    """x, y, w, h to x1, y1, x2, y2."""
    x, y, w, h = bbox
    return [x, y, x + w, y + h]
