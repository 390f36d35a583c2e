"""The sites: each shows text from where its name says, the presets of the paper, and what is refused."""

import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import LENGTH, TEXT_WIDTH, WIDTH, float64, make_model, random_split, random_text, random_tokens

from jepa_t.errors import UserError
from jepa_t.fusion import PRESETS, SITES, Fusion

seeds = st.integers(0, 1000)


@functools.cache
def network(*sites):
    with float64():
        return make_model(fusion={site: {"type": "CrossAttention"} for site in sites}).network


@functools.cache
def without_fusion():
    return make_model(fusion="none").network


def observe(model, text):
    """What each station says: registers before the encoder, context, each block of the predictor, prediction."""
    seen, handles = {}, []
    blocks = enumerate(model.predictor.blocks)
    for name, module in [
        ("encoder", model.encoder),
        *((f"block{i}", b) for i, b in blocks),
        ("norm", model.predictor.norm),
    ]:

        def look(_, args, out, name=name):
            seen[f"{name} in"] = args[-1] if name == "encoder" else args[0]
            seen[f"{name} out"] = torch.cat(out, 1) if isinstance(out, tuple) else out

        handles.append(module.register_forward_hook(look))
    prediction = model.condition(random_tokens(2), random_split(2, 2, 3), text)
    for handle in handles:
        handle.remove()
    return seen | {"features": prediction.features, "condition": prediction.condition}


# From which station on a site's text is seen.
ORDER = [
    "encoder in",
    "encoder out",
    "block0 in",
    "block0 out",
    "block1 in",
    "block1 out",
    "norm in",
    "norm out",
    "features",
    "condition",
]
FIRST = {
    "encoder": "encoder in",
    "context": "block0 in",
    "predictor": "block0 in",
    "blocks": "block1 in",
    "features": "features",
    "objective": "condition",
}


@pytest.mark.parametrize("site", SITES)
@float64()
def test_a_site_is_where_its_name_says_and_nothing_before_it_sees_text(site):
    one, other = observe(network(site), random_text(2)), observe(network(site), random_text(2, seed=1))
    changed = [station for station in ORDER if not torch.equal(one[station], other[station])]
    assert changed == ORDER[ORDER.index(FIRST[site]) :]


def test_each_block_has_a_fusion_of_its_own_and_the_last_one_is_used():
    model = network("blocks")
    modules = model.fusion["blocks"]
    assert len({id(m) for m in modules}) == len(modules) == 2
    with float64():
        one = observe(model, random_text(2))
    assert not torch.allclose(one["block1 out"], one["norm in"])


def test_the_presets_are_those_of_the_paper():
    used = {name: {site: cfg["type"] for site, cfg in sites.items()} for name, sites in PRESETS.items()}
    assert used["none"] == {}
    assert "features" not in used["early"]
    assert set(used["late"]) == {"features"}
    assert used["jepa_t"] == {"predictor": "Add", "features": "CrossAttention", "objective": "Concat"}


@pytest.mark.parametrize("preset", PRESETS)
@float64()
def test_only_early_fusion_shows_text_to_the_encoder(preset):
    """The paper's claim of a backbone that stays task-agnostic; and `none` shows it to nothing."""
    model = make_model(fusion=preset).network
    text = random_text(2)
    text.tokens.requires_grad_()
    text.pooled.requires_grad_()
    seen = observe(model, text)

    def jacobian(station):
        grads = (
            torch.autograd.grad(
                seen[station].square().sum(), [text.tokens, text.pooled], allow_unused=True, retain_graph=True
            )
            if seen[station].requires_grad
            else (None, None)
        )
        return max(0.0 if g is None else g.abs().max().item() for g in grads)

    assert (jacobian("encoder out") > 1e-9) == (preset == "early")
    assert (jacobian("norm out") > 1e-9) == (preset in ("early", "jepa_t"))
    assert (jacobian("condition") > 1e-9) == (preset != "none")


@given(seeds)
@float64()
def test_without_fusion_no_text_changes_a_bit(seed):
    model = without_fusion()
    one, other = (model.condition(random_tokens(2), random_split(2, 2), random_text(2, s)) for s in (seed, seed + 1))
    assert torch.equal(one.condition, other.condition)
    assert torch.equal(one.features, one.condition)


class Plain:
    def __init__(self, width):
        pass


@pytest.mark.parametrize(
    ("sites", "says"),
    [
        ("jepat", "unknown fusion preset 'jepat': did you mean 'jepa_t'? choose from early, jepa_t, late, none"),
        ({"feature": {"type": "Add"}}, "unknown fusion site 'feature': did you mean 'features'? choose from blocks,"),
        ({"features": {"type": "CrossAtention"}}, "unknown fusion 'CrossAtention': did you mean 'CrossAttention'?"),
        ({"features": {"type": "CrossAttention", "head": 2}}, "option of CrossAttention 'head': did you mean 'heads'"),
        ({"features": {"type": "CrossAttention", "heads": 3}}, "heads=3 doesn't divide the width 16"),
        ({"features": {"type": "CrossAttention", "dropout": 1.5}}, "dropout is 1.5; it must lie between 0 and 1"),
        ({"features": "Add"}, "a component is a dict with a 'type', or an object, got 'Add'"),
        ({"features": {"type": Plain}}, "fusion.features: Plain is no module; derive it from nn.Module"),
    ],
)
def test_a_wrong_fusion_is_told(sites, says):
    with pytest.raises(UserError) as caught:
        Fusion(sites, WIDTH, TEXT_WIDTH, 2, LENGTH)
    assert says in str(caught.value)
