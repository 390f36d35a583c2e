"""Word maps: the attention of the trained fusion, laid over the words of the caption."""

import pytest
import torch
from tiny import (
    CAPTIONS,
    GRID,
    LENGTH,
    TOKENS,
    WIDTH,
    make_fusion,
    make_model,
    random_text,
    shared_model,
    shared_tokenizer,
)

from jepa_t.errors import UserError
from jepa_t.layers import Attention
from jepa_t.pipeline import Pipeline

CROSS = {"type": "CrossAttention"}
FUSIONS = {"features": "jepa_t", "blocks": {"blocks": CROSS}, "two sites": {"predictor": CROSS, "features": CROSS}}


@pytest.mark.parametrize("backend", ["math", "sdpa"])
def test_shares_are_the_weights_of_the_attention(backend):
    torch.manual_seed(0)
    layer = Attention(WIDTH, 2, 12, backend=backend).eval()
    x, text = torch.randn(3, 5, WIDTH), random_text(3)
    shares = layer.shares(x, text.tokens, text.valid)
    assert shares.shape == (3, 5, LENGTH)
    torch.testing.assert_close(shares.sum(-1), torch.ones(3, 5))
    assert not shares[~text.valid[:, None].expand_as(shares)].any()
    one = Attention(WIDTH, 1, 12, backend=backend).eval()  # of one head the output is the shares' mean of the values
    torch.nn.init.eye_(one.proj.weight)
    values = one.kv(text.tokens)[..., WIDTH:]
    torch.testing.assert_close(one(x, text.tokens, text.valid), one.shares(x, text.tokens, text.valid) @ values)


@pytest.mark.parametrize("fusion", FUSIONS.values(), ids=FUSIONS)
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_each_token_has_shares_of_the_words_where_it_was_drawn_and_the_image_stays(fusion, guidance):
    draw = Pipeline(make_model(fusion=fusion).eval())
    options = {"guidance_scale": guidance, "steps": 4, "output": "tensor"}
    drawing = draw(CAPTIONS[:2], [1, 2], word_maps=True, trajectory=True, **options)
    assert torch.equal(drawing.images, draw(CAPTIONS[:2], [1, 2], **options).images)
    for row, found in enumerate(drawing.word_maps):
        assert found.words == CAPTIONS[row].split()
        assert found.shares.shape == (4, TOKENS, len(found.words))
        for step, shares in zip(drawing.trajectory, found.shares, strict=True):
            assert torch.equal(~shares.isnan().any(-1), step.revealed[row])
        torch.testing.assert_close(found.drawn.sum(-1), torch.ones(TOKENS))
        assert found.of(0).shape == GRID
    first = drawing.word_maps[0]
    assert torch.equal(first.of("red"), first.drawn[:, 1].unflatten(0, GRID))
    with pytest.raises(UserError, match="unknown word of the caption 'rde': did you mean 'red'"):
        first.of("rde")
    with pytest.raises(UserError, match="number of the word is 99; it must be a whole number from 0 to"):
        first.of(99)


def test_the_map_is_of_what_the_fusion_saw():
    """With keys that tell one word from all others, every token looks at it."""
    model = make_model(fusion={"features": CROSS}).eval()
    attend = model.ema.fusion["features"].attn
    text = model.ema.text_tokenizer([CAPTIONS[0]])
    with torch.no_grad():
        attend.q.weight.zero_()
        attend.q.bias.copy_(30 * attend.kv(text.tokens)[0, 2, :WIDTH])
        attend.gain.fill_(30.0)
    drawn = Pipeline(model)(CAPTIONS[0], [0], word_maps=True).word_maps[0].drawn
    assert drawn.argmax(-1).tolist() == [2] * TOKENS


def test_of_an_edited_image_the_kept_tokens_have_no_map():
    drawing = Pipeline(shared_model().eval())(
        CAPTIONS[:2], [0, 1], images=torch.zeros(3, 4, 6), mask=[0.5, 0.0], word_maps=True, trajectory=True
    )
    redrawn = torch.stack([step.revealed[0] for step in drawing.trajectory]).any(0)
    assert torch.equal(~drawing.word_maps[0].drawn.isnan().any(-1), redrawn)
    assert drawing.word_maps[1] is None
    image = drawing.images[0]
    assert drawing.word_maps[0].sheet(image).width > 7 * image.width


@pytest.mark.parametrize(("name", "first"), [("TransformerText", 0), ("HFText", 1), ("OpenCLIPText", 1)])
def test_words_are_told_from_tokens(name, first):
    tokenizer, caption = shared_tokenizer(name), "a yellow one, on grey"
    spans = tokenizer.word_spans(caption)
    assert [word for word, _ in spans] == ["a", "yellow", "one,", "on", "grey"]
    places = [place for _, span in spans for place in span]
    assert places == list(range(first, first + len(places)))  # each token belongs to one word, but for special ones
    assert tokenizer([caption]).valid.sum() == len(places) + 2 * first
    assert [word for word, _ in tokenizer.word_spans("a  yellow   one")] == ["a", "yellow", "one"]


def test_words_that_are_read_together_cannot_be_told_apart():
    with pytest.raises(UserError, match="otherwise than word by word"):
        shared_tokenizer("TransformerText").word_spans("voilÃ le travail")  # which is read as "voilà le travail"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"fusion": "late"}, "no attention over words"),
        ({"fusion": {"context": CROSS, "features": {"type": "Add"}}}, "no attention over words"),
        ({"text_tokenizer": {"type": "ClassEmbedding", "names": CAPTIONS, "width": 12}}, "ClassEmbedding doesn't"),
    ],
)
def test_a_model_without_says_so_before_anything_is_drawn(changes, says):
    draw = Pipeline(make_model(**changes).eval())
    with pytest.raises(UserError, match=says):
        draw(CAPTIONS[0], word_maps=True, callback=lambda _: pytest.fail("something was drawn"))


def test_a_fusion_that_attends_says_it_of_each_row():
    fusion, text = make_fusion("CrossAttention"), random_text(2)
    shares = fusion.attention(torch.randn(2, 3, WIDTH), text)
    assert shares.shape == (2, 3, LENGTH)
    assert not torch.allclose(shares[:, 0], shares[:, 1])
