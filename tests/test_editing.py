"""Editing: what is kept is never touched, what is masked is drawn as ever, and what can't be read is told."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from tiny import CAPTIONS, GENERATIVE, GRID, SIZE, TOKENS, random_images, shared_model
from watched import model_by

from jepa_t.errors import UserError
from jepa_t.pipeline import Pipeline

SEEDS = [1, 2, 3]


def pipeline(objective="FlowMatching"):
    return Pipeline(shared_model().eval() if objective == "FlowMatching" else model_by(objective).eval())


def draw(draw, images=None, mask=None, captions=CAPTIONS[:3], seeds=SEEDS, **options):
    return draw(captions, seeds, images=images, mask=mask, output="tensor", **options).images


def coded(draw, images):
    """What the tokenizer gives of images, and its tokens."""
    tokens = draw.model.image_tokenizer.encode(images)
    return draw.model.image_tokenizer.decode(tokens).clamp(-1, 1), tokens


def pixels(tokens):
    """A mask in pixels of exactly these tokens ``[B, N]``."""
    return tokens.unflatten(1, GRID).repeat_interleave(2, 1).repeat_interleave(2, 2)


@pytest.mark.parametrize("objective", GENERATIVE)
def test_an_empty_mask_gives_the_image_back_and_a_full_one_draws_as_ever(objective):
    one = pipeline(objective)
    images = random_images(3)
    assert torch.equal(draw(one, images, 0.0), coded(one, images)[0])
    assert torch.equal(draw(one, images, torch.zeros(SIZE)), coded(one, images)[0])
    assert torch.equal(draw(one, images, 1.0), draw(one))
    assert torch.equal(draw(one, images, np.ones(SIZE, bool)), draw(one))


@given(st.lists(st.booleans(), min_size=TOKENS, max_size=TOKENS), st.sampled_from(["random", "halton", "checkerboard"]))
@settings(max_examples=15)
def test_kept_tokens_are_never_touched_nor_masked_ones_read(masked, order):
    one, images = pipeline(), random_images(3)
    mask = torch.tensor([masked] * 3)
    hidden = torch.where(pixels(mask)[:, None], 0.5 * torch.ones(()), images)
    found = draw(one, images, pixels(mask[:1])[0], order=order)
    kept = (~pixels(mask)[:, None]).expand_as(found)
    assert torch.equal(found[kept], coded(one, images)[0][kept])
    assert torch.equal(found, draw(one, hidden, pixels(mask[:1])[0], order=order))  # whatever lies under the mask
    assert any(masked) == (not torch.equal(found, coded(one, images)[0]))


def test_a_token_is_drawn_anew_if_any_of_its_pixels_is_masked():
    one, images, mask = pipeline(), random_images(1), torch.zeros(SIZE, dtype=torch.uint8)
    mask[1, 2] = 255  # of the second token
    steps = one(CAPTIONS[0], [0], images=images, mask=mask, trajectory=True).trajectory
    assert [step.revealed.tolist() for step in steps] == [[[False, True, False, False, False, False]]]


def test_masks_of_several_sizes_in_one_call_and_what_is_drawn_depends_on_no_other_image():
    one, images = pipeline(), random_images(4)
    mask = torch.zeros(4, TOKENS, dtype=torch.bool)
    mask[0, :4], mask[2, 2:], mask[3] = True, True, True
    seeds, captions, rows = [4, 5, 6, 7], CAPTIONS[:4], []
    together = draw(one, images, pixels(mask), captions, seeds, callback=lambda step: rows.append(step.rows))
    assert {tuple(group) for group in rows} == {(0, 2), (3,)}
    for row in range(4):
        alone = draw(one, images[row], pixels(mask)[row], captions[row], seeds[row : row + 1])
        torch.testing.assert_close(alone[0], together[row], atol=1e-4, rtol=0)


def test_a_share_is_chosen_by_the_seed():
    one, images = pipeline(), random_images(1)[0]

    def chosen(seed):
        steps = one(CAPTIONS[0], [seed], images=images, mask=0.5, trajectory=True).trajectory
        return torch.stack([step.revealed[0] for step in steps]).any(0).tolist()

    assert chosen(1) == chosen(1)
    assert len({str(chosen(seed)) for seed in range(4)}) > 1
    assert sum(chosen(2)) == TOKENS // 2


def test_images_and_masks_of_pil_and_the_same_from_tensors():
    one = pipeline()
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[:2, :2] = True
    values = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    image, white = Image.fromarray(values), Image.fromarray(mask.numpy())
    tensor = torch.from_numpy(values).permute(2, 0, 1) / 127.5 - 1
    found = draw(one, image, white)
    assert torch.equal(found, draw(one, [tensor] * 3, [mask.numpy()] * 3))
    assert torch.equal(found, draw(one, image.convert("RGBA"), white.convert("L")))
    assert torch.equal(found, draw(one, image, mask.float()))
    assert torch.equal(found, draw(one, tensor.double(), np.flip(mask.numpy()).copy()[::-1, ::-1]))
    clear = Image.fromarray(np.full((*SIZE, 4), 255, np.uint8))
    clear.putalpha(white.convert("L"))  # white all over, and transparent where the image stays
    assert torch.equal(found, draw(one, image, clear))


def test_images_and_masks_of_pil_are_turned_upright_as_their_exif_says():
    one, random = pipeline(), np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (*SIZE, 3), np.uint8))
    mask = Image.fromarray(random.integers(0, 2, SIZE, np.uint8) * 255)
    mask.paste(0, (0, 0, 2, 2))

    def aside(upright):
        file, exif = io.BytesIO(), Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        upright.transpose(Image.Transpose.ROTATE_90).save(file, "PNG", exif=exif)
        return Image.open(file)

    assert torch.equal(draw(one, image, mask), draw(one, aside(image), aside(mask)))


def test_shares_are_numbers_of_any_library():
    one, images = pipeline(), random_images(3)
    shares = [0.5, 0.0, 1.0]
    found = draw(one, images, shares)
    for same in (np.array(shares), torch.tensor(shares), [torch.tensor(share) for share in shares]):
        assert torch.equal(found, draw(one, images, same))
    for half in (torch.tensor(0.5), np.array(0.5)):
        assert torch.equal(draw(one, images, 0.5), draw(one, images, half))


IMAGE = Image.new("RGB", SIZE[::-1])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mask": 0.5}, "mask is given without images"),
        ({"images": IMAGE}, "images are given without a mask"),
        ({"images": Image.new("RGB", (8, 8)), "mask": 0.5}, "an image is 8 x 8 and the model draws 4 x 6; resize it"),
        ({"images": Image.new("F", SIZE[::-1]), "mask": 0.5}, "its pixels are fractions"),
        ({"images": [IMAGE] * 2, "mask": 0.5}, "3 captions and 2 images; give one for all, or one for each"),
        ({"images": "fox.png", "mask": 0.5}, "images is a str; give a PIL image or a tensor"),
        ({"images": [7] * 3, "mask": 0.5}, "images holds a int"),
        ({"images": torch.zeros(3, *SIZE) + 2, "mask": 0.5}, "numbers outside [-1, 1]"),
        ({"images": torch.zeros(3, *SIZE) + torch.nan, "mask": 0.5}, "numbers outside [-1, 1]"),
        ({"images": IMAGE, "mask": 1.5}, "mask is 1.5; it must lie between 0 and 1"),
        ({"images": IMAGE, "mask": True}, "mask is a bool"),
        ({"images": IMAGE, "mask": torch.zeros(6, 4)}, "a mask is 6 x 4 and the model draws 4 x 6"),
        ({"images": IMAGE, "mask": [0.5] * 2}, "3 captions and 2 mask"),
        ({"images": IMAGE, "mask": torch.zeros(SIZE, dtype=torch.int64)}, "mask has the type torch.int64"),
        ({"images": IMAGE, "mask": np.ones(SIZE, np.uint8)}, "its largest number is 1; give bool, or white as 255"),
        ({"images": IMAGE, "mask": torch.full(SIZE, 255.0)}, "mask holds numbers outside [0, 1]"),
        ({"images": IMAGE, "mask": np.full(SIZE, np.nan)}, "mask holds numbers outside [0, 1]"),
        ({"images": IMAGE, "mask": np.full(SIZE, None)}, "mask has the type object"),
        ({"images": IMAGE, "mask": Image.new("LAB", SIZE[::-1])}, "a mask can't be read"),
        *(({"images": IMAGE, "mask": Image.new(m, SIZE[::-1])}, f"its mode is {m}") for m in ("F", "I", "I;16")),
        ({"negative": ["seven"]}, "3 captions and 1 negative"),
        ({"negative": ""}, "is empty"),
        ({"negative": "seven", "guidance_scale": 1.0}, "guidance, which is off"),
        ({"output": "jpeg"}, "unknown output 'jpeg'"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_drawn(options, says):
    with pytest.raises(UserError) as caught:
        pipeline()(CAPTIONS[:3], SEEDS, callback=lambda _: pytest.fail("something was drawn"), **options)
    assert says in str(caught.value)
