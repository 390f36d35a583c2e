"""The contract of the backbones: the context encoder and the predictor."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import (
    OFFERED,
    REGISTERS,
    TOKENS,
    WIDTH,
    float64,
    generator,
    gradients,
    random_split,
    random_tokens,
    randomise,
    registered,
)

from jepa_t.contracts import Predictor
from jepa_t.errors import UserError
from jepa_t.masking import gather
from jepa_t.registry import BACKBONES, build

EXTRAS = {"ContextEncoder": {"registers": REGISTERS}, "Predictor": {}}
every = pytest.mark.parametrize("name", registered(BACKBONES))
visible_counts = st.integers(0, TOKENS - 1)
seeds = st.integers(0, 1000)


def made(cfg):
    """A backbone whose surroundings are those of ``OFFERED``, but for what its config says."""
    return build(cfg, BACKBONES, **{name: value for name, value in OFFERED.items() if name not in cfg})


def make(name, seed=0, **options):
    cfg = {"type": name, "depth": 2, "heads": 2} | EXTRAS[name] | options
    return randomise(made(cfg), seed)


def inputs(seed, batch=2):
    """Image tokens of C channels, encoded tokens of D, and registers."""
    random = generator(seed + 1)
    features = torch.randn(batch, TOKENS, WIDTH, generator=random)
    return random_tokens(batch, seed), features, torch.randn(batch, REGISTERS, WIDTH, generator=random)


def run(backbone, split, tokens, features, registers):
    """The output for the tokens that a backbone answers for, in the order of the split."""
    if isinstance(backbone, Predictor):
        x = backbone.place(registers, gather(features, split.visible), split, lambda context: context)
        return backbone(x, split, lambda index, x: x)
    registers, visible = backbone(gather(tokens, split.visible), split.visible, registers)
    return torch.cat([registers, visible], 1)


@every
@given(seed=seeds, visible=visible_counts, data=st.data())
def test_shape(name, seed, visible, data):
    asked = data.draw(st.integers(1, TOKENS - visible))
    out = run(make(name), random_split(2, visible, asked, seed), *inputs(seed))
    assert out.shape == (2, asked if name == "Predictor" else REGISTERS + visible, WIDTH)
    assert out.isfinite().all()


@every
@given(seed=seeds, visible=visible_counts)
@float64()
def test_permuting_the_tokens_with_their_positions_permutes_the_output(name, seed, visible):
    backbone, split, data = make(name), random_split(2, visible, seed=seed), inputs(seed)
    turn = (
        torch.randperm(visible, generator=generator(seed)),
        torch.randperm(TOKENS - visible, generator=generator(seed)),
    )
    turned = type(split)(
        torch.cat([split.visible[:, turn[0]], split.masked[:, turn[1]]], 1), visible, split.asked_count
    )
    before, after = run(backbone, split, *data), run(backbone, turned, *data)
    if name == "Predictor":
        torch.testing.assert_close(after, before[:, turn[1]])
    else:
        torch.testing.assert_close(after[:, :REGISTERS], before[:, :REGISTERS])
        torch.testing.assert_close(after[:, REGISTERS:], before[:, REGISTERS:][:, turn[0]])


@every
@float64()
def test_positions_matter(name):
    backbone, split, data = make(name), random_split(2, 3), inputs(0)
    before = run(backbone, split, *data)
    with torch.no_grad():
        backbone.positions.copy_(backbone.positions.roll(1, 0))
    assert not torch.allclose(run(backbone, split, *data), before)


@every
def test_every_parameter_learns_and_queries_keys_and_values_apart(name):
    backbone, split, data = make(name), random_split(2, 3), inputs(0)
    registers = getattr(backbone, "registers", data[2]).expand(2, -1, -1)
    run(backbone, split, *data[:2], registers).square().sum().backward()
    found = gradients(backbone)
    assert min(found.values()) > 1e-6, {k: v for k, v in found.items() if v <= 1e-6}
    for block in backbone.blocks:
        keys, values = block.attn.kv.weight.grad.chunk(2)
        assert min(g.abs().max() for g in (block.attn.q.weight.grad, keys, values)) > 1e-6


@every
@pytest.mark.parametrize("options", [{"attention": "math"}, {"attention": "sdpa"}, {"checkpointing": True}])
@float64()
def test_how_it_is_computed_changes_nothing(name, options):
    split, data = random_split(2, 3), inputs(0)
    results = []
    for backbone in (make(name), make(name, **options)):
        out = run(backbone, split, *data)
        out.square().sum().backward()
        results.append([out, *(p.grad for p in backbone.parameters() if p.grad is not None)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


@every
def test_dropout_acts_in_training_only(name):
    backbone, split, data = make(name, dropout=0.5), random_split(2, 3), inputs(0)
    assert not torch.equal(run(backbone, split, *data), run(backbone, split, *data))
    backbone.eval()
    assert torch.equal(run(backbone, split, *data), run(make(name), split, *data))


@every
def test_depth_and_heads_change_the_output(name):
    split, data = random_split(2, 3), inputs(0)
    before = run(make(name), split, *data)
    for options in ({"depth": 1}, {"heads": 4}):
        assert not torch.allclose(run(make(name, **options), split, *data), before)


@every
def test_position_tables_start_at_std_1_without_weight_decay(name):
    torch.manual_seed(0)
    backbone = made({"type": name, "depth": 1, "heads": 2, "tokens": 500})
    assert backbone.positions.std().item() == pytest.approx(1.0, abs=0.05)
    tables = [p for n, p in backbone.named_parameters() if n in ("positions", "registers", "mask_query")]
    assert len(tables) == 2
    assert all(p.no_decay for p in tables)


@float64()
def test_the_predictor_calls_back_after_each_block_with_what_the_next_one_reads():
    predictor, split, data = make("Predictor"), random_split(2, 2, 3), inputs(0)
    x = predictor.place(data[2], gather(data[1], split.visible), split, lambda context: context)
    seen = []
    predictor(x, split, lambda index, y: seen.append((index, y.shape[1])) or y)
    assert seen == [(0, REGISTERS + TOKENS), (1, 3)]
    plain = predictor(x, split, lambda index, y: y)
    for changed in (0, 1):
        assert not torch.allclose(predictor(x, split, lambda i, y, c=changed: y.roll(1, -1) if i == c else y), plain)


def test_registers_start_and_stay_distinct_without_dropout():
    """Equal registers without a position would get equal gradients and stay equal for ever."""
    torch.manual_seed(0)
    encoder = made({"type": "ContextEncoder", "depth": 2, "heads": 2, "registers": 8})
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    split, tokens = random_split(2, 3), random_tokens(2)
    for _ in range(5):
        registers, _ = encoder(gather(tokens, split.visible), split.visible, encoder.registers.expand(2, -1, -1))
        distances = torch.pdist(registers[0])
        assert distances.min() > 1.0
        optimizer.zero_grad()
        registers[..., 0].square().mean().backward()
        optimizer.step()
    assert torch.pdist(encoder.registers.detach()).min() > 1.0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"registers": 0}, "registers=0"),
        ({"depth": 0}, "depth is 0; it must be a whole number of at least 1"),
        ({"depth": 2**63}, "depth is 9223372036854775808; whole numbers are below"),
        ({"heads": 3}, "heads=3 doesn't divide the width 16"),
        ({"attention": "flash"}, "unknown attention backend 'flash'"),
        ({"head": 2}, "unknown option of ContextEncoder 'head': did you mean 'heads'"),
    ],
)
def test_a_wrong_option_is_told(options, says):
    with pytest.raises(UserError, match=says):
        run(make("ContextEncoder", **options), random_split(2, 3), *inputs(0))
