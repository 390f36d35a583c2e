"""The contract of the fusions, over every registered one, and each by its formula."""

import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import (
    LENGTH,
    TEXT_WIDTH,
    WIDTH,
    config,
    float64,
    generator,
    gradients,
    make_fusion,
    make_model,
    random_split,
    random_text,
    random_tokens,
    registered,
    rows,
)
from torch import nn

from jepa_t.errors import UserError
from jepa_t.registry import FUSIONS
from jepa_t.structures import Split, Text

NAMES = registered(FUSIONS)
ENTERS = {
    "InContext",
    "TextTokens",
}  # these put the text into the first tokens of x, and so treat them unlike the others
every = pytest.mark.parametrize("name", NAMES)
seeds = st.integers(0, 1000)
counts = st.integers(LENGTH, LENGTH + 4)


def image(seed, count=LENGTH + 3, batch=2):
    return torch.randn(batch, count, WIDTH, generator=generator(seed))


def padded(text, more, seed=9):
    """The same captions behind which lie more tokens of padding, with other noise under all padding."""
    noise = torch.randn(len(text.tokens), LENGTH + more, TEXT_WIDTH, generator=generator(seed))
    tokens = torch.where(text.valid[..., None], text.tokens, noise[:, :LENGTH])
    valid = nn.functional.pad(text.valid, (0, more))
    return Text(torch.cat([tokens, noise[:, LENGTH:]], 1), valid, text.pooled)


# The contract


@every
@given(seed=seeds, count=counts)
def test_the_output_has_the_shape_of_the_input(name, seed, count):
    x = image(seed, count)
    out = make_fusion(name, seed)(x, random_text(2, seed))
    assert out.shape == x.shape
    assert out.isfinite().all()


@every
@given(seed=seeds)
@float64()
def test_it_depends_on_its_own_text_and_image_and_on_no_other(name, seed):
    fusion, x, text, other = make_fusion(name), image(seed), random_text(2, seed), random_text(2, seed + 1)
    before = fusion(x, text)
    after = fusion(x, text.where(torch.tensor([True, False]), other))
    torch.testing.assert_close(after[0], before[0])
    assert not torch.allclose(after[1], before[1])
    moved = fusion(x + torch.tensor([0.0, 1.0])[:, None, None], text)
    torch.testing.assert_close(moved[0], before[0])
    assert not torch.allclose(moved[1], before[1])


@every
@given(seed=seeds, more=st.integers(0, 3))
@float64()
def test_padding_never_matters(name, seed, more):
    fusion, x, text = make_fusion(name), image(seed), random_text(2, seed)
    torch.testing.assert_close(fusion(x, padded(text, more)), fusion(x, text))


@every
@given(seed=seeds)
@float64()
def test_the_output_follows_a_permutation_of_the_image_tokens(name, seed):
    fusion, x, text = make_fusion(name), image(seed), random_text(2, seed)
    first = LENGTH if name in ENTERS else 0
    order = torch.cat([torch.arange(first), first + torch.randperm(x.shape[1] - first, generator=generator(seed))])
    torch.testing.assert_close(fusion(x[:, order], text), fusion(x, text)[:, order])


@every
@float64()
def test_an_image_does_not_depend_on_its_batch(name):
    fusion, x, text = make_fusion(name), image(0, batch=4), random_text(4)
    together = fusion(x, text)
    for row in range(4):
        one = slice(row, row + 1)
        torch.testing.assert_close(fusion(x[one], rows(text, one)), together[one])


@every
@float64()
def test_gradient_reaches_every_parameter_the_image_and_the_text(name):
    fusion, x, text = make_fusion(name), image(0).requires_grad_(), random_text(2)
    text.tokens.requires_grad_()
    text.pooled.requires_grad_()
    fusion(x, text).square().sum().backward()
    found = gradients(fusion)
    assert min(found.values()) > 1e-6, found
    reached = x.grad.abs().amax(-1) > 0
    assert reached[:, LENGTH:].all()
    assert reached[:, :LENGTH].equal(~text.valid if name == "TextTokens" else torch.ones_like(text.valid))
    reached = [t.grad for t in (text.tokens, text.pooled) if t.grad is not None]
    assert reached
    assert all(g.abs().max() > 1e-6 for g in reached)
    if text.tokens.grad is not None:
        assert not text.tokens.grad[~text.valid].any()


@pytest.mark.parametrize("name", sorted(set(NAMES) - ENTERS))
@given(seed=seeds)
def test_where_it_adds_to_a_trained_stream_it_starts_as_the_identity(name, seed):
    x = image(seed)
    assert torch.equal(make_fusion(name, seed=None)(x, random_text(2, seed)), x)


@pytest.mark.parametrize("name", sorted(set(NAMES) - ENTERS))
def test_the_identity_at_the_start_can_learn(name):
    fusion = make_fusion(name, seed=None)
    fusion(image(0), random_text(2)).square().sum().backward()
    assert max(gradients(fusion).values()) > 1e-3


@every
def test_it_runs_in_bfloat16(name):
    with torch.autocast("cpu", torch.bfloat16):
        out = make_fusion(name)(image(0), random_text(2))
    assert out.isfinite().all()
    torch.testing.assert_close(out.float(), make_fusion(name)(image(0), random_text(2)), atol=0.2, rtol=0.1)


# Each by its formula


@float64()
def test_the_pooled_fusions_are_their_formulas():
    x, text = image(0), random_text(2)
    p = text.pooled[:, None].expand(-1, x.shape[1], -1)
    add, concat, film = make_fusion("Add"), make_fusion("Concat"), make_fusion("FiLM")
    torch.testing.assert_close(add(x, text), x + add.proj(p))
    whole = torch.cat([torch.eye(WIDTH) + concat.proj.weight, concat.text_proj.weight], 1)
    bias = concat.proj.bias + concat.text_proj.bias
    torch.testing.assert_close(concat(x, text), torch.cat([x, p], -1) @ whole.T + bias)
    scale, shift = film.proj(p).split(WIDTH, -1)
    torch.testing.assert_close(film(x, text), x * (1 + scale) + shift)


@given(seeds)
@float64()
def test_cross_attention_depends_on_its_query_and_its_softmax_is_not_uniform(seed):
    """Over copies of one pooled vector, as in the public code, every position would get the same, whatever it holds."""
    fusion, x, text = make_fusion("CrossAttention"), image(seed), random_text(2, seed)
    text = Text(text.tokens, torch.ones_like(text.valid), text.pooled)
    added = fusion(x, text) - x
    assert (added[:, 0] - added[:, 1]).abs().max() > 1e-4
    copies = Text(text.pooled[:, None].expand(-1, LENGTH, -1), text.valid, text.pooled)
    added = fusion(x, copies) - x
    torch.testing.assert_close(added, added[:, :1].expand_as(added))
    torch.testing.assert_close(fusion(3 * x + 1, copies) - (3 * x + 1), added)


@pytest.mark.parametrize(("option", "value"), [("heads", 2), ("dropout", 0.5), ("attention", "math")])
@float64()
def test_each_option_of_cross_attention_does_what_it_says(option, value):
    one, other = make_fusion("CrossAttention"), make_fusion("CrossAttention", **{option: value})
    x, text = image(0), random_text(2)
    same = torch.allclose(one(x, text), other(x, text))
    assert same == (option == "attention")
    if option == "dropout":
        torch.testing.assert_close(other.eval()(x, text), one(x, text))


@float64()
def test_in_context_gives_each_word_a_token_of_its_own():
    fusion, x, text = make_fusion("InContext"), image(0), random_text(2)
    added = fusion(x, text) - x
    torch.testing.assert_close(added[:, :LENGTH][text.valid], fusion.proj(text.tokens)[text.valid])
    assert not added[:, :LENGTH][~text.valid].any()
    assert not added[:, LENGTH:].any()


@given(seed=seeds)
@float64()
def test_text_tokens_are_the_words_alone_and_leave_the_rest_as_it_is(seed):
    fusion, x, text = make_fusion("TextTokens"), image(seed), random_text(2, seed)
    out = fusion(x, text)
    torch.testing.assert_close(out[:, :LENGTH][text.valid], fusion.proj(text.tokens)[text.valid])
    assert torch.equal(out[:, :LENGTH][~text.valid], x[:, :LENGTH][~text.valid])
    assert torch.equal(out[:, LENGTH:], x[:, LENGTH:])


@pytest.mark.parametrize("name", sorted(ENTERS))
def test_text_in_the_sequence_without_room_is_told(name):
    with pytest.raises(
        UserError, match=rf"{name} .* register for each of the 6 text tokens and there are 5; raise encoder\.registers"
    ):
        make_fusion(name)(image(0, LENGTH - 1), random_text(2))


@pytest.mark.parametrize("name", sorted(ENTERS))
def test_text_in_the_sequence_is_never_put_on_image_tokens(name):
    few = config()["encoder"] | {"registers": LENGTH - 1}
    model = make_model(encoder=few, fusion={"predictor": {"type": name}}).network
    with pytest.raises(UserError, match=r"encoder\.registers"):
        model.condition(random_tokens(2), random_split(2, 2), random_text(2))


@given(seed=seeds, more=st.integers(0, 3))
@float64()
def test_text_tokens_reach_the_asked_tokens_through_encoder_and_predictor(seed, more):
    """And of the whole network too padding never matters, nor the order in which visible tokens are given."""
    model = with_text_tokens()
    tokens, split, text = random_tokens(2), random_split(2, 2), random_text(2, seed)
    said = model.condition(tokens, split, text).condition
    torch.testing.assert_close(model.condition(tokens, split, padded(text, more)).condition, said)
    assert not torch.allclose(model.condition(tokens, split, random_text(2, seed + 1)).condition, said)
    swapped = Split(torch.cat([split.order[:, :2].flip(1), split.order[:, 2:]], 1), 2, split.asked_count)
    torch.testing.assert_close(model.condition(tokens, swapped, text).condition, said)


@functools.cache
def with_text_tokens():
    more = config()["encoder"] | {"registers": LENGTH + 4}
    with float64():
        return make_model(encoder=more, fusion={"encoder": {"type": "TextTokens"}}).network
