"""Watching, negative captions, streams, and what lies between two captions or seeds."""

import pickle

import pytest
import torch
from tiny import (
    CAPTIONS,
    CHANNELS,
    GENERATIVE,
    GRID,
    SIZE,
    TOKENS,
    make_model,
    random_text,
    shared_model,
    with_objective,
)
from watched import model_by

from jepa_t.contracts import Sampler
from jepa_t.denoiser import Denoiser
from jepa_t.errors import UserError
from jepa_t.pipeline import Pipeline
from jepa_t.sampling import Generators
from jepa_t.structures import Between

SEEDS = [4, 5, 6]
PATCHES = {"image_tokenizer": {"type": "PatchTokenizer", "size": SIZE, "patch": 2, "channels": CHANNELS}}


def pipeline():
    return Pipeline(shared_model().eval())


def tensors(*words, **options):
    return pipeline()(*words, output="tensor", **options).images


# Watching


@pytest.mark.parametrize(("objective", "order"), [("FlowMatching", "random"), ("TokenCrossEntropy", "confidence")])
def test_each_step_says_what_it_revealed_and_the_last_is_the_image(objective, order):
    draw, steps = Pipeline(model_by(objective).eval()), []
    drawing = draw(CAPTIONS[:3], SEEDS, steps=4, order=order, callback=steps.append, trajectory=True)
    assert [(step.number, step.steps) for step in steps] == [(number, 4) for number in (1, 2, 3, 4)]
    assert steps == drawing.trajectory
    seen = torch.zeros(3, TOKENS, dtype=torch.bool)
    for step in steps:
        assert (step.rows, step.captions, step.seeds) == ([0, 1, 2], CAPTIONS[:3], SEEDS)
        assert not (seen & step.revealed).any()
        seen |= step.revealed
        assert torch.equal(step.masked, ~seen)
        assert not step.tokens[step.masked].any()
        assert torch.equal(step.tokens[seen], steps[-1].tokens[seen])
    assert seen.all()
    assert [image.tobytes() for image in steps[-1].images()] == [image.tobytes() for image in drawing.images]
    assert [frame.tobytes() for frame in drawing.frames(1)] == [step.images()[1].tobytes() for step in steps]
    with pytest.raises(UserError, match="index is 99; it must be a whole number from 0 to 2"):
        drawing.frames(99)


def test_masked_cells_are_of_two_greys():
    step = pipeline()(CAPTIONS[0], [0], steps=6, trajectory=True).trajectory[0]
    image, (cell,) = step.images()[0], step.revealed[0].nonzero()[0].tolist()
    greys = {image.getpixel((2 * column, 2 * row)) for row in range(GRID[0]) for column in range(GRID[1])
             if row * GRID[1] + column != cell}  # fmt: skip
    assert len(greys) == 2
    assert all(red == green == blue for red, green, blue in greys)


def test_watching_changes_nothing_and_a_callback_can_end_the_call():
    assert torch.equal(tensors(CAPTIONS[:3], SEEDS), tensors(CAPTIONS[:3], SEEDS, callback=lambda _: True))

    class EnoughError(Exception):
        pass

    def stop(step):
        if step.number == 2:
            raise EnoughError

    with pytest.raises(EnoughError):
        tensors(CAPTIONS[:3], SEEDS, callback=stop)


def test_batches_stream_and_say_which_captions_they_are_of():
    rows = []
    stream = pipeline().stream(CAPTIONS[:5], range(5), batch_size=2, callback=lambda step: rows.append(step.rows))
    first = next(stream)
    assert {tuple(part) for part in rows} == {(0, 1)}  # nothing more is drawn than was asked for
    assert (first.captions, first.seeds) == (CAPTIONS[:2], [0, 1])
    assert [part.rows for part in stream] == [[2, 3], [4]]
    whole = pipeline()(CAPTIONS[:5], range(5), batch_size=2, trajectory=True)
    assert whole.frames(4)[-1].tobytes() == whole.images[4].tobytes()


# Precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("objective", GENERATIVE)
def test_half_precision_draws_nearly_the_same_and_a_pipeline_can_be_pickled(objective, dtype):
    codes = objective == "TokenCrossEntropy"  # which are the same or another, so that a model of patches is closer
    whole = Pipeline(make_model(**with_objective(objective, **({} if codes else PATCHES))).eval())
    plain = whole(CAPTIONS[:3], SEEDS, output="tensor").images
    half = pickle.loads(pickle.dumps(whole)).to("cpu", dtype)
    assert {p.dtype for p in half.model.ema.encoder.parameters()} == {dtype}
    found = half(CAPTIONS[:3], SEEDS, output="tensor").images
    assert found.dtype == torch.float32
    assert (found - plain).abs().mean() < 0.05
    assert torch.equal(plain, whole(CAPTIONS[:3], SEEDS, output="tensor").images)


def test_another_precision_or_device_is_refused():
    with pytest.raises(UserError, match=r"dtype is torch\.int8; use torch\.float32"):
        pipeline().to(dtype=torch.int8)
    with pytest.raises(UserError, match="device 'tpu' can't be used"):
        pipeline().to("tpu")
    for device, dtype in ((5, None), (torch.float16, torch.float16)):
        with pytest.raises(UserError, match=r"device is .*; give a name"):
            pipeline().to(device, dtype)


def test_a_precision_alone_stands_in_the_place_of_the_device():
    half = Pipeline(make_model().eval()).to(torch.float16)
    assert {p.dtype for p in half.model.ema.encoder.parameters()} == {torch.float16}
    assert {v.dtype for v in half.model.image_tokenizer.state_dict().values() if v.is_floating_point()} <= {
        torch.float32
    }
    assert len(half(CAPTIONS[0], [0]).images) == 1


def test_a_model_in_half_precision_as_a_whole_is_refused():
    draw = Pipeline(make_model(**PATCHES).eval())
    draw.model.half()
    with pytest.raises(UserError, match=r"Pipeline\.to\(dtype=torch\.float16\)"):
        draw(CAPTIONS[:1], [0])
    with pytest.raises(UserError, match=r"Pipeline\.to\(dtype=torch\.float16\)"):
        draw(CAPTIONS[:1], [0], images=torch.zeros(3, *SIZE), mask=0.5)


# Negative captions


def test_negative_captions_stand_in_the_place_of_the_null_text(monkeypatch):
    plain, away = tensors(CAPTIONS[:3], SEEDS), tensors(CAPTIONS[:3], SEEDS, negative="seven")
    assert not torch.allclose(plain, away, atol=1e-3)
    assert torch.equal(away, tensors(CAPTIONS[:3], SEEDS, negative=["seven"] * 3))
    null = Denoiser.null
    monkeypatch.setattr(Denoiser, "null", lambda self, batch: null(Denoiser(self.network, self.image_tokenizer), batch))
    assert torch.equal(plain, tensors(CAPTIONS[:3], SEEDS, negative="seven"))
    assert torch.equal(tensors(CAPTIONS[0], [4], guidance_scale=2.0), tensors(CAPTIONS[0], [4], guidance_scale=2.0))


def test_guidance_that_is_learned_in_takes_no_negative_captions():
    draw = Pipeline(make_model(objectives={"flow": {"type": "MeanFlow", "learns_guidance": True}}))
    with pytest.raises(UserError, match="which this model has learned in"):
        draw(CAPTIONS[0], negative="seven")


class Plain(Sampler):
    """One that nothing can be asked of."""

    def check(self, objective):
        """Any will do."""

    def __call__(self, denoiser, text, seeds):
        return torch.zeros(len(seeds), TOKENS, denoiser.channels)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"callback": print}, "sampler Plain can't be watched"),
        ({"trajectory": True}, "sampler Plain can't be watched"),
        ({"negative": "seven"}, "sampler Plain can't take negative captions"),
        ({"images": torch.zeros(3, 4, 6), "mask": 0.5}, "sampler Plain can't edit images"),
    ],
)
def test_a_sampler_that_goes_not_by_steps_refuses_what_it_cannot_do(options, says):
    draw = Pipeline(make_model(sampler=Plain()))
    assert len(draw(CAPTIONS[:2]).images) == 2
    with pytest.raises(UserError, match=f"{says}.*StepwiseSampler"):
        draw(CAPTIONS[:2], **options)


# Between two


def test_between_two_captions_and_two_seeds_the_ends_are_the_plain_images():
    def at(share):
        return tensors([Between(CAPTIONS[0], CAPTIONS[3], share)], [Between(1, 2, share)])[0]

    torch.testing.assert_close(at(0.0), tensors(CAPTIONS[0], [1])[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(at(1.0), tensors(CAPTIONS[3], [2])[0], atol=1e-5, rtol=0)
    assert not torch.allclose(at(0.5), at(0.0), atol=1e-2)
    with pytest.raises(UserError, match=r"share is 1\.5"):
        at(1.5)


def test_a_strip_goes_from_one_caption_and_seed_to_the_other():
    draw = pipeline()
    strip = draw.interpolate(CAPTIONS[:2], [1, 2], frames=3, output="tensor")
    assert [str(caption) for caption in strip.captions][1] == f"{CAPTIONS[0]} > {CAPTIONS[1]}, 0.5"
    torch.testing.assert_close(strip.images[0], tensors(CAPTIONS[0], [1])[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(strip.images[2], tensors(CAPTIONS[1], [2])[0], atol=1e-5, rtol=0)
    assert draw.interpolate(CAPTIONS[:2], [1], frames=3).seeds == [1, 1, 1]
    assert len(set(draw.interpolate(CAPTIONS[0], frames=3).seeds)) == 3
    for words, says in (
        ((CAPTIONS[:3], [1]), "3 captions to go between; give one or two"),
        ((CAPTIONS[:3],), "3 captions to go between; give one or two"),
        ((CAPTIONS[0], [1]), "give one or two of each"),
        ((CAPTIONS[:2], [1, 2, 3]), "give one or two of each"),
        ((5,), "captions is 5"),
        ((torch.tensor(1),), r"captions is tensor\(1\); give a text, or several"),
        ((CAPTIONS[0], 5), "seeds is 5"),
    ):
        with pytest.raises(UserError, match=says):
            draw.interpolate(*words)


def test_texts_turn_into_each_other():
    one, other = random_text(3, 0), random_text(3, 1)
    way = one.lerp(other, torch.tensor([0.0, 0.25, 1.0]))
    both = one.valid[1] & other.valid[1]
    assert torch.equal(way.valid, torch.stack([one.valid[0], one.valid[1] | other.valid[1], other.valid[2]]))
    torch.testing.assert_close(way.tokens[1][both], (0.75 * one.tokens + 0.25 * other.tokens)[1][both])
    torch.testing.assert_close(way.pooled[1], (0.75 * one.pooled + 0.25 * other.pooled)[1])
    assert torch.equal(way.tokens[2][other.valid[2]], other.tokens[2][other.valid[2]])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_random_numbers_between_two_seeds_keep_their_distribution(share):
    numbers = Generators([Between(1, 2, share), 1, 2], torch.device("cpu"))
    normal, uniform = numbers.normal(40_000), numbers.uniform(40_000)
    ends = Generators([1, 2], torch.device("cpu"))
    if share in (0.0, 1.0):
        assert torch.equal(normal[0], ends.normal(40_000)[int(share)])
        assert torch.equal(uniform[0], ends.uniform(40_000)[int(share)])
    torch.testing.assert_close(
        torch.stack([normal[0].mean(), normal[0].std()]), torch.tensor([0.0, 1.0]), atol=0.02, rtol=0
    )
    angle = torch.tensor(share * torch.pi / 2)
    near = torch.corrcoef(normal)[0, 1:], torch.corrcoef(torch.special.ndtri(uniform.clamp(1e-6)))[0, 1:]
    for found in near:
        torch.testing.assert_close(found, torch.stack([angle.cos(), angle.sin()]), atol=0.02, rtol=0)
    cuts = uniform[0].quantile(torch.tensor([0.1, 0.5, 0.9]))
    torch.testing.assert_close(cuts, torch.tensor([0.1, 0.5, 0.9]), atol=0.02, rtol=0)
    assert uniform.min() >= 0
    assert uniform.max() < 1
