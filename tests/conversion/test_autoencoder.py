"""MAR's file of an autoencoder as a folder of diffusers."""

import pytest
import torch
from ldm_reference import Reference, ldm_weights

from jepa_t.conversion import convert_autoencoder
from jepa_t.errors import UserError
from jepa_t.tokenizers import KLTokenizer


@pytest.fixture
def file(tmp_path):
    """In the format of KL-16: five levels, attention in the last, all under ``model``, a discriminator beside it."""
    weights = ldm_weights((32, 32, 64, 64, 128), blocks=1, latents=16, attention=(4,))
    loss = {"loss.logvar": torch.zeros(()), "loss.discriminator.main.0.weight": torch.ones(2, 3, 4, 4)}
    torch.save({"model": weights | loss}, tmp_path / "kl16.ckpt")
    return tmp_path / "kl16.ckpt", weights


@torch.no_grad()
def test_the_folder_says_the_scale_and_gives_the_same_tokens_and_images(file, tmp_path):
    path, weights = file
    rows = convert_autoencoder(str(path), tmp_path / "kl16")
    tokenizer = KLTokenizer(str(tmp_path / "kl16"), (32, 48), posterior="mode")
    images = torch.rand(2, 3, 32, 48) * 2 - 1
    reference, tokens = Reference(weights), tokenizer.encode(images)
    assert (tokenizer.grid, tokenizer.channels, tokenizer.stride) == ((2, 3), 16, 16)
    mean = reference.encode(images)[0].flatten(2).transpose(1, 2)
    torch.testing.assert_close(tokens, 0.2325 * mean, atol=1e-5, rtol=1e-5)
    latents = (tokens / 0.2325).transpose(1, 2).unflatten(2, (2, 3))
    torch.testing.assert_close(tokenizer.decode(tokens), reference.decode(latents), atol=1e-4, rtol=1e-4)
    assert sum(row.used for row in rows) == len(weights) + 2
    assert [(row.theirs, row.used, row.made) for row in rows if row.note] == [("loss", 2, 0)]
    same = KLTokenizer(str(path), (32, 48), posterior="mode", scale=0.2325)
    assert torch.equal(same.autoencoder.sha256, tokenizer.autoencoder.sha256)


def test_another_scale_is_kept(file, tmp_path):
    convert_autoencoder(str(file[0]), tmp_path / "kl16", scale=0.5)
    assert KLTokenizer(str(tmp_path / "kl16"), (32, 32)).scale.unique().tolist() == [0.5]


def test_a_folder_that_holds_something_and_a_file_that_is_none_are_told(file, tmp_path):
    path, weights = file
    with pytest.raises(UserError, match="holds something; give a new folder"):
        convert_autoencoder(str(path), tmp_path)
    weights["encoder.strange.weight"] = torch.ones(2)
    torch.save({"model": weights}, path)
    with pytest.raises(UserError, match=r"no LDM autoencoder that diffusers knows: .*strange"):
        convert_autoencoder(str(path), tmp_path / "kl16")
    assert not (tmp_path / "kl16").exists()
