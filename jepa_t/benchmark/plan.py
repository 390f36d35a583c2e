"""Which runs a suite asks for: every arm with every seed on every task, as configs; nothing is run yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import LARGEST, UserError, unknown
from .configs import config_hash, configure, match_parameters, step_flops, stretch, trainable_parameters, with_seed
from .samplers import SETTINGS
from .speed import NAMES as TIMED
from .speed import SAMPLINGS, SIZES
from .suites import SUITES, Arm, Arms
from .suites import sampler as sampled
from .tasks import CONFIGS, OWN, TASKS, Preset

NAMES = (*SUITES, "sampler", "speed")
TRAINED = (*SUITES, "sampler")
MEANT = {  # options of a request, and the suites that they have a meaning for
    "arms": ("--arms", NAMES),
    "configs": ("--configs", ("fusion", "sampler")),
    "fusions": ("--fusion", ("fusion", "data", "backbone")),
    "seeds": ("--seeds", TRAINED),
    "match": ("--no-match", TRAINED),
    "minutes": ("--minutes", ("speed",)),
}


@dataclass(frozen=True)
class Request:
    """What is asked of a suite beyond its preset.

    Attributes:
        tasks: Which tasks; None for all of the suite that the preset doesn't leave out.
        arms: Which arms, the first of the suite's as the reference; of ``sampler`` which settings beside the first;
            of ``speed`` which ways to sample beside the published one, and no other tasks. None for all.
        configs: Config files by arm, instead of the suite's arms; the first is the reference. Of ``fusion`` and
            ``sampler`` alone.
        fusions: Further arms by name: a component's config for each site. Of ``fusion``, ``data`` and
            ``backbone`` alone.
        seeds: How many; None for the preset's.
        match: False leaves parameter counts unmatched.
        minutes: About what a task of ``speed`` may take; None for its default.
    """

    tasks: Sequence[str] | None = None
    arms: Sequence[str] | None = None
    configs: Mapping[str, Path] = field(default_factory=dict)
    fusions: Mapping[str, dict] = field(default_factory=dict)
    seeds: int | None = None
    match: bool = True
    minutes: float | None = None


PLAIN = Request()


@dataclass(frozen=True)
class Row:
    """One run of a suite, not run yet.

    Attributes:
        task, arm, seed: Which.
        config: From :func:`~jepa_t.benchmark.configs.configure`.
        parameters: How many weights it trains.
        unmatched: How many it would, had its denoising head been left as wide as the reference's.
        budget: Steps of the reference, for as many operations where the arm has ``equal_compute``.
        series: As in :class:`~jepa_t.benchmark.suites.Arm`.
        place: The arm's place among those of the task; 0 is the reference. None for a run that fills no line and
            gives its backbone to others.
    """

    task: str
    arm: str
    seed: int
    config: Config
    parameters: int
    unmatched: int
    budget: int
    series: tuple[str, int] | None
    place: int | None

    def __str__(self) -> str:
        """For a line of the display."""
        return f"{self.task}, {self.arm}, seed {self.seed}"

    def facts(self) -> dict[str, Any]:
        """What a :class:`~jepa_t.benchmark.records.Record` says of it before it is run."""
        return {name: value for name, value in vars(self).items() if name != "config"} | {
            "config": Path(self.config.filename).name
        }


Plan = Mapping[str, list[Row]]


def plan(suite: str, preset: Preset, request: Request = PLAIN) -> Plan:
    """The runs of a suite by their hashes, each with the rows of the table that it fills.

    Raises:
        UserError: A name is unknown, a config is wrong, or an option doesn't belong to the suite.
    """
    _check(suite, request)
    if suite == "speed":
        return {}
    planned: dict[str, list[Row]] = {}
    for task, arms in _tasks(suite, preset, request).items():
        config = CONFIGS / TASKS[task].config if task in TASKS else next(iter(request.configs.values()))
        chosen = _chosen(arms, None if suite == "sampler" else _named(request))
        for row in rows(arms, task, config, preset, request.seeds, request.match, chosen):
            planned.setdefault(config_hash(row.config), []).append(row)
    return planned


def _check(suite: str, request: Request) -> None:
    """See that the suite exists, and that each option has a meaning for it."""
    if suite not in NAMES:
        raise unknown("suite", suite, NAMES)
    for name, (option, suites) in MEANT.items():
        if vars(request)[name] != vars(PLAIN)[name] and suite not in suites:
            raise UserError(f"{option} has no meaning for {suite!r}; use {' or '.join(suites)}")
    if request.minutes is not None and not 0 < request.minutes < LARGEST:
        raise UserError(f"--minutes is {request.minutes}; use more than 0")
    if suite == "speed":
        _known(f"task of the suite {suite!r}", request.tasks, TIMED)
        _known(f"arm of the suite {suite!r}", request.arms, SAMPLINGS)
        if request.arms is not None and (other := [name for name in request.tasks or () if name not in SIZES]):
            raise UserError(f"--arms of 'speed' are ways to sample, which {other[0]!r} has none of; leave it out")
    if suite == "sampler":
        _known(f"setting of the suite {suite!r}", request.arms, SETTINGS)


def _tasks(suite: str, preset: Preset, request: Request) -> dict[str, Arms]:
    """All arms of each task that is asked for."""
    tasks = _arms(suite, request)
    _known(f"task of the suite {suite!r}", request.tasks, tasks)
    wanted = request.tasks or [task for task in tasks if task not in preset.left_out] or tasks
    tasks = {task: arms for task, arms in tasks.items() if task in wanted}
    if suite == "sampler":
        return tasks
    _known(f"arm of the suite {suite!r}", request.arms, {arm for arms in tasks.values() for arm in arms})
    named = _named(request)
    for task in request.tasks or ():
        if not _chosen(tasks[task], named):
            raise UserError(
                f"the task {task!r} of {suite!r} has none of the arms {', '.join(named or ())}; leave it out"
            )
    return {task: arms for task, arms in tasks.items() if _chosen(arms, named)}


def _named(request: Request) -> list[str] | None:
    """The arms that are asked for, with fusions of one's own; None for all."""
    return None if request.arms is None else [*request.arms, *request.fusions]


def _arms(suite: str, request: Request) -> dict[str, Arms]:
    """The arms of all tasks: the suite's, or those of configs of one's own."""
    own = {name: Arm({"model": {"fusion": sites}}) for name, sites in request.fusions.items()}
    if request.configs:
        arms = {name: Arm(config=path) for name, path in request.configs.items()}
        for name in own.keys() & arms.keys():
            raise UserError(f"two arms are called {name!r}; rename the config's file")
        return {OWN: arms | own}
    return (SUITES | {"sampler": sampled})[suite](own)


def _known(what: str, given: Sequence[str] | None, choices: Any) -> None:
    for name in given or []:
        if name not in choices:
            raise unknown(what, name, choices)


def _chosen(arms: Arms, named: Sequence[str] | None) -> list[str]:
    return [name for name in arms if named is None or name in named]


def rows(
    arms: Arms,
    task: str,
    config: Path,
    preset: Preset,
    seeds: int | None = None,
    match: bool = True,
    chosen: Sequence[str] | None = None,
) -> list[Row]:
    """All runs of one task: every arm with every seed, the seeds outermost.

    Args:
        arms: All of the task's. The first is what the others' parameters, operations and prompts are compared with,
            so a run is the same whichever others are asked for.
        task: Its name, for the tables.
        config: What the arms' changes are merged into.
        preset: How much to spend.
        seeds: How many seeds; by default the preset's.
        match: False leaves all parameter counts as they are.
        chosen: Arms to run; by default all.

    Raises:
        UserError: A config is wrong, its test isn't that of the others, or the parameters can't be matched within
            2 %.
    """
    if (count := preset.seeds if seeds is None else seeds) < 1:
        raise UserError(f"--seeds is {count}; use at least 1")
    validation = TASKS[task].validation if task in TASKS else None
    named = (TASKS[task].published if task in TASKS else None) or task  # trained for as long
    budget = preset.steps.get(named) or configure(config).train_cfg.max_iters
    first, made = next(iter(arms)), []

    def configured(arm: Arm) -> Config:
        return configure(arm.config or config, arm.changes, 0, budget, preset.prompts, validation)

    reference = configured(arms[first])
    target = trainable_parameters(reference)
    plain = trainable_parameters(configured(Arm())) if any(arm.backbone for arm in arms.values()) else target
    for place, name in enumerate(arms if chosen is None else chosen):
        arm, cfg = arms[name], reference if name == first else configured(arms[name])
        if _asked(cfg) != _asked(reference):
            raise UserError(
                f"the test of {name!r} (test_dataloader.dataset, test_evaluator) isn't that of {first!r}; "
                "arms are compared prompt by prompt, so give all configs the same"
            )
        unmatched = parameters = target if cfg is reference else trainable_parameters(cfg)
        if match and arm.match and unmatched != target:
            cfg = match_parameters(cfg, target)
            parameters = trainable_parameters(cfg)
        if arm.equal_compute:
            stretch(cfg, round(budget * step_flops(reference) / step_flops(cfg)))
        numbers = parameters, unmatched, budget, arm.series, place
        made += [Row(task, name, seed, with_seed(cfg, seed), *numbers) for seed in range(count)]
        if arm.backbone is not None:
            stage = configured(arm.backbone)
            matched = match_parameters(stage, plain) if match and arm.backbone.match else stage
            made += _first_stages(made[-count:], matched)
    return sorted(made, key=lambda row: row.seed)


def _first_stages(second: Sequence[Row], first: Config) -> list[Row]:
    """The runs that come before others, which get their hashes."""
    made = []
    for row in second:
        cfg = with_seed(first, row.seed)
        row.config.backbone = config_hash(cfg)
        made.append(replace(row, arm=f"backbone {row.arm}", config=cfg, place=None))
    return made


def _asked(cfg: Config) -> tuple[Any, Any]:
    return cfg.test_dataloader.dataset, cfg.test_evaluator
