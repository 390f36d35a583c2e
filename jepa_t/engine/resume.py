"""What a resume takes from a checkpoint: the state of a training. Its settings are those of the config given now."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.optim import OptimWrapper, _ParamScheduler
from torch import Tensor

from ..changes import plain
from ..errors import UserError, check_integer, check_number
from .schedule import follows_validation, replay

SETTINGS = (  # of a config: what decides the weights, and what is kept of them
    "model",
    "train_dataloader",
    "train_cfg",
    "optim_wrapper",
    "param_scheduler",
    "auto_scale_lr",
    "randomness",
    "default_hooks",
    "custom_hooks",
)
FACTS = {  # whole numbers in a checkpoint's meta, and how large they may be
    "iter": 2**53,
    "train_samples": 2**63 - 1,
    "total_batch": 2**53,
    "seed": 2**32 - 1,
    "threads": 1024,
}
NEW_STATE = ("optim_wrapper.optimizer.type", "optim_wrapper.optimizer.amsgrad")  # changed, the old state doesn't fit
PLATEAU = {"best", "num_bad_epochs", "cooldown_counter", "last_step", "_global_step"}  # state of ReduceOnPlateauLR


def settings(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config decides the weights, as plain data."""
    return {key: plain(cfg.get(key)) for key in SETTINGS}


def check_meta(filename: str, checkpoint: Mapping[str, Any]) -> None:
    """See that a checkpoint's facts are of their kinds, as those of a damaged or foreign file may not be.

    Raises:
        UserError: One isn't.
    """
    meta, hub = checkpoint["meta"], checkpoint["message_hub"]
    for name, most in FACTS.items():
        value = meta.get(name)
        if value is not None and check_integer(f"{name} in {filename!r}", value, 0) > most:
            raise UserError(f"{name} in {filename!r} is {value}; it is at most {most}")
    check_number(f"train_seconds in {filename!r}", meta.get("train_seconds", 0.0), "a number of seconds is expected")
    for name, part in (("settings", meta.get("settings", {})), ("optimizer", checkpoint["optimizer"]), ("hub", hub)):
        if not isinstance(part, Mapping):
            raise UserError(f"checkpoint {filename!r}: its {name} is a {type(part).__name__}; use an earlier one")


def restore_optimizer(wrapper: OptimWrapper, saved: Mapping[str, Any]) -> None:
    """Give an optimizer the saved averages of its gradients; its options stay.

    Raises:
        UserError: They are of other parameters, or no numbers.
    """
    now = wrapper.state_dict()
    sizes = [[len(group["params"]) for group in state["param_groups"]] for state in (saved, now)]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"the checkpoint's optimizer has groups of {sizes[0]} parameters, this config's of {sizes[1]}; go on with "
            "model.frozen, the objectives of weight 0 and optim_wrapper.paramwise_cfg as they were, or start from its "
            "weights with load_from"
        )
    parameters = [parameter for group in wrapper.param_groups for parameter in group["params"]]
    for index, state in saved["state"].items():
        for name, value in state.items():
            if not isinstance(value, Tensor) or (value.dim() and value.shape != parameters[index].shape):
                what = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
                shape = list(parameters[index].shape)
                raise UserError(f"the checkpoint's optimizer has a {name} of {what} for a parameter of {shape}")
            if not value.isfinite().all():
                raise UserError(f"the checkpoint's optimizer has a {name} that is no number; use an earlier one")
    wrapper.load_state_dict({**saved, "param_groups": now["param_groups"]})


def restore_schedules(
    schedulers: Sequence[_ParamScheduler], wrapper: OptimWrapper, checkpoint: Mapping[str, Any], steps: int
) -> None:
    """Bring new schedulers, and with them the learning rate, to where they are after ``steps``.

    They are replayed from the config's rate. Only what follows validations is read from the checkpoint, its rate as a
    share of the base rate.
    """
    replay([scheduler for scheduler in schedulers if not follows_validation(scheduler)], steps)
    for scheduler, state in zip(schedulers, checkpoint.get("param_schedulers", []), strict=False):
        if follows_validation(scheduler) and state.keys() >= PLATEAU:
            vars(scheduler).update({name: state[name] for name in PLATEAU})
            for group, saved in zip(wrapper.param_groups, checkpoint["optimizer"]["param_groups"], strict=True):
                same = group["initial_lr"] == saved["initial_lr"]
                group["lr"] = saved["lr"] if same else saved["lr"] / saved["initial_lr"] * group["initial_lr"]
