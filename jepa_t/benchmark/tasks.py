"""What is to be learned, and how much a suite spends on it."""

from dataclasses import dataclass, replace

from ..files import CONFIGS as CONFIGS


@dataclass(frozen=True)
class Task:
    """What is to be learned, and the figures that tell.

    Attributes:
        config: A config file, by its name in ``configs/``.
        figures: Names of the figures that stand in tables and plots, the deciding ones first.
        validation: Splits of the validation prompts, seen ones first.
        labels: Config of the labelled images that encoders are probed with, but their part; None where they aren't.
        published: Of a task whose models are trained to be drawn from in few evaluations: the task whose plain models,
            drawn from as published, it is compared with too.
    """

    config: str
    figures: tuple[str, ...]
    validation: tuple[str, ...]
    labels: dict | None = None
    published: str | None = None


@dataclass(frozen=True)
class Preset:
    """How much a suite spends.

    Attributes:
        seeds: How many runs an arm gets.
        steps: Of training, by task; a task that isn't named takes its config's own.
        prompts: Per split.
        left_out: Tasks, and of ``all`` suites, that run only when they are asked for by name.
    """

    seeds: int
    steps: dict[str, int]
    prompts: int
    left_out: tuple[str, ...] = ()


SHAPES = Task(
    "jepat_shapes.py",
    (
        "unseen/located/all",
        "unseen/related/all",
        "unseen/swap_group",
        "unseen_synonym/located/all",
        "unseen_synonym/related/all",
        "seen/located/all",
        "seen/related/all",
        "unseen_template/located/all",
        "unseen_template/related/all",
        "unseen_binding/all",
        "residual",
        "diversity",
    ),
    ("seen", "unseen_place", "unseen_relation"),
)
DIGITS = Task(
    "jepat_digits.py",
    ("unseen/all", "synonym/all", "seen/all", "paraphrase/all", "frechet"),
    ("seen", "unseen"),
)
BINDINGS = Task(
    "ablation/bindings.py",
    ("unseen_binding/all", "unseen_binding/colour", "unseen_binding/shape", "unseen/all", "seen/all", "residual"),
    ("seen", "unseen_binding"),
)
EMOJI = Task(
    "ablation/emoji.py",
    (
        "seen/r1",
        "seen/r5",
        "unseen_tone/r1",
        "unseen_tone/r5",
        "unseen_tone/skin",
        "unseen_gender/r1",
        "unseen_gender/r5",
        "unseen_gender/gender",
        "objects/r1",
        "objects/r5",
        "paraphrase/r1",
        "paraphrase/r5",
        "synonym/r1",
        "synonym/r5",
        "unseen_tone/error",
        "seen/frechet",
    ),
    ("seen", "unseen_tone", "unseen_gender"),
)
TASKS = {
    "shapes": SHAPES,
    # The same for longer, and what two objects need of it first: order and binding come late.
    "relations": replace(SHAPES, figures=(*SHAPES.figures[1:3], SHAPES.figures[0], *SHAPES.figures[3:])),
    "pairs": Task(
        "jepat_digits_pairs.py",
        ("unseen/all", "swap_group", "seen/all", "paraphrase/all", "frechet"),
        ("seen", "unseen"),
    ),
    "classes": Task(
        "jepat_shapes.py",
        ("class_only/all", "seen/single/all", "seen/located/all", "seen/related/all", "residual", "diversity"),
        ("seen",),
    ),
    "digits": DIGITS,
    "pixels": replace(DIGITS, config="jepat_digits_pixels.py"),
    "probes": replace(
        DIGITS,
        figures=(
            *("linear/digit", "nearest/digit", "context/linear/digit", "context/nearest/digit"),
            *("linear/ink", "linear/paper", "null/frechet", *DIGITS.figures),
        ),
        labels={"type": "LabelledDigits"},
    ),
    "probes-shapes": replace(
        SHAPES,
        figures=(
            *(f"{probe}/{label}" for label in ("shape", "colour", "place") for probe in ("linear", "nearest")),
            *("context/linear/shape", "null/residual", "null/diversity", *SHAPES.figures),
        ),
        labels={"type": "LabelledShapes"},
    ),
    "reuse": DIGITS,
    "reuse-classes": replace(DIGITS, figures=("seen/all", "frechet")),
    "reuse-sentences": DIGITS,
    "bindings": BINDINGS,
    "bindings-small": replace(BINDINGS, config="ablation/bindings_small.py"),
    "bindings-related": replace(
        BINDINGS,
        config="ablation/bindings_related.py",
        figures=(
            *(
                f"{split}/{family}/all"
                for split in ("unseen_binding", "unseen", "seen")
                for family in ("related", "located")
            ),
            *("unseen/swap_group", "residual"),
        ),
    ),
    "probes-emoji": replace(
        EMOJI,
        figures=(
            *(f"{probe}/{label}" for label in ("group", "role", "tone") for probe in ("linear", "nearest")),
            *("context/linear/role", "null/seen/frechet", *EMOJI.figures),
        ),
        labels={"type": "LabelledEmoji", "pixels": 32},
    ),
    "emoji": EMOJI,
}

DRAWN = ("digits", "pixels", "shapes", "emoji")  # tasks of the sampler suite
FEW = ("few", "one")  # the presets that other trainings are for, which are tasks of their own: pixels-few, emoji-one
TASKS |= {f"{task}-{preset}": replace(TASKS[task], published=task) for task in DRAWN for preset in FEW}
NAMED = tuple(name for name, task in TASKS.items() if task.published)  # run only when asked for by name

SLOW = "emoji", "probes-emoji"  # they judge among all emoji
OWN = "own"  # the task of configs of one's own
PRESETS = {
    "smoke": Preset(1, dict.fromkeys((*TASKS, OWN), 16), 8, left_out=(*SLOW, *NAMED)),  # a minute for each run
    "quick": Preset(
        3,
        {
            "shapes": 2500,
            "classes": 2500,
            "relations": 5000,
            "pairs": 1500,
            "digits": 1000,
            "pixels": 1600,
            "emoji": 1000,
            "probes": 750,
            "reuse": 750,
            "reuse-classes": 750,
            "reuse-sentences": 750,
            "probes-shapes": 2500,
            "probes-emoji": 1000,
            "bindings": 5000,
            "bindings-small": 5000,
        },
        200,
        # hours, where the rest of a suite takes half of one
        left_out=("relations", "pairs", "recipe", "backbone", "probes-shapes", "composition", *SLOW, *NAMED),
    ),
    "full": Preset(5, {}, 400, left_out=("relations", *NAMED)),  # at its own length the same as shapes
}
