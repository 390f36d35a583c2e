"""What a plug-in gets wrong is said in one line before step 1; and the rehearsal leaves no trace."""

import re
from dataclasses import replace

import pytest
import torch
from tiny import CAPTIONS, SIZE, config, make_model, random_images
from torch import nn

from jepa_t import backbones
from jepa_t.errors import UserError
from jepa_t.fusion import CrossAttention
from jepa_t.objectives import FeaturePrediction, FlowMatching
from jepa_t.registry import MODELS, build
from jepa_t.rehearsal import doubts, rehearse
from jepa_t.sampling import MaskedSampler
from jepa_t.structures import Drawn, Text
from jepa_t.tokenizers import PatchTokenizer, TransformerText


class Same(nn.Module):
    """A fusion that does nothing."""

    def forward(self, x, text):
        return x


class Misspelt(nn.Module):
    def forward(self, x, text):
        return self.prj(x)


class Double(nn.Module):
    def forward(self, x, text):
        return x.double()


class InEvaluation(nn.Module):
    def forward(self, x, text):
        return x if self.training else x[:, :1]


class Detaches(nn.Module):
    def forward(self, x, text):
        return x.detach()


class GivesNaN(nn.Module):
    def forward(self, x, text):
        return x * float("nan")


class InAList(nn.Module):
    """Keeps its weights where no module finds them."""

    def __init__(self, width):
        super().__init__()
        self.parts = [nn.Linear(width, width)]

    def forward(self, x, text):
        return x + self.parts[0](x)


class Noisy(nn.Module):
    def forward(self, x, text):
        return x + torch.randn_like(x)


class OverTheBatch(nn.Module):
    def forward(self, x, text):
        return x - x.mean(0, keepdim=True)


class OverThePadding(nn.Module):
    """Begins as the identity, so that only other weights show what it reads."""

    def __init__(self, width, text_width):
        super().__init__()
        self.proj = nn.Linear(text_width, width)
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    def forward(self, x, text):
        return x + self.proj(text.tokens.mean(1, keepdim=True))


class LooksTooLittle(CrossAttention):
    def attention(self, x, text):
        return super().attention(x, text)[:, :1]


class NoPadding(TransformerText):
    def forward(self, captions):
        text = super().forward(captions)
        return replace(text, valid=torch.zeros_like(text.valid))


class FloatPadding(TransformerText):
    def forward(self, captions):
        text = super().forward(captions)
        return replace(text, valid=text.valid.float())


class ShortNull(TransformerText):
    def null(self, batch):
        text = super().null(batch)
        return Text(text.tokens[..., 1:], text.valid, text.pooled)


class TokenShort(PatchTokenizer):
    def encode(self, images):
        return super().encode(images)[:, 1:]


class DrawsHalf(FlowMatching):
    def draw(self, *args, **options):
        return Drawn(super().draw(*args, **options).tokens.half())


class DrawsItsOwn(FlowMatching):
    def draw(self, *args, **options):
        return Drawn(torch.randn_like(super().draw(*args, **options).tokens))


class OneForTwo(backbones.Predictor):
    def forward(self, x, split, after_block):
        features = super().forward(x, split, after_block)
        return features - features.mean(0, keepdim=True)


class InAListAsWell(MaskedSampler):
    def __call__(self, denoiser, text, seeds):
        return list(super().__call__(denoiser, text, seeds))


class OneToken(nn.Module):
    def forward(self, x, text):
        return x[:, :1]


class NoTensor(nn.Module):
    def forward(self, x, text):
        return x, text


class ForgetsBlocks(backbones.Predictor):
    def forward(self, x, split, after_block):
        return super().forward(x, split, lambda _index, x: x)


class ForgetsContext(backbones.Predictor):
    def place(self, registers, visible, split, fuse):
        return super().place(registers, visible, split, lambda x: x)


class AllTokens(backbones.Predictor):
    def forward(self, x, split, after_block):
        super().forward(x, split, after_block)
        return x


class CallsTwice(backbones.Predictor):
    def forward(self, x, split, after_block):
        return super().forward(x, split, lambda index, x: after_block(index, after_block(index, x)))


class DropsRegisters(backbones.Predictor):
    def place(self, registers, visible, split, fuse):
        return super().place(registers, visible, split, fuse)[:, registers.shape[1] :]


class FusesRegistersAlone(backbones.Predictor):
    def place(self, registers, visible, split, fuse):
        fuse(registers)
        return super().place(registers, visible, split, lambda x: x)


class UsesPositions(backbones.Predictor):
    """Reads the split beside x, which has more rows where an image has several captions."""

    def forward(self, x, split, after_block):
        return super().forward(x, split, after_block) + self.positions[split.asked]


class OneForAll(MaskedSampler):
    def __call__(self, denoiser, text, seeds):
        return super().__call__(denoiser, text, seeds)[:1]


def half(uniform):
    return 0.5


def twice_the_same(priority, grid):
    return torch.zeros_like(priority, dtype=torch.int64)


class MisreadsTarget(FeaturePrediction):
    reads = frozenset({"feature"})


class OneOutput(backbones.ContextEncoder):
    def forward(self, tokens, positions, registers):
        return torch.cat(super().forward(tokens, positions, registers), 1)


class Idle(FlowMatching):
    """Has a layer that nothing uses."""

    def __init__(self, channels, width):
        super().__init__(channels, width, 16, 1)
        self.spare = nn.Linear(2, 2)


class NotScalar(FeaturePrediction):
    def forward(self, *args):
        return {"loss_feature": super().forward(*args)["loss_feature"].repeat(3)}


class BadName(FlowMatching):
    def forward(self, *args):
        return {"flow": super().forward(*args)["loss_flow"]}


class NoNames(FeaturePrediction):
    def forward(self, *args):
        return super().forward(*args)["loss_feature"]


class NaNLoss(FeaturePrediction):
    def forward(self, *args):
        return {"loss_feature": super().forward(*args)["loss_feature"] * float("nan")}


class DrawsATensor(FlowMatching):
    def draw(self, *args, **options):
        return super().draw(*args, **options).tokens


class DrawsTooFew(FlowMatching):
    def draw(self, *args, **options):
        return Drawn(super().draw(*args, **options).tokens[:, :1])


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
