"""Wrong values for every option there is: each must be a clear line, or mean what the documentation says."""

import copy
import inspect
import json
import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import children
import commands
import small_configs
import tiny_run
from meanings import meaning
from rows import Row

from jepa_t.engine import JEPATRunner, config, load_config, loops
from jepa_t.engine.components import component_at, default, options
from jepa_t.errors import UserError
from jepa_t.pipeline import Pipeline

WRONG: list[Any] = [
    None, True, -1, 0, 1, 2, 1.5, -0.5, 2**63, 10**20, math.inf, math.nan, "", "é", "no such thing", "../../x",
    [], {}, [[1]], [None], {"type": "os.system"},
]  # fmt: skip
PROCESSOR, MEMORY = 40, 3 * 2**30  # seconds and bytes that one value may cost
REFUSED, ACCEPTED, LATE, BROKEN = "refused", "accepted", "late", "broken"


@dataclass(frozen=True)
class Case:
    """A value for an option.

    Attributes:
        where: The option's name, for people.
        value: The wrong value.
        try_it: Tries it; raises what a user would meet.
        default: What the option is where it isn't given; empty if it must be.
    """

    where: str
    value: Any
    try_it: Callable[[], object]
    default: Any = inspect.Parameter.empty

    def __str__(self) -> str:
        return f"{self.where}={self.value!r}"


_begun = False


def storm(count: int, random: Random) -> Row:
    """Try ``count`` cases, drawn at random from all."""
    row, tally = Row("wrong values"), dict.fromkeys((REFUSED, ACCEPTED), 0)
    with children.scratch() as folder:
        commands.prepare(folder)
        pipeline = Pipeline.from_pretrained(tiny_run.checkpoint(), device="cpu")
        of_commands = (Case(*parts) for parts in commands.cases(folder))
        every = [*config_cases(folder), *of_commands, *pipeline_cases(pipeline)]
        cases = random.sample(every, min(count, len(every)))
        for case, outcome, said in outcomes(cases, folder):
            row.tried += 1
            meant = outcome == ACCEPTED and meaning(case.where, case.value, case.default)
            if outcome == REFUSED or meant:
                tally[outcome] += 1
            else:
                row.wrong(f"{case}: {outcome}: {said}")
    row.facts = f"of {len(every):,}; {tally[REFUSED]:,} told in a line, {tally[ACCEPTED]} with a meaning"
    return row


def outcomes(cases: list[Case], folder: Path) -> Iterator[tuple[Case, str, str]]:
    """What became of each: as many in one child as it bears; one that a child died of is tried alone."""
    done = 0
    while done < len(cases):
        left = cases[done:]
        ended = children.run(lambda: _look(left), folder, memory=MEMORY, processor=PROCESSOR)  # noqa: B023
        found = [json.loads(line[2:]) for line in ended.said.splitlines() if line.startswith("# ")]
        for case, (outcome, said) in zip(left, found, strict=False):
            yield case, outcome, said
        done += len(found)
        if done < len(cases) and len(found) < len(left):
            yield cases[done], *_alone(cases[done], folder)
            done += 1


def _look(cases: list[Case]) -> None:
    """Try cases until one begins to train, after which other cases need another child."""
    loops.TrainLoop._step = _noting(loops.TrainLoop._step)
    for case in cases:
        outcome, said = _outcome(case)
        print("#", json.dumps([outcome, said]), flush=True)
        if _begun:
            return


def _alone(case: Case, folder: Path) -> tuple[str, str]:
    ended = children.run(lambda: _look([case]), folder, memory=MEMORY, processor=PROCESSOR)
    found = [json.loads(line[2:]) for line in ended.said.splitlines() if line.startswith("# ")]
    return found[0] if found else (BROKEN, f"code {ended.code}: {ended.line}")


def _outcome(case: Case) -> tuple[str, str]:
    global _begun
    try:
        case.try_it()
    except UserError as error:
        said = str(error)
        if "\n" in said or not said:
            return BROKEN, f"not one line: {said!r}"
        return (LATE if _begun else REFUSED), said
    except SystemExit as stop:
        return BROKEN, f"left with {stop.code!r}"
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        return BROKEN, f"{type(error).__name__}: {error} ({frames[-1].filename}:{frames[-1].lineno})"
    return ACCEPTED, ""


# Keys of a config


def config_cases(folder: Path, names: Sequence[str] = small_configs.NAMES) -> Iterator[Case]:
    """Every key of some small trainings' configs, and every further option of their components, each once."""
    seen: set[tuple[Any, str]] = set()
    for file in (str(folder / name) for name in names):
        read = config._read(file)
        for place, node in _nodes(read.to_dict(), ""):
            user = component_at(node, place)
            keys = {*node, *options(user, place)} - {"self", "cfg", "custom_imports"}
            for key in sorted(key for key in keys if not key.startswith("_") and (user or place, key) not in seen):
                where, unset = f"{place}.{key}".lstrip("."), default(user, key)
                seen.add((user or place, key))
                for value in WRONG:
                    yield Case(where, value, lambda r=read, w=where, v=value: _train(r, w, v), unset)


def _nodes(node: Any, place: str) -> Iterator[tuple[str, dict]]:
    if isinstance(node, dict):
        yield place, node
        for key, child in node.items():
            if not key.startswith("_"):
                yield from _nodes(child, f"{place}.{key}".lstrip("."))
    elif isinstance(node, list):
        for number, child in enumerate(node):
            yield from _nodes(child, f"{place}.{number}")


def _train(read: Any, where: str, value: Any) -> None:
    """Train two steps, draw two prompts and measure them, with one value of a config changed."""
    before, config._read = config._read, lambda _path: copy.deepcopy(read)
    try:
        changed = copy.deepcopy(read.to_dict())
        changed["train_cfg"]["max_iters"] = 2
        if "per_split" in (prompts := changed["test_dataloader"]["dataset"]):
            prompts["per_split"] = 2
        node, (*parents, last) = changed, where.split(".")
        for part in parents:
            node = node[int(part)] if isinstance(node, list) else node[part]
        node[last] = value
        config._read = lambda _path: type(read)(changed, cfg_text="", filename=read.filename)
        commands.clear(Path())
        cfg = load_config(read.filename, None, "work")
    finally:
        config._read = before
    if cfg.get("train_cfg") is None:
        raise UserError("it has no train_cfg")
    runner = JEPATRunner.from_cfg(cfg)
    runner.train()
    if runner.test_loop:
        runner.test()


def _noting(step: Callable) -> Callable:
    def noted(self: Any, batches: Any) -> None:
        global _begun
        _begun = True
        step(self, batches)
        self.stop_training = self._iter >= 2

    return noted


# A pipeline's call


def pipeline_cases(pipeline: Pipeline) -> Iterator[Case]:
    """Every option of a pipeline's call, of its sampler, and of what its objective draws with."""
    plain = {"captions": ["a red three"], "seeds": [0]}
    called = inspect.signature(Pipeline.__call__).parameters
    defaults = {name: option.default for name, option in called.items() if name not in ("self", "sampler")}
    for name, unset in (defaults | dict.fromkeys([*vars(pipeline.model.sampler), "preset"])).items():
        for value in WRONG:
            given = plain | {name: value}
            yield Case(f"draw {name}", value, lambda g=given: pipeline(**g), unset)
    for name in ("solver", "solver_steps"):
        for value in WRONG:
            given = plain | {"draw": {name: value}}
            yield Case(f"draw draw.{name}", value, lambda g=given: pipeline(**g), None)
