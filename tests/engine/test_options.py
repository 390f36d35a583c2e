"""What ``KEY=VALUE`` on the command line stands for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_t.engine import load_config
from jepa_t.engine.options import apply_option, read_value
from jepa_t.errors import UserError

TEXT = {str}


@pytest.mark.parametrize(
    ("text", "kinds", "value"),
    [
        ("/x/with space", TEXT, "/x/with space"),
        ("a red three,b c", TEXT, "a red three,b c"),
        ("2024", TEXT, "2024"),
        ("None", TEXT, "None"),
        ("[a", TEXT, "[a"),
        (r"C:\new", TEXT, r"C:\new"),
        ("'/data/a,b'", TEXT, "/data/a,b"),
        ('"2024"', set(), "2024"),
        ("2024", set(), 2024),
        ("2", {int, str}, 2),
        ("auto", {int, str}, "auto"),
        ("None", {str, type(None)}, None),
        ("[2, 'a b']", {str, list, tuple}, [2, "a b"]),
        ("1e-4", {float, int}, 1e-4),
        ("-3", {int}, -3),
        ("(0.8,0.9)", {list, tuple}, (0.8, 0.9)),
        ("[seen,unseen]", {list, tuple}, ["seen", "unseen"]),
        ("['white shark', 'tench']", {list, tuple}, ["white shark", "tench"]),
        ("[True,None,red]", set(), [True, None, "red"]),
        ("{'features': {'type': 'Add'}}", {str, dict}, {"features": {"type": "Add"}}),
        ("{features: {type: Add}}", {dict}, {"features": {"type": "Add"}}),
        ("dict(features=dict(type=Add, heads=2))", {str, dict}, {"features": {"type": "Add", "heads": 2}}),
        ("[dict(type='LinearLR', end=6)]", {list, dict}, [{"type": "LinearLR", "end": 6}]),
        ("dict(a=1)", TEXT, "dict(a=1)"),
    ],
)
def test_values(text, kinds, value):
    found = read_value(text, kinds)
    assert found == value
    assert type(found) is type(value)


@given(st.text())
def test_any_text_can_be_given_in_quotes_and_stays_itself_where_texts_are_taken(text):
    assert read_value(repr(text), set()) == text
    if text[:1] not in ("'", '"'):
        assert read_value(text, TEXT) == text


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("(1,", {list, tuple}),
        ("{'a': ", {str, dict}),
        ("[" * 9999, {list}),
        ("[f(1)]", {list}),
        ("dict(1)", {dict}),
        ("dict(**a)", {dict}),
    ],
)
def test_a_broken_literal_is_told(text, kinds):
    with pytest.raises(ValueError, match="no Python literal") as told:
        read_value(text, kinds)
    assert " at 0x" not in str(told.value)


def test_an_option_of_a_component_is_read_by_its_annotation():
    """The flag is named, whichever it is; a network's ``weights`` may be called 2024."""
    features = {"type": "InceptionFeatures"}
    apply_option(features, "weights=2024", "--features")
    apply_option(features, "layer=64", "--features")
    assert features == {"type": "InceptionFeatures", "weights": "2024", "layer": 64}
    with pytest.raises(UserError, match="--features: key 'wieghts': did you mean 'weights'"):
        apply_option(features, "wieghts=x", "--features")
    with pytest.raises(UserError, match="--head draws=many: draws takes a whole number"):
        apply_option({"type": "FlowMatching"}, "draws=many", "--head")


def test_a_function_is_given_by_name_or_with_options():
    sampler = {"type": "MaskedSampler", "guidance_schedule": "constant"}
    apply_option(sampler, "guidance_schedule=linear")
    assert sampler["guidance_schedule"] == "linear"
    apply_option(sampler, "guidance_schedule=dict(type=linear, most=0.5)")
    assert sampler["guidance_schedule"] == {"type": "linear", "most": 0.5}


def test_the_multiple_of_a_mask_ratio_is_an_option_though_the_config_names_none():
    assert load_config("jepat_digits", ["model.mask_ratio.multiple=2"]).model.mask_ratio.multiple == 2
    with pytest.raises(UserError, match="did you mean 'multiple'"):
        load_config("jepat_digits", ["model.mask_ratio.multipel=2"])
