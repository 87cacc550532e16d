"""The named options of each method, and the two presets: what a table row may vary.

Paper, equation and section numbers refer to ContrastMask (CVPR 2022); "released code" is the authors'
huiserwang/ContrastMask. Where the two differ there is one option here, so that each difference can be ablated.
This file imports no torch: it is read while Snakemake builds its graph.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeVar, get_args, get_origin

from contrastmask.errors import ConfigError

PRESETS = ("paper", "official")
#: The options class of each method, and what of it differs in the preset `official`; filled by `@method`.
METHODS: dict[str, type["Options"]] = {}
OFFICIAL: dict[str, dict[str, Any]] = {}

Kind = TypeVar("Kind", bound=type["Options"])


def method(name: str, official: dict[str, Any] | None = None) -> Callable[[Kind], Kind]:
    """Make a class the options of the method `name` (configs/methods/<name>.py); `official` differs in that preset."""

    def register(kind: Kind) -> Kind:
        METHODS[name], OFFICIAL[name] = kind, official or {}
        return kind

    return register


@dataclass(frozen=True)
class Options:
    """What a table row may vary of a method."""

    def check(self) -> None:
        """Raise ConfigError where values do not go together or are out of range."""


@dataclass(frozen=True)
class SystemOptions(Options):
    """Options of every system that is trained."""

    novel_masks: Literal["none", "all"] = "none"
    """`all`: fully supervised, an upper bound that breaks the protocol; its rows are marked. The masks come from a file
    of their own, which no other run reads."""

    box_losses: Literal["none", "projection", "pairwise", "both"] = "none"
    """Losses that need boxes only, on the masks of novel RoIs: BoxInst's (https://arxiv.org/abs/2012.02310) projection
    onto the box's sides and its pairwise term by colour. In no system of Table 1; see table `beyond`."""


@dataclass(frozen=True)
class MaskRCNNOptions(SystemOptions):
    """Options of the two-stage systems: Mask R-CNN with a class-agnostic mask head trained on base masks only."""

    mask_rois: Literal["positive", "gt"] = "positive"
    """RoIs of base classes in the mask loss: all positive ones, as in Mask R-CNN, or only those that are ground-truth
    boxes, as in ContrastMask's released code (and Deep-MAC, which found a large effect)."""

    box_head: Literal["fc", "conv"] = "fc"
    """`fc`: Mask R-CNN's two fully connected layers; `conv`: 4 shared + 1 cls + 2 reg convolutions and average
    pooling, the head of the released code, which a class activation map needs."""


@dataclass(frozen=True)
class CAMOptions(MaskRCNNOptions):
    """Options of the systems whose mask head sees the class activation map A: ContrastMask and OPMask."""

    box_head: Literal["fc", "conv"] = "conv"
    cam_norm: Literal["resize_first", "normalise_first"] = "resize_first"
    """Order of the 7->14 resize and the per-RoI min-max of A: as released, or as in OPMask."""
    detach_cam: bool = False
    """Stop the mask loss's gradient through A into the box head (released code: kept)."""
    cam_box: Literal["proposal", "refined"] = "proposal"
    """Box whose CAM a detection gets at test: the proposal it came from (released code, cheap, slightly misaligned)
    or the refined box, by a second pass through the box head."""


#: What the released code does otherwise than the text.
RELEASED: dict[str, Any] = {
    "cl_size": 28,
    "projector_norm": True,
    "enhance": True,
    "fusion": "add",
    "strict_thresholds": True,
    "hard_keys": "ring",
    "min_keys": 5,
    "cam_fallback": True,
    "query_rois": "kept",
    "tau": 0.3,
    "tau_in_denominator": False,
    "similarity": "residual",
    "pool_keys": True,
    "lambda_warmup": "epoch",
    "loss_scale": 0.1,
}


@method("contrastmask", official=RELEASED)
@dataclass(frozen=True)
class ContrastMaskOptions(CAMOptions):
    """Options of ContrastMask. Defaults are the `paper` preset: the text, and where it is silent the released code."""

    mask_rois: Literal["positive", "gt"] = "gt"
    """As above. The text says nothing of RoIs; the code that made its numbers takes ground-truth boxes."""
    novel_masks: Literal["none", "keys", "all"] = "none"  # type: ignore[assignment]  # one value more
    """`keys`: the partition and the keys of novel RoIs come from their true masks, the mask loss still sees base
    categories only: the upper bound of Sec. 5, which breaks the protocol; its rows are marked. `all`: as above."""

    # --- which parts are there (Table 2)
    cam: bool = True
    """Add the class activation map A to the mask head's input ("CM" in Table 2)."""
    cl: bool = True
    """The contrastive learning head, whose features Y enter the mask head ("CL" in Table 2)."""
    cl_loss: bool = True
    """Train the CL head with the contrastive loss; False keeps its layers alone (a control the paper lacks)."""

    # --- the mask head (not in the paper)
    mask_head: Literal["conv", "hourglass-20", "hourglass-52"] = "conv"
    """What follows X, Y and A: Mask R-CNN's four convolutions, or Deep-MARC's hourglass at 32 px for masks of 64."""

    # --- the CL head (Sec. 3.2, Table 3)
    cl_convs: int = 8
    """n of "CnFm": 3x3 Conv-ReLU layers of the encoder f."""
    cl_fcs: int = 3
    """m of "CnFm": layers of the projector g; the last has no ReLU."""
    cl_size: int = 14
    """H = W of X, Y and Z in pixels. The text gives X, Y, Z one size, the mask head's 14; released code: 28."""
    detach_cl_input: bool = True
    """Stop the gradient between the CL head and the FPN (released code; the text is silent)."""
    projector_norm: bool = False
    """BatchNorm after each hidden layer of g (released code); the text names none."""
    enhance: bool = False
    """Y = self-affinity average of the encoder's output (released code) instead of the output itself (Sec. 3.2)."""
    fusion: Literal["concat", "add"] = "concat"
    """X and Y in the mask head: concatenated (Sec. 3.4) or added after a 1x1 convolution (released code)."""

    # --- partition, queries and keys (Sec. 3.3)
    delta: float = 0.1
    """delta: foreground where A >= 1 - delta, background where A <= delta, for novel RoIs."""
    strict_thresholds: bool = False
    """Use > and < instead of >= and <= (released code)."""
    hard_keys: Literal["distance", "ring"] = "distance"
    """Hard keys of base RoIs: squared distance to the boundary <= 2 (Eq. 3), or the released code's ring: next to the
    edge pixels but not on them; its inner edge pixels count as easy, its outer ones as nothing."""
    min_keys: int = 0
    """A RoI gives keys only if each of its four key sets has this many pixels (released code: 5). With 0 it takes part
    in each term of Eq. 4 whose two key sets it has."""
    cam_fallback: bool = False
    """Base RoIs with fewer than 2 pixels of fore- or background take that partition from the CAM at 0.95 / 0.05
    (released code, where `min_keys` then drops each such RoI: it never acts in the preset `official`)."""
    sigma: float = 0.3
    """sigma: share of each key set that is drawn; ceil(sigma n) of n pixels, without replacement."""
    query_rois: Literal["all", "kept"] = "all"
    """RoIs averaged into a query: all that have the partition (Eq. 2), or only those that also give keys (released)."""
    query_sharing: bool = True
    """One query pair per group of images (Table 7 "yes"), or one per RoI ("no")."""
    query_group_size: int = 2
    """Images that share a query pair and the projector's BatchNorm statistics: 2, the paper's batch on each GPU,
    whatever batch a GPU holds here."""
    cl_supervision: Literal["all", "base", "novel"] = "all"
    """RoIs that give queries and keys (Table 6)."""

    # --- the loss (Eq. 1, 4, 5)
    tau: float = 0.7
    """tau of the easy keys; hard keys have 1 - tau (Table 5). The released code has them the other way: 0.3."""
    tau_in_denominator: bool = True
    """Divide the positive's term in the denominator by tau as Eq. 1 does; released code: no."""
    similarity: Literal["cosine", "residual"] = "cosine"
    """phi(q, k) = cos(q, k) (Eq. 1), or cos(q, k - q) (released code)."""
    pool_keys: bool = False
    """Contrast with the keys of all RoIs of the query's group (released code) or with the RoI's own (Sec. 3.3)."""
    lambda_warmup: Literal["linear", "epoch"] = "linear"
    """lambda of Eq. 5 from 0.25 to 1 over the first third of training: linearly, or in the released code's steps."""
    loss_scale: float = 1.0
    """Constant factor on top of lambda (released code: 0.1)."""

    def check(self) -> None:
        ranges = {"sigma": (0, 1), "tau": (0, 1), "delta": (0, 0.5)}
        for key, (low, high) in ranges.items():
            if not low < getattr(self, key) <= high:
                raise ConfigError(f"option '{key}' must lie in ({low}, {high}], not {getattr(self, key)}")
        if self.tau == 1:
            raise ConfigError("option 'tau' must be below 1: hard keys have the temperature 1 - tau")
        _at_least(self, cl_convs=1, cl_fcs=1, cl_size=2, query_group_size=1, min_keys=0)
        if self.box_head != "conv" and (self.cam or self.cl):
            raise ConfigError("options 'cam' and 'cl' need a class activation map: set box_head to 'conv'")


@dataclass(frozen=True)
class RecipeOptions(SystemOptions):
    """Options of every peer."""

    recipe: Literal["source", "common"] = "source"
    """`source`: the system's own learning rate, augmentation, warm-up, clipping and thresholds; `common`: those of
    configs/base.py, the same for all systems."""


@method("mask-rcnn")
@dataclass(frozen=True)
class BaselineOptions(RecipeOptions, MaskRCNNOptions):
    """Options of Mask R-CNN, the baseline."""

    recipe: Literal["source", "common"] = "common"
    """`source`: Detectron's, which made the printed numbers; `common`: everyone's."""


@dataclass(frozen=True)
class SingleStageOptions(RecipeOptions):
    """Options of the single-stage peers: a dense detector with a mask branch that sees boxes of base categories."""


@method("shapemask")
@dataclass(frozen=True)
class ShapeMaskOptions(SingleStageOptions):
    """Options of ShapeMask."""

    neck: Literal["fpn", "nas-fpn"] = "fpn"
    """The feature pyramid; both are rows of Table 1."""
    priors: int = 100
    """K: shape priors, for all classes together. The same at every scale."""
    prior_min_area: int = 1024
    """Base masks must have more pixels than this to be clustered into priors."""

    def check(self) -> None:
        _at_least(self, priors=1, prior_min_area=0)


@method("cpmask")
@dataclass(frozen=True)
class CPMaskOptions(SingleStageOptions):
    """Options of CPMask: it has none of its own."""


@dataclass(frozen=True)
class PeerOptions(RecipeOptions, MaskRCNNOptions):
    """Options of the two-stage peers."""


@method("maskx-rcnn")
@dataclass(frozen=True)
class MaskXOptions(PeerOptions):
    """Options of MaskX R-CNN."""

    mlp: bool = True
    """Add the class-agnostic MLP's mask to the transferred one; False: transfer alone."""
    detach_descriptor: bool = True
    """Stop the mask loss's gradient into the box head's class weights, as that paper does end to end."""


@method("shapeprop")
@dataclass(frozen=True)
class ShapePropOptions(PeerOptions):
    """Options of ShapeProp."""

    steps: int = 14
    """Steps of message passing; the released code takes as many as the map is wide, so that a pixel can reach all."""
    latent: int = 24
    """Latent channels that are propagated, each with its own weights. The same at every scale."""
    border: Literal["zero", "inside"] = "zero"
    """Neighbours outside the map: zeros with weights of their own, which dim it from the border inwards (released
    code), or without weight, so that a constant map stays constant."""

    def check(self) -> None:
        _at_least(self, steps=0, latent=1)


@method("opmask")
@dataclass(frozen=True)
class OPMaskOptions(CAMOptions, PeerOptions):  # in this order, or PeerOptions' own copy of `box_head` would win
    """Options of OPMask."""

    box_head: Literal["conv"] = "conv"
    """OPMask's own box head, four wide convolutions with BatchNorm; the map needs it."""
    cam_norm: Literal["resize_first", "normalise_first"] = "normalise_first"


@method("mask-grabcut")
@dataclass(frozen=True)
class GrabCutOptions(Options):
    """Options of Mask GrabCut, which has no training: all concern the segmentation of one box."""

    iterations: int = 5
    """Rounds of GrabCut: each fits the colour models anew and cuts the graph once."""
    margin: float = 0.5
    """What GrabCut sees as certain background: the box enlarged on each side by this share of its own width or height
    (at least 16 pixels, as far as the image reaches), less the box."""

    def check(self) -> None:
        _at_least(self, iterations=1)
        if not 0 <= self.margin < math.inf:
            raise ConfigError(f"option 'margin' must be a finite number from 0 on, not {self.margin}")


@method("deep-marc")
@dataclass(frozen=True)
class DeepMARCOptions(PeerOptions):
    """Options of Deep-MARC."""

    mask_rois: Literal["positive", "gt"] = "gt"
    depth: Literal[20, 52, 100] = 52
    """Layers of the hourglass on its longest path."""


def preset_options(method: str, preset: str) -> dict[str, Any]:
    """All options of `method` with their values in `preset`."""
    defaults = asdict(METHODS[method]())
    return defaults | (OFFICIAL[method] if preset == "official" else {})


def check_options(method: str, given: dict[str, Any]) -> dict[str, Any]:
    """`given`, each as its option's type: 1 and 1.0 are one value, and make one configuration.

    Raises:
        ConfigError: naming the method, the key and what it takes, if one of `given` is unknown or ill-typed.
    """
    known = {field.name: field.type for field in fields(METHODS[method])}
    for key, value in given.items():
        if key not in known:
            raise ConfigError(f"method '{method}' has no option '{key}'; it has: {', '.join(sorted(known))}")
        if not _fits(value, known[key]):
            raise ConfigError(f"option '{key}' of method '{method}' cannot be {value!r}; it takes {_say(known[key])}")
    METHODS[method](**given).check()
    return {key: float(value) if known[key] is float else value for key, value in given.items()}


def check_idle(options: dict[str, Any], changed: Iterable[str]) -> None:
    """Raise ConfigError if one of the options that a row changes changes nothing beside the others."""
    idle = sorted(key for key in changed if key.startswith("cl_")) if options.get("cl") is False else []
    if idle:
        raise ConfigError(
            f"option '{idle[0]}' changes nothing beside cl: false (no contrastive head): the same run would be trained "
            "again under another id. Drop one of the two"
        )


def _at_least(options: Options, **least: int) -> None:
    for key, low in least.items():
        if getattr(options, key) < low:
            raise ConfigError(f"option '{key}' must be at least {low}, not {getattr(options, key)}")


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return any(value == one and type(value) is type(one) for one in get_args(kind))
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    return isinstance(value, (int, float)) if kind is float else isinstance(value, kind)


def _say(kind: Any) -> str:
    return " | ".join(map(str, get_args(kind))) if get_origin(kind) is Literal else kind.__name__
