"""What a plug-in gets wrong is said in one line before step 1; and the rehearsal leaves no trace."""

import re

import pytest
import torch
from broken_components import (
    AllTokens,
    BadName,
    CallsTwice,
    Detaches,
    Double,
    DrawsATensor,
    DrawsHalf,
    DrawsItsOwn,
    DrawsTooFew,
    DropsRegisters,
    FloatPadding,
    ForgetsBlocks,
    ForgetsContext,
    FusesRegistersAlone,
    GivesNaN,
    Idle,
    InAList,
    InAListAsWell,
    InEvaluation,
    LooksTooLittle,
    MisreadsTarget,
    Misspelt,
    NaNLoss,
    Noisy,
    NoNames,
    NoPadding,
    NoTensor,
    NotScalar,
    OneForAll,
    OneForTwo,
    OneOutput,
    OneToken,
    OverTheBatch,
    OverThePadding,
    Same,
    ShortNull,
    TokenShort,
    UsesPositions,
    half,
    twice_the_same,
)
from tiny import CAPTIONS, SIZE, config, make_model, random_images

from jepa_t.errors import UserError
from jepa_t.objectives import FeaturePrediction
from jepa_t.registry import MODELS, build
from jepa_t.rehearsal import doubts, rehearse

SMALL = {"head_width": 16, "head_depth": 1}
FLOW = {"type": "FlowMatching", **SMALL}
PREDICTOR = {"depth": 2, "heads": 2}


def objective(kind, beside=True, again=None, **options):
    """Changes that put an objective into the model, beside flow matching or in its place, and one more."""
    own = {"own": {"type": kind, **options}} | ({"again": again} if again else {})
    return {"objectives": {"flow": FLOW, **own} if beside else own}


def at_features(kind):
    """Changes that put a fusion beside one that reads the text."""
    return {"fusion": {"features": {"type": kind}, "objective": {"type": "Concat"}}}


BROKEN = {
    "a fusion that drops tokens": ({"fusion": {"features": {"type": OneToken}}}, "features: OneToken returned [2, 1,"),
    "a fusion of two": ({"fusion": {"predictor": {"type": NoTensor}}}, "fusion.predictor: NoTensor returned a tuple"),
    "a slip of the pen": (at_features(Misspelt), "fusion.features: Misspelt: AttributeError: "),
    "another kind of numbers": (
        {"fusion": {"features": {"type": Double}}},
        "Double returned torch.float64 on cpu; torch",
    ),
    "wrong in evaluation alone": (
        at_features(InEvaluation),
        "features: InEvaluation returned [4, 1,",
    ),
    "no gradient": (
        {"fusion": {"features": {"type": Detaches}}},
        "features: Detaches returned a tensor without gradient",
    ),
    "no number": ({"fusion": {"predictor": {"type": GivesNaN}}}, "fusion.predictor: GivesNaN returned NaN or infinity"),
    "weights in a list": (at_features(InAList), "features: InAList uses a weight [16"),
    "noise of its own": (at_features(Noisy), "fusion.features: Noisy gives other numbers in a"),
    "a mean over the batch": (at_features(OverTheBatch), "OverTheBatch mixes the images of a"),
    "a mean over padding": (
        {"fusion": {"features": {"type": OverThePadding}}},
        "OverThePadding reads the text's padding",
    ),
    "attention of one token": (
        {"fusion": {"features": {"type": LooksTooLittle}}},
        "LooksTooLittle.attention returned [2, 1",
    ),
    "nothing valid": ({"text_tokenizer": {"type": NoPadding}}, "text_tokenizer: NoPadding returned valid as"),
    "valid as numbers": ({"text_tokenizer": {"type": FloatPadding}}, "FloatPadding returned valid as torch.float32"),
    "a narrow null text": (
        {"text_tokenizer": {"type": ShortNull, "width": 12}},
        "ShortNull.null, tokens returned [2, 16, 11]; [2",
    ),
    "a token short": (
        {"image_tokenizer": {"type": TokenShort, "size": SIZE, "patch": 2}},
        "image_tokenizer: TokenShort gave tokens [2, 5",
    ),
    "half precision": (
        objective(DrawsHalf, beside=False, **SMALL),
        "own: DrawsHalf.draw returned torch.float16 on cpu",
    ),
    "draws of its own": (
        objective(DrawsItsOwn, beside=False, **SMALL),
        "or DrawsItsOwn.draw gives other images of the",
    ),
    "one image from two": (
        {"predictor": {"type": OneForTwo, **PREDICTOR}},
        "predictor: OneForTwo mixes the images of a",
    ),
    "a list of images": ({"sampler": {"type": InAListAsWell, "steps": 2}}, "sampler: InAListAsWell: AttributeError: "),
    "a block's fusion never called": (
        {"fusion": {"blocks": {"type": Same}}, "predictor": {"type": ForgetsBlocks, **PREDICTOR}},
        "fusion.blocks.0 was never called: predictor ForgetsBlocks must call after_block",
    ),
    "a context fusion never called": (
        {"fusion": {"context": {"type": Same}}, "predictor": {"type": ForgetsContext, **PREDICTOR}},
        "fusion.context was never called: predictor ForgetsContext must call fuse",
    ),
    "a block's fusion called twice": (
        {"fusion": {"blocks": {"type": Same}}, "predictor": {"type": CallsTwice, **PREDICTOR}},
        "fusion.blocks.0 was called 2 times by predictor CallsTwice",
    ),
    "a context of registers alone": (
        {
            "fusion": {"context": {"type": Same}},
            "predictor": {"type": FusesRegistersAlone, **PREDICTOR},
            "mask_ratio": {"type": half},
        },
        "fusion.context was given 6 tokens; 9 are expected there",
    ),
    "a place without registers": (
        {"predictor": {"type": DropsRegisters, **PREDICTOR}},
        "predictor: DropsRegisters.place returned [2, 6, 16]; [2, 12, 16] is expected",
    ),
    "one image for all": ({"sampler": {"type": OneForAll, "steps": 2}}, "sampler: OneForAll returned [1, 6, 5]; [2, 6"),
    "no permutation": ({"sampler": {"order": twice_the_same}}, "gave no permutation of the 6 tokens"),
    "another's name": (
        objective(FeaturePrediction, again={"type": FeaturePrediction}),
        "gives 'loss_feature', as",
    ),
    "a target that isn't there": (objective(MisreadsTarget), "objectives.own: MisreadsTarget.reads is"),
    "all tokens": ({"predictor": {"type": AllTokens, **PREDICTOR}}, "predictor: AllTokens returned [2, "),
    "one output": (
        {"encoder": {"type": OneOutput, "depth": 1, "heads": 2, "registers": 6}},
        "encoder: OneOutput returned a Tensor; return registers and tokens",
    ),
    "an idle layer": (objective(Idle, beside=False), "model.objectives.own.spare.weight is trained and no"),
    "a loss of three numbers": (objective(NotScalar), "loss_feature is [3]; a loss is a tensor with a single number"),
    "a name that doesn't count": (objective(BadName, beside=False, **SMALL), "gave ['flow']; training sums"),
    "a loss without a name": (objective(NoNames), "objectives.own: NoNames returned a Tensor; return named losses"),
    "a loss that is no number": (objective(NaNLoss), "loss_feature is nan before the first step"),
    "a bare tensor": (objective(DrawsATensor, beside=False, **SMALL), "DrawsATensor.draw returned a Tensor; return"),
    "too few tokens": (objective(DrawsTooFew, beside=False, **SMALL), "DrawsTooFew.draw gave tokens [2, 1, 5]"),
}


def fitted(**changes):
    model = build(config(**changes), MODELS)
    model.fit(random_images(64), CAPTIONS)
    return model


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_said_in_one_line(name):
    changes, message = BROKEN[name]
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        rehearse(fitted(**changes), random_images(2), CAPTIONS[:2])  # what the building refuses comes sooner still
    assert "\n" not in str(caught.value)


def test_a_caption_that_is_read_later_is_read_now():
    with pytest.raises(UserError, match=r"PreviewHook captions: the caption .* has .* tokens and the model reads 6"):
        rehearse(fitted(), random_images(2), CAPTIONS[:2], {"PreviewHook captions": ["red " * 9]})


def test_what_reading_a_caption_raises_is_told_with_its_component(monkeypatch):
    model = fitted()
    monkeypatch.setattr(model.network.text_tokenizer, "ids", lambda captions: captions[1])
    with pytest.raises(UserError, match=r"text_tokenizer: TransformerText\.ids: IndexError: .*test_rehearsal"):
        rehearse(model, random_images(2), CAPTIONS[:2], {"PreviewHook captions": ["red"]})


@pytest.mark.parametrize("fusion", ["none", "early", "late", "jepa_t"])
def test_what_is_sound_passes_and_nothing_has_changed(fusion):
    model = make_model(fusion=fusion)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stream, modes = torch.get_rng_state(), [module.training for module in model.modules()]
    rehearse(model, random_images(2), CAPTIONS[:2])
    assert torch.equal(torch.get_rng_state(), stream)
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_predictor_that_reads_the_split_draws_under_guidance():
    rehearse(fitted(predictor={"type": UsesPositions, **PREDICTOR}), random_images(2), CAPTIONS[:2])


def test_guidance_that_is_learned_in_passes_twice_and_a_second_call_is_still_told():
    flow = {"type": "FlowMatching", **SMALL, "learns_guidance": True}
    rehearse(fitted(objectives={"flow": flow}), random_images(2), CAPTIONS[:2])
    changes, says = BROKEN["a block's fusion called twice"]
    with pytest.raises(UserError, match=re.escape(says)):
        rehearse(fitted(objectives={"flow": flow}, **changes), random_images(2), CAPTIONS[:2])


def test_captions_never_read_and_a_null_text_never_trained_are_told():
    def lines(**changes):
        return doubts(make_model(**changes))

    guided, plain = ({"sampler": {"guidance_scale": scale}} for scale in (2.0, 1.0))
    assert "no caption is ever read" in lines(text_drop=1.0, **plain)[0]
    assert "the null text" in lines(text_drop=0.0, **guided)[0]
    assert lines(text_drop=0.0, **plain) == lines(text_drop=0.1, **guided) == []


def test_an_objective_of_weight_0_is_not_trained():
    """So that several processes don't wait for its gradients."""
    model = fitted(objectives={"flow": FLOW, "off": {"type": "FeaturePrediction", "weight": 0.0}})
    assert not any(parameter.requires_grad for parameter in model.network.objectives["off"].parameters())
    assert all(parameter.requires_grad for parameter in model.network.objectives["flow"].parameters())
    rehearse(model, random_images(2), CAPTIONS[:2])
