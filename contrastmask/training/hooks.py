"""What happens around each training iteration: resuming, stopping, recording.

mmengine's own hooks are not used for these: its checkpoints are not written atomically, and its MLflow backend starts a
new run at each resume.
"""

import math
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, all_reduce_params
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.nn.modules.batchnorm import _BatchNorm

from contrastmask.errors import Failed
from contrastmask.runtime.locks import Interrupted, Stop
from contrastmask.runtime.progress import Progress
from contrastmask.tracking.curves import Curves
from contrastmask.training import checkpoint
from contrastmask.training.run import Run
from contrastmask.training.steps import bare

MAX_POINTS = 1000  # of each curve


class StartFrom(Hook):
    """Gives the network the weights of another run wherever both have a tensor of one name and shape.

    What the other run says of categories (`is_base`) stays its own: a detector that was trained on boxes knows none.

    Args:
        weights: model.pth of the other run.
    """

    def __init__(self, weights: Path) -> None:
        self.weights = weights

    def before_train(self, runner: Runner) -> None:
        model = bare(runner.model)
        own = model.state_dict()
        found, _ = checkpoint.load_weights(self.weights)
        common = {
            name: tensor
            for name, tensor in found.items()
            if name in own and tensor.shape == own[name].shape and not name.endswith("is_base")
        }
        model.load_state_dict(common, strict=False)


class Resume(Hook):
    """Loads the state to go on from, saves it as often as the run's config.json says and when asked to stop.

    Args:
        run: that is trained.
        state: the checkpoint to go on from, or None.
        stop: set by a signal.
        record: whose unfinished point is saved too.
    """

    priority = "VERY_LOW"  # after the parameter schedulers, whose state it saves

    def __init__(self, run: Run, state: dict[str, Any] | None, stop: Stop, record: "Record") -> None:
        self.run, self.state, self.stop, self.record = run, state, stop, record
        self.seconds_before, self.started = state["seconds"] if state else 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Training time so far, over all processes, in s."""
        return self.seconds_before + time.monotonic() - self.started

    def before_train(self, runner: Runner) -> None:
        self.started = time.monotonic()
        if self.state is None:
            return
        saved = {"state_dict": self.state["model"], **self.state.get("hooks", {})}
        runner._resume = True  # what mmengine's hooks ask when they look for their own part of a checkpoint
        runner.call_hook("after_load_checkpoint", checkpoint=saved)
        bare(runner.model).load_state_dict(saved["state_dict"])
        if self.state["iteration"] < runner.max_iters:
            runner.optim_wrapper.load_state_dict(self.state["optimizer"])
            for scheduler, saved in zip(runner.param_schedulers, self.state["schedulers"], strict=True):
                scheduler.load_state_dict(saved)
        self.record.load_state_dict(self.state["record"])
        runner.train_loop._iter = self.state["iteration"]  # mmengine has no public way to enter a loop half-way
        self.state = None

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        done = runner.iter + 1
        stopping = self._stopping()
        if stopping or done % self.run.decided["checkpoint_every"] == 0 or done == runner.max_iters:
            _check_finite(outputs, done)
            _check_finite(_sums(bare(runner.model)), done)
            self.record.share()
            share_statistics(bare(runner.model))
            if runner.rank == 0:
                checkpoint.save(self.run.work, self._snapshot(runner, done), done)
        if stopping:
            raise Interrupted(self.stop.signum or 15)

    def _stopping(self) -> bool:
        """Whether any process was asked to stop: all must leave at the same iteration."""
        if not torch.distributed.is_initialized():
            return self.stop.requested
        asked = torch.tensor([float(self.stop.requested)])
        if torch.distributed.get_backend() == "nccl":
            asked = asked.cuda()
        torch.distributed.all_reduce(asked)
        return bool(asked.item())

    def _snapshot(self, runner: Runner, done: int) -> dict[str, Any]:
        weights, of_hooks = shown_to_hooks(runner)
        state = {
            "identity": self.run.identity,
            "iteration": done,
            "code": self.run.code,
            "seconds": self.seconds,
            "record": self.record.state_dict(),
            "model": weights,
            "hooks": of_hooks,
        }
        if done < runner.max_iters:  # after the last iteration nobody needs the optimiser, half of a checkpoint or more
            state["optimizer"] = runner.optim_wrapper.state_dict()
            state["schedulers"] = [scheduler.state_dict() for scheduler in runner.param_schedulers]
        return state


def shown_to_hooks(runner: Runner) -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights to keep, and what a configuration's hooks add to a checkpoint: EMAHook gives its mean for the weights."""
    saved = {"state_dict": bare(runner.model).state_dict()}
    runner.call_hook("before_save_checkpoint", checkpoint=saved)
    return saved.pop("state_dict"), saved


class Record(Hook):
    """Writes losses and learning rate to the run's curves, averaged over the iterations between two points.

    Args:
        curves: of the run; None in processes other than the first.
        total: iterations of the whole training.
        images: images of an iteration, over all processes.
        progress: where to say how far it is; None where the curves are.
        visualizer: whether the configuration names a visualizer of its own, which is then told too.
    """

    def __init__(
        self, curves: Curves | None, total: int, images: int, progress: Progress | None = None, visualizer: bool = False
    ) -> None:
        self.visualizer = visualizer
        self.curves, self.total, self.images, self.progress = curves, total, images, progress
        self.every = math.ceil(total / MAX_POINTS)
        self.sums: dict[str, torch.Tensor] = {}
        self.since, self.count = time.monotonic(), 0
        self.last: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        """The unfinished point and the last finished one."""
        sums = {name: float(value) for name, value in self.sums.items()}
        return {"sums": sums, "count": self.count, "last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a point begun before a stop."""
        self.sums = {name: torch.tensor(value) for name, value in state["sums"].items()}
        self.count, self.last = state["count"], state["last"]

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        for name, value in outputs.items():
            self.sums[name] = value.detach() + self.sums.get(name, torch.tensor(0.0)).to(value.device)
        self.count += 1
        done = runner.iter + 1
        if done % self.every == 0 or done == self.total:
            self._point(runner, done)

    def share(self) -> None:
        """Replace the sums of each process by their mean; nothing to do with one."""
        if self.sums:
            totals = torch.stack([total.float() for total in self.sums.values()])
            all_reduce(totals, "mean")
            self.sums = dict(zip(self.sums, totals, strict=True))

    def _point(self, runner: Runner, done: int) -> None:
        self.share()
        totals = torch.stack([total.float() for total in self.sums.values()])
        means = dict(zip(self.sums, (totals / self.count).tolist(), strict=True))
        _check_finite(means, done)
        now = time.monotonic()
        speed = self.images * self.count / (now - self.since)
        self.last = means
        self.sums, self.count, self.since = {}, 0, now
        if self.curves is None or self.progress is None:
            return
        rate = runner.optim_wrapper.get_lr()["lr"][0]
        values = {f"train/{k}": v for k, v in means.items()} | {"train/lr": rate}
        self.curves.metrics(values, step=done)
        if self.visualizer:
            runner.visualizer.add_scalars(values, step=done)
        self.progress.update(done, f"loss {means['loss']:.3f}  {speed:.1f} images/s")


def share_statistics(model: torch.nn.Module) -> None:
    """Make BatchNorm's running statistics the mean of all processes', which is what a checkpoint keeps of them."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training and m.running_mean is not None]
    all_reduce_params([b for norm in norms for b in (norm.running_mean, norm.running_var)], coalesce=False, op="mean")


def _sums(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """One number for all weights: losses can be finite and the step after them not."""
    return {"a weight": torch.stack([p.detach().float().sum() for p in model.parameters()]).sum()}


def _check_finite(losses: dict[str, Any], iteration: int) -> None:
    bad = [name for name, value in losses.items() if not math.isfinite(float(torch.as_tensor(value).detach()))]
    if bad:
        raise Failed(
            f"{', '.join(sorted(bad))} is not finite at iteration {iteration}. The last checkpoint is from before; a "
            "smaller learning rate or clip_grad in the scale's config helps; see the curves in MLflow"
        )
