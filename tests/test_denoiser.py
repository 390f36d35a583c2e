"""What a sampler sees of a model: tokens, and of a discrete tokenizer codes, whatever the objective draws."""

from types import SimpleNamespace

import pytest
import torch
from tiny import CHANNELS, WIDTH, CodedPatches, generator, make_objective, make_tokenizer, seeded, shared_tokenizer

from jepa_t.denoiser import Denoiser
from jepa_t.errors import UserError
from jepa_t.structures import Drawn

CONDITION = torch.randn(3, 4, WIDTH, generator=generator(0))


def draw(objective, tokenizer):
    return Denoiser(SimpleNamespace(generative=objective), tokenizer).draw(CONDITION, seeded(3), solver_steps=2)


class Draws:
    """An objective that draws what it is told."""

    gives_confidence = False

    def __init__(self, drawn):
        self.drawn = drawn

    def draw(self, *_, **__):
        return self.drawn


@pytest.mark.parametrize("patch", [1, 2])
def test_what_a_continuous_objective_draws_over_a_discrete_tokenizer_is_made_of_codes(patch):
    tokenizer = make_tokenizer("VQTokenizer", size=(4 * patch, 6 * patch), patch=patch)
    objective = make_objective("FlowMatching", channels=tokenizer.channels)
    raw, tokens = objective.draw(CONDITION, seeded(3), solver_steps=2).tokens, draw(objective, tokenizer).tokens
    assert not torch.equal(raw, tokens)
    assert torch.equal(tokenizer.quantize(raw), tokens)
    pieces = tokens.unflatten(-1, (-1, patch**2)).movedim(-1, -2)  # of codes
    assert (pieces[..., None, :] == tokenizer.codes).all(-1).any(-1).all()


def test_ids_become_their_codes_and_what_is_continuous_stays():
    ids, tokenizer = torch.randint(9, (3, 4), generator=generator(0)), CodedPatches()
    drawn = draw(Draws(Drawn(ids=ids, confidence=ids.float())), tokenizer)
    assert torch.equal(drawn.tokens, tokenizer.embed(ids))
    assert torch.equal(drawn.confidence, ids.float())
    raw = torch.randn(3, 4, shared_tokenizer("PatchTokenizer").channels)
    assert torch.equal(draw(Draws(Drawn(raw)), shared_tokenizer("PatchTokenizer")).tokens, raw)


@pytest.mark.parametrize(
    ("drawn", "says"),
    [
        (torch.zeros(3, 4, CHANNELS), r"Draws.draw returned a Tensor; return jepa_t.structures.Drawn\(tokens=...\)"),
        (Drawn(torch.zeros(3, 4)), r"Draws.draw gave tokens \[3, 4\]; \[3, 4, 12\] were asked for"),
        (Drawn(ids=torch.zeros(3, 4).long()), r"Draws.draw gave tokens none; \[3, 4, 12\] were asked for"),
    ],
)
def test_an_objective_that_draws_something_else_is_told(drawn, says):
    with pytest.raises(UserError, match=says):
        draw(Draws(drawn), shared_tokenizer("PatchTokenizer"))
