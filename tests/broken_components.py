"""Components that each break one thing of their contract."""

from dataclasses import replace

import torch
from torch import nn

from jepa_t import backbones
from jepa_t.fusion import CrossAttention
from jepa_t.objectives import FeaturePrediction, FlowMatching
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
