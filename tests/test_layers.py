"""Laws of the layers that every Transformer here is made of."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import WIDTH, float64, generator, gradients, randomise

from jepa_t.errors import UserError
from jepa_t.layers import Attention, Block, Blocks, linear, table


def noise(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


def test_a_linear_layer_starts_with_xavier_weights_or_all_zero():
    weight = linear(300, 500).weight.detach()
    assert weight.abs().max() <= (6 / 800) ** 0.5
    assert weight.std().item() == pytest.approx((2 / 800) ** 0.5, rel=0.02)
    assert not linear(3, 5).bias.any()
    assert not any(p.any() for p in linear(3, 5, zero=True).parameters())


def test_a_table_has_std_1_and_no_weight_decay():
    vectors = table(50, 100)
    assert vectors.std().item() == pytest.approx(1.0, abs=0.05)
    assert vectors.no_decay
    assert not hasattr(linear(2, 2).weight, "no_decay")


@float64()
def test_attention_weights_do_not_depend_on_the_scale_of_queries_and_keys():
    layer = randomise(Attention(WIDTH, 2))
    x, source = noise(2, 3, WIDTH), noise(2, 5, WIDTH, seed=1)
    before = layer(x, source)
    with torch.no_grad():
        for parameter in (layer.q.weight, layer.q.bias, layer.kv.weight[:WIDTH], layer.kv.bias[:WIDTH]):
            parameter.mul_(7.0)
    torch.testing.assert_close(layer(x, source), before, atol=1e-5, rtol=1e-5)


@float64()
def test_queries_keys_and_values_each_receive_gradient_and_each_matter():
    layer = randomise(Attention(WIDTH, 2, source_width=9))
    x, source = noise(2, 3, WIDTH), noise(2, 5, 9, seed=1)
    layer(x, source).square().sum().backward()
    found = gradients(layer)
    assert min(found.values()) > 1e-6, found
    assert layer.kv.weight.grad[:WIDTH].abs().max() > 1e-6  # keys
    assert layer.kv.weight.grad[WIDTH:].abs().max() > 1e-6  # values
    assert not torch.allclose(layer(x, source), layer(x + 1, source))
    assert not torch.allclose(layer(x, source), layer(x, source + 1))


def test_a_zero_attention_starts_with_an_output_of_zero():
    assert not Attention(WIDTH, 2, zero=True)(noise(2, 3, WIDTH), noise(2, 3, WIDTH)).any()


@pytest.mark.parametrize("heads", [0, 3])
def test_heads_that_do_not_divide_the_width_are_refused(heads):
    with pytest.raises(UserError, match=f"heads={heads} doesn't divide the width 16"):
        Attention(WIDTH, heads)


@given(st.integers(0, 1000), st.integers(1, 6), st.data())
@float64()
def test_wanted_rows_of_a_block_are_rows_of_the_whole(seed, tokens, data):
    start = data.draw(st.integers(0, tokens - 1))
    rows = slice(start, data.draw(st.integers(start + 1, tokens)))
    block, x = randomise(Block(WIDTH, 2), seed), noise(2, tokens, WIDTH, seed=seed)
    valid = torch.arange(tokens).expand(2, -1) != tokens - 1 if tokens > 1 else None
    torch.testing.assert_close(block(x, valid, x[:, rows]), block(x, valid)[:, rows])


@float64()
def test_a_block_adds_attention_then_an_mlp_to_its_input():
    block, x = randomise(Block(WIDTH, 2)), noise(2, 4, WIDTH)
    middle = x + block.attn(block.norm1(x), block.norm1(x))
    torch.testing.assert_close(block(x), middle + block.mlp(block.norm2(middle)))
    assert block.mlp.fc1.out_features == 4 * WIDTH


def test_dropout_acts_in_training_only():
    block, x = randomise(Block(WIDTH, 2, dropout=0.5)), noise(2, 4, WIDTH)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))
    plain = randomise(Block(WIDTH, 2))
    plain.load_state_dict(block.state_dict())
    assert torch.equal(block(x), plain(x))


def test_recomputed_blocks_give_the_same_output_and_gradients():
    kept, recomputed = Blocks(2, WIDTH, 2), Blocks(2, WIDTH, 2, checkpointing=True)
    recomputed.load_state_dict(randomise(kept).state_dict())
    calls = []
    recomputed[1].register_forward_pre_hook(lambda *_: calls.append(1))
    found = []
    for blocks in (kept, recomputed):
        x = noise(2, 4, WIDTH).requires_grad_()
        out = blocks.run(1, blocks.run(0, x), rows=slice(1, 3))
        out.square().sum().backward()
        found.append([out.detach(), x.grad, *(p.grad for p in blocks.parameters())])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    assert len(calls) == 2
    with torch.no_grad():
        recomputed.run(1, x)
    assert len(calls) == 3
