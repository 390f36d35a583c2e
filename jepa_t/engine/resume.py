"""What a resume takes from a checkpoint: the state of a training. Its settings are those of the config given now."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.optim import OptimWrapper, _ParamScheduler

from ..errors import UserError
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
NEW_STATE = ("optim_wrapper.optimizer.type", "optim_wrapper.optimizer.amsgrad")  # changed, the old state doesn't fit
PLATEAU = {"best", "num_bad_epochs", "cooldown_counter", "last_step", "_global_step"}  # state of ReduceOnPlateauLR


def plain(value: Any) -> Any:
    """A config without objects: a class becomes its dotted path."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return f"{value.__module__}.{value.__qualname__}" if callable(value) else value


def settings(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config decides the weights, as plain data."""
    return {key: plain(cfg.get(key)) for key in SETTINGS}


def differences(before: Any, now: Any, place: str = "") -> dict[str, tuple[Any, Any]]:
    """The values of two plain configs that differ, old and new by dotted key; None where there is none."""
    if isinstance(before, list) and isinstance(now, list):
        before, now = dict(enumerate(before)), dict(enumerate(now))
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return {} if before == now else {place: (before, now)}
    found = {}
    for key in [*before, *(key for key in now if key not in before)]:
        found |= differences(before.get(key), now.get(key), f"{place}.{key}" if place else str(key))
    return found


def in_lines(changed: Mapping[str, tuple[Any, Any]]) -> Iterator[str]:
    """A line for each changed value."""
    for key, (before, now) in changed.items():
        yield f"{key} is {now!r} and was {before!r}"


def restore_optimizer(wrapper: OptimWrapper, saved: Mapping[str, Any]) -> None:
    """Give an optimizer the saved averages of its gradients; its options stay.

    Raises:
        UserError: They are of other parameters.
    """
    now = wrapper.state_dict()
    sizes = [[len(group["params"]) for group in state["param_groups"]] for state in (saved, now)]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"the checkpoint's optimizer has groups of {sizes[0]} parameters, this config's of {sizes[1]}; go on with "
            "model.frozen and optim_wrapper.paramwise_cfg as they were, or start from its weights with load_from"
        )
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
