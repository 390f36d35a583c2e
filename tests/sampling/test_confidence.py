"""The order by confidence: what the objective is surest of stays, and nothing else is read."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import TOKENS, make_model, random_text, rows
from watched import Watched, denoiser, model_by, sample

from jepa_t.errors import UserError
from jepa_t.sampling import MaskedSampler

seeds = st.integers(0, 2**40)


def discrete():
    return denoiser(model_by("TokenCrossEntropy"))


def by_confidence(watched=None, text=None, **options):
    model = watched or discrete()
    return sample(model, text, **{"order": "confidence", "guidance_scale": 1.0} | options)


@given(st.integers(1, 9), st.sampled_from(["cosine", "arccos", "linear"]), st.sampled_from([0.0, None, 9.0]))
def test_by_confidence_each_position_is_kept_once_and_never_changed(steps, schedule, choice):
    watched = Watched(discrete())
    final = by_confidence(watched, steps=steps, schedule=schedule, choice_temperature=choice)
    assert len(watched.splits) == min(steps, TOKENS)
    for split, tokens in zip(watched.splits, watched.tokens, strict=True):
        assert split.visible_count + split.asked_count == TOKENS
        assert torch.equal(split.order.sort(1).values, torch.arange(TOKENS).expand(3, -1))
        for row in range(3):
            assert torch.equal(tokens[row, split.visible[row]], final[row, split.visible[row]])
    for one, following in itertools.pairwise(watched.splits):
        assert torch.equal(following.visible[:, : one.visible_count], one.visible)


@given(seed=seeds)
def test_what_is_kept_is_what_the_objective_is_surest_of(seed):
    watched = Watched(discrete())
    by_confidence(watched, steps=4, choice_temperature=0.0, batch_seeds=(seed, 1, 2))
    for drawn, split, following in zip(watched.drawn, watched.splits, watched.splits[1:], strict=False):
        kept = following.visible[:, split.visible_count :]
        sure = (split.asked[:, :, None] == kept[:, None]).any(-1)
        least = drawn.confidence.masked_fill(~sure, torch.inf).amin(1)
        assert (least >= drawn.confidence.masked_fill(sure, -torch.inf).amax(1)).all()


def test_by_confidence_what_is_not_kept_is_never_read():
    assert torch.equal(by_confidence(order={"type": "confidence"}), by_confidence())
    assert torch.equal(by_confidence(Watched(discrete(), poison=float("nan"))), by_confidence())


def test_by_confidence_an_image_does_not_depend_on_its_batch():
    text, numbers = random_text(3), (4, 5, 6)
    together = by_confidence(text=text, batch_seeds=numbers)
    for row in range(3):
        alone = by_confidence(text=rows(text, slice(row, row + 1)), batch_seeds=numbers[row : row + 1])
        torch.testing.assert_close(alone[0], together[row])


def test_the_choice_is_freer_the_higher_its_temperature():
    watched = {choice: Watched(discrete()) for choice in (0.0, 1e-6, 4.5, None)}
    for choice, model in watched.items():
        by_confidence(model, choice_temperature=choice, batch_seeds=range(8))
    first = {choice: model.splits[1].visible for choice, model in watched.items()}
    assert torch.equal(first[0.0], first[1e-6])
    assert torch.equal(first[None], first[4.5])
    assert not torch.equal(first[0.0], first[4.5])


def test_the_choice_anneals_to_0():
    plan = MaskedSampler(steps=4, order="confidence", choice_temperature=2.0)._plan(64)
    assert [step.choice_temperature for step in plan] == [1.5, 1.0, 0.5, 0.0]


def test_an_order_by_confidence_is_refused_where_there_is_none():
    with pytest.raises(UserError, match="needs an objective that says how sure it is, such as TokenCrossEntropy"):
        make_model(sampler={"order": "confidence"})
