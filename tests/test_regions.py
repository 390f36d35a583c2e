"""Captions of regions: each token follows its own and no other; where they all agree nothing changes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CAPTIONS, GENERATIVE, GRID, SIZE, TOKENS, make_model, random_images, shared_model
from watched import model_by

from jepa_t.errors import UserError
from jepa_t.pipeline import Pipeline

FIRST, SECOND, THIRD = CAPTIONS[:3]
LEFT = torch.zeros(SIZE, dtype=torch.bool)
LEFT[:, :2] = True  # one of three columns of tokens
FUSIONS = ["jepa_t", "early", "late", {"blocks": {"type": "CrossAttention"}}]


def drawn(pipeline, captions, seeds=(5,), **options):
    return pipeline(captions, list(seeds), output="tensor", **options).images


def pipeline(fusion="jepa_t", **options):
    return Pipeline(make_model(fusion=fusion, **options).eval())


@pytest.mark.parametrize("objective", GENERATIVE)
def test_where_all_tokens_follow_one_caption_it_is_drawn_as_ever(objective):
    one = Pipeline(model_by(objective).eval())
    plain = drawn(one, FIRST)
    assert torch.equal(drawn(one, SECOND, regions=[(FIRST, torch.ones(SIZE))]), plain)
    assert torch.equal(drawn(one, SECOND, regions=[(FIRST, LEFT), (FIRST, ~LEFT)]), plain)
    assert torch.equal(drawn(one, FIRST, regions=[(FIRST, LEFT)]), plain)
    assert torch.equal(drawn(one, FIRST, regions=[]), plain)


@pytest.mark.parametrize("fusion", FUSIONS, ids=str)
@pytest.mark.parametrize(
    "options",
    [{}, {"guidance_scale": 1.0}, {"negative": "seven"}, {"images": random_images(1)[0], "mask": 0.5}],
    ids=["guided", "unguided", "negative", "edited"],
)
def test_in_one_step_an_image_is_made_of_those_of_its_captions(fusion, options):
    one = pipeline(fusion)
    options = {"steps": 1, "guidance_scale": 2.0} | options
    first, second = (drawn(one, text, **options) for text in (FIRST, SECOND))
    found = drawn(one, FIRST, regions=[(SECOND, LEFT)], **options)
    torch.testing.assert_close(found[..., LEFT], second[..., LEFT], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[..., ~LEFT], first[..., ~LEFT], atol=1e-5, rtol=0)
    assert not torch.allclose(found, first, atol=1e-3)
    assert not torch.allclose(found, second, atol=1e-3)


def test_so_it_is_where_guidance_is_learned_in():
    flow = {"type": "FlowMatching", "head_width": 16, "head_depth": 1, "learns_guidance": True}
    one = pipeline(objectives={"flow": flow}, sampler={"steps": 1, "guidance_scale": 2.0, "draw": {"solver_steps": 4}})
    first, second = drawn(one, FIRST), drawn(one, SECOND)
    found = drawn(one, FIRST, regions=[(SECOND, LEFT)])
    expected = torch.where(LEFT, second, first)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_what_is_drawn_reaches_the_other_regions_by_the_image():
    one = pipeline()
    found, other = (drawn(one, FIRST, steps=6, regions=[(text, LEFT)]) for text in (SECOND, THIRD))
    assert not torch.allclose(found[..., ~LEFT], other[..., ~LEFT], atol=1e-4)


@given(st.lists(st.integers(0, 2), min_size=TOKENS, max_size=TOKENS))
@settings(max_examples=10)
def test_an_image_does_not_depend_on_the_others_regions(layers):
    one = Pipeline(shared_model().eval())
    over = torch.tensor(layers).unflatten(0, GRID).repeat_interleave(2, 0).repeat_interleave(2, 1)
    pairs = [(text, over == number) for number, text in ((1, SECOND), (2, THIRD)) if number in layers]
    alone = drawn(one, FIRST, regions=pairs)
    among = drawn(one, [THIRD, FIRST, SECOND], (3, 5, 4), regions=[[], pairs, [(FIRST, LEFT)]])
    torch.testing.assert_close(among[1:2], alone, atol=1e-5, rtol=0)


def test_later_regions_lie_over_earlier_ones_and_a_token_belongs_to_whatever_touches_it():
    one = pipeline()
    corner = torch.zeros(SIZE)
    corner[0, 0] = 1.0
    whole = torch.zeros(SIZE, dtype=torch.bool)
    whole[:2, :2] = True
    found = drawn(one, FIRST, regions=[(THIRD, LEFT), (SECOND, corner)])
    assert torch.equal(found, drawn(one, FIRST, regions=[(THIRD, LEFT & ~whole), (SECOND, whole)]))


@pytest.mark.parametrize(
    ("regions", "options", "says"),
    [
        ("a red heart", {}, r"regions holds a str; give pairs, such as \[\(\"a red heart\", mask\)\]"),
        ([("seven", LEFT, 1)], {}, "regions holds something else than pairs"),
        ([(LEFT, "seven")], {}, "regions holds something else than pairs|regions holds a Tensor"),
        ([[("seven", LEFT)]] * 2, {}, "1 captions and regions for 2"),
        ([("seven", 0.5)], {}, "the mask of the region 'seven' is 0.5; give one in pixels"),
        ([("seven", torch.ones(3, 3))], {}, "a mask is 3 x 3 and the model draws 4 x 6"),
        ([("seven", torch.zeros(SIZE))], {}, "nothing of the region 'seven' is left"),
        ([("seven", LEFT), ("black eight", LEFT)], {}, "nothing of the region 'seven' is left"),
        ([("zwölf", LEFT)], {}, "the caption 'zwölf' has no word that this model was trained on"),
        ([("seven", LEFT)], {"word_maps": True}, "word maps are of one caption, and regions have several"),
    ],
)
def test_what_makes_no_regions_is_told(regions, options, says):
    with pytest.raises(UserError, match=says):
        Pipeline(shared_model().eval())(FIRST, [1], regions=regions, **options)


def test_a_model_that_reads_no_text_and_a_caption_that_no_token_follows_are_told(caplog):
    with pytest.raises(UserError, match="the fusion of this model reads no text, so captions of regions"):
        pipeline("none")(FIRST, [1], regions=[(SECOND, LEFT)])
    pipeline()(FIRST, [1], regions=[(SECOND, LEFT), (THIRD, ~LEFT)])
    assert f"regions cover the whole image, so the caption {FIRST!r} isn't read" in caplog.text
