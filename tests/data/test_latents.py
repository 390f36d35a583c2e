"""The cache of latents: the same training with it as without, whole or refused, whatever happens to its files."""

import json
import mmap
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import config, make_tokenizer, pretrained_kl, randomise

sys.path.insert(0, str(Path(__file__).parent))
from image_files import damage, encoded, random_image, write_classes

from jepa_t.data.latent_cache import SETTINGS, Cache, write_cache
from jepa_t.engine.hooks import FitTokenizersHook
from jepa_t.errors import UserError
from jepa_t.registry import DATASETS, MODELS, build
from jepa_t.tokenizers.encoding import encode

NAMES = ["tench", "goldfish", "shark"]


def images_of(root, **options):
    defaults = {"size": 8, "names": NAMES, "templates": ["a {}", "the {}"], "report": str(root / "report")}
    return {"type": "ImageNet", "root": str(root), "max_broken": 1.0} | defaults | options


def tokenizer(**options):
    return make_tokenizer("KLTokenizer", size=(8, 8), **options)


def write(folder, images, shard=4, batch_size=3, made_by=None, **options):
    made_by = made_by or tokenizer()
    return list(write_cache(folder, build(images, DATASETS), made_by, images, shard, batch_size, **options))


def cached(folder, images, **options):
    return build({"type": "CachedLatents", "folder": str(folder), "dataset": images, **options}, DATASETS)


@pytest.fixture
def whole(tmp_path):
    """Images of which two are broken, and their cache of three shards."""
    images = images_of(write_classes(tmp_path / "set"))
    damage(tmp_path / "set" / "train" / "n00000001" / "2.JPEG")
    damage(tmp_path / "set" / "train" / "n00000002" / "1.JPEG")  # the only one of the last shard
    assert write(tmp_path / "cache", images) == ["00000", "00001", "00002"]
    return tmp_path / "cache", images


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# What is in it


def test_every_sample_is_that_of_the_images(whole):
    """Broken ones, which have stand-ins, and mirrored ones too."""
    folder, images = whole
    data, plain = cached(folder, images), build(images, DATASETS)
    assert len(data) == len(plain) == 18
    order = [17, 0, 9, 5, 8, *range(18)]
    batch, expected = data.__getitems__(order), plain.__getitems__(order)
    assert batch["data_samples"] == expected["data_samples"]
    assert batch["inputs"]["moments"].dtype == torch.float16
    moments = tokenizer().moments(expected["inputs"])
    torch.testing.assert_close(batch["inputs"]["moments"].float(), moments, atol=2e-3, rtol=2e-3)
    assert not torch.equal(batch["inputs"]["moments"][1], batch["inputs"]["moments"][2])
    assert data.captions == plain.captions
    assert len(cached(folder, images | {"flip": False})) == 9


def test_a_step_of_training_is_the_same(whole):
    folder, images = whole
    image_tokenizer = {"type": "KLTokenizer"} | pretrained_kl() | {"size": (8, 8)}
    model, order = build(config(image_tokenizer=image_tokenizer), MODELS), [0, 9, 3, 12, 5, 17]
    data, plain, results = cached(folder, images), build(images, DATASETS), []
    model.fit(None, data.captions)
    randomise(model.network)
    model.ema.load_state_dict(model.network.state_dict())
    for each in (data, plain):
        model.zero_grad()
        torch.manual_seed(0)
        batch = model.data_preprocessor(each.__getitems__(order))
        losses = model(**batch, mode="loss")
        sum(losses.values()).backward()
        gradients = [p.grad.flatten() for p in model.network.parameters() if p.grad is not None]
        results.append((losses, torch.cat(gradients)))
    (losses, gradients), (expected, others) = results
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=2e-3, atol=1e-4)
    assert (gradients - others).norm() < 0.01 * others.norm()


def test_the_index_says_all_that_is_needed_to_read_it(whole):
    folder, _ = whole
    settings = json.loads((folder / SETTINGS).read_text())
    assert settings["tokenizer"] == tokenizer().identity
    assert (settings["count"], settings["shard"], settings["images"]["size"]) == (9, 4, 8)
    shard = json.loads((folder / "00001.json").read_text())
    assert shard["names"] == ["n00000001/1.JPEG", "n00000001/3.JPEG", "n00000002/0.JPEG"]
    assert shard["labels"] == [1, 1, 2]
    (broken,) = shard["broken"]
    assert (broken["number"], broken["name"]) == (5, "n00000001/2.JPEG")
    moments = np.fromfile(folder / "00001.bin", "<f2").reshape(3, 2, *settings["tokenizer"]["shape"])
    assert np.isfinite(moments).all()
    (report,) = (folder / "broken_images").iterdir()
    assert [line.split("\t")[0] for line in report.read_text().splitlines()] == ["n00000001/2.JPEG", "n00000002/1.JPEG"]


def test_the_captions_are_those_of_the_config_not_of_the_cache(whole):
    folder, images = whole
    data = cached(folder, images | {"templates": ["look: {}"], "seed": 3})
    assert data.__getitems__([0])["data_samples"]["caption"] == ["look: tench"]
    with pytest.raises(UserError, match="has 3 classes and names has 2"):
        cached(folder, images | {"names": NAMES[:2]})
    with pytest.raises(UserError, match="has 3 classes and names has 4"):
        cached(folder, images | {"names": [*NAMES, "eel"]})


def test_captions_of_the_images_own_are_kept(tmp_path):
    lines = [{"image": f"{i}.png", "caption": [f"{i} one", f"{i} two"]} for i in range(5)]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for i in range(5):
        (tmp_path / f"{i}.png").write_bytes(encoded(random_image(seed=i)))
    images = {"type": "CaptionedImages", "source": str(tmp_path / "list.jsonl"), "size": 8, "flip": True}
    write(tmp_path / "cache", images)
    data, plain = cached(tmp_path / "cache", images), build(images, DATASETS)
    samples = data.__getitems__(list(range(10)))["data_samples"]
    assert samples == plain.__getitems__(list(range(10)))["data_samples"]
    assert sorted(data.captions) == sorted(plain.captions)


class FourWords:
    """A text tokenizer that reads up to four words."""

    def reader(self):
        return read_four


def read_four(caption):
    if len(caption.split()) > 4:
        raise UserError(f"the caption {caption!r} is too long")


def test_a_caption_that_cant_be_read_is_a_broken_sample_with_and_without_a_cache(tmp_path):
    captions = ["a red one", "a blue one", "one that has far too many words", "a green one"]
    for i, caption in enumerate(captions):
        (tmp_path / f"{i}.png").write_bytes(encoded(random_image(seed=i)))
        (tmp_path / f"{i}.txt").write_text(caption)
    images = {"type": "CaptionedImages", "source": str(tmp_path), "size": 8, "flip": True}
    images |= {"report": str(tmp_path / "report"), "max_broken": 1.0}
    write(tmp_path / "cache", images)
    batches = []
    for data in (build(images, DATASETS), cached(tmp_path / "cache", images)):
        assert captions[2] in data.captions
        data.check(tokenizer(), FourWords())
        assert sorted(data.captions) == sorted(captions[:2] + captions[3:])
        batches.append(data.__getitems__([7, 6, 5, 4, 3, 2, 1, 0])["data_samples"])
    assert batches[0] == batches[1]
    assert captions[2] not in batches[0]["caption"]
    (report,) = (tmp_path / "report").iterdir()
    names, reasons = zip(*(line.split("\t") for line in report.read_text().splitlines()), strict=True)
    assert names == ("2.png", "image 2")
    assert all("is too long" in reason for reason in reasons)


# Reading


def test_reading_copies_the_batch_alone(whole):
    folder, images = whole
    data = cached(folder, images)
    assert data.source.files._maps == {}
    size = len(pickle.dumps(data))
    assert b"n00000001/1.JPEG" not in pickle.dumps(data)  # nor is it sent a million names
    batch = data.__getitems__([0, 3])["inputs"]["moments"]
    assert list(data.source.files._maps) == [0]
    owner = data.source.files[0]
    while isinstance(owner, np.ndarray):
        owner = owner.base
    assert isinstance(owner, mmap.mmap)
    assert not np.shares_memory(batch.numpy(), data.source.files[0])
    batch.zero_()  # a batch is the reader's own
    assert len(pickle.dumps(data)) == size  # a worker that is sent it gets no numbers
    assert torch.equal(pickle.loads(pickle.dumps(data)).__getitems__([1])["inputs"]["moments"][0], one(data, 1))


def one(data, index):
    return data.__getitems__([index])["inputs"]["moments"][0]


def test_held_on_a_device_it_says_the_same(whole, monkeypatch):
    folder, images = whole
    data, held = cached(folder, images), cached(folder, images, device="cpu:0")
    order = [17, 0, 9, 5, 8, 4]
    assert torch.equal(held.__getitems__(order)["inputs"]["moments"], data.__getitems__(order)["inputs"]["moments"])
    monkeypatch.setattr("jepa_t.data.latents.get_worker_info", lambda: "a worker")
    assert data.__getitems__(order)
    with pytest.raises(UserError, match=r"holds .* set train_dataloader.num_workers=0"):
        held.__getitems__(order)


def test_a_device_without_the_memory_is_told(whole):
    with pytest.raises(UserError, match=r"device='cuda:99' can't hold 0.0 GiB: .*; use 'cpu'"):
        cached(*whole, device="cuda:99")


# Writing


def test_an_interrupted_run_goes_on_where_it_was(whole, tmp_path):
    folder, images = whole
    other = tmp_path / "other"
    run = write_cache(other, build(images, DATASETS), tokenizer(), images, 4, 3)
    assert next(run) == "00000"
    run.close()
    (other / "00001.bin").write_bytes(b"half of it")  # killed between the numbers and their index, or within them
    (other / ".00001.bin.tmp").write_bytes(b"half of it")
    before = (other / "00000.bin").stat().st_mtime_ns
    data = cached(other, images)
    assert data.source.images is not None  # it isn't whole: images are read
    assert write(other, images) == ["00001", "00002"]
    assert (other / "00000.bin").stat().st_mtime_ns == before
    assert contents(other) == contents(folder)
    assert write(other, images) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_processes_share_the_shards_and_write_the_same(whole, tmp_path, monkeypatch, workers):
    folder, images = whole
    for rank in (0, 1):
        monkeypatch.setattr("jepa_t.data.latent_cache.get_dist_info", lambda rank=rank: (rank, 2))
        assert write(tmp_path / "two", images, workers=workers) == [["00000", "00002"], ["00001"]][rank]
    assert contents(tmp_path / "two") == contents(folder)


def test_a_folder_of_another_cache_is_not_written_to(whole, tmp_path):
    folder, images = whole
    before = contents(folder)
    with pytest.raises(UserError, match="something else: shard is 4 there and 5 here"):
        write(folder, images, shard=5)
    write_classes(tmp_path / "more", (3, 4, 3))
    with pytest.raises(UserError, match="something else: count is 9 there and 10 here"):
        write(folder, images | {"root": str(tmp_path / "more")})
    with pytest.raises(UserError, match="something else: tokenizer is"):
        write(folder, images, made_by=make_tokenizer("KLTokenizer", size=(8, 12)))
    (Path(images["root"]) / "train" / "n00000000" / "0.JPEG").rename(tmp_path / "set/train/n00000000/0b.JPEG")
    with pytest.raises(UserError, match="something else: listing is"):
        write(folder, images)
    assert contents(folder) == before


def test_too_many_broken_images_stop_the_writing(tmp_path):
    images = images_of(write_classes(tmp_path, (12, 12, 12)), max_broken=0.1)
    for path in (tmp_path / "train").glob("*/[0-5].JPEG"):
        damage(path)
    with pytest.raises(UserError, match=r"of \d+ images read are broken, more than max_broken=0.1"):
        write(tmp_path / "cache", images, shard=8)


def test_only_a_kl_tokenizer_s_latents_are_cached(whole, tmp_path):
    _, images = whole
    with pytest.raises(UserError, match="latents of a PatchTokenizer aren't cached"):
        write(tmp_path / "other", images, made_by=make_tokenizer("PatchTokenizer"))


def test_latents_that_fp16_can_t_hold_are_refused(whole, tmp_path):
    _, images = whole
    strange = tokenizer()
    strange.autoencoder.module.quant_conv.bias.data.fill_(1e6)
    with pytest.raises(UserError, match="too large for fp16"):
        write(tmp_path / "other", images, made_by=strange)


# Damage


def test_a_damaged_shard_is_found_and_named(whole):
    folder, images = whole
    path = folder / "00001.bin"
    good = path.read_bytes()
    path.write_bytes(good[:-2])
    with pytest.raises(UserError, match=rf"00001.bin' has {len(good) - 2} bytes instead of {len(good)}; remove"):
        cached(folder, images)
    path.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
    assert Cache(folder).verify() == ["00001"]
    path.unlink()
    with pytest.raises(UserError, match=r"00001.bin' is missing; remove .*00001.\* and run jepa-t cache-latents"):
        cached(folder, images)
    (folder / "00001.json").unlink()
    assert write(folder, images) == ["00001"]
    assert Cache(folder).verify() == []
    assert path.read_bytes() == good
    (folder / "00000.json").write_text('{"bytes": 3')
    with pytest.raises(UserError, match=r"00000.json' is damaged or no JSON: .*; remove it"):
        cached(folder, images)


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr("jepa_t.data.latents.print_log", lambda text, *_: lines.append(text))
    return lines


def test_images_are_read_where_no_whole_cache_is(whole, said, tmp_path):
    folder, images = whole
    assert "moments" in cached(folder, images).__getitems__([0])["inputs"]
    plain = build(images, DATASETS).__getitems__([3])
    (folder / "00001.json").unlink()
    for place in (folder, tmp_path / "nowhere"):
        data = cached(place, images)
        batch = data.__getitems__([3])
        assert torch.equal(batch["inputs"], plain["inputs"])
        assert batch["data_samples"] == plain["data_samples"]
        assert torch.equal(data.images, build(images, DATASETS).images)
        assert (len(data), data.captions) == (18, build(images, DATASETS).captions)
        data.check(make_tokenizer("PatchTokenizer", size=(8, 8)), None)  # images suit every tokenizer
    assert said[0] == f"reading the cache of latents '{folder}': 9 images of {images['root']!r}"
    assert said[1] == f"the cache of latents '{folder}' lacks 1 shards, such as 00001; reading images"
    assert "isn't there; reading images" in said[2]


# What it can't be used with


def test_a_cache_of_other_images_is_refused(whole):
    folder, images = whole
    with pytest.raises(UserError, match="is of images of size=8, not 16"):
        cached(folder, images | {"size": 16})
    with pytest.raises(UserError, match="is of images of split='train', not 'val'"):
        cached(folder, images | {"split": "val"})


def fit(data, image_tokenizer):
    network = SimpleNamespace(text_tokenizer=None)
    model = SimpleNamespace(image_tokenizer=image_tokenizer, network=network, fit=lambda images, captions: captions)
    runner = SimpleNamespace(train_dataloader=SimpleNamespace(dataset=data), model=model)
    FitTokenizersHook().before_train(runner)


def test_another_tokenizer_is_refused_before_training(whole):
    data, other = cached(*whole), tokenizer()
    fit(data, tokenizer(posterior="sample", scale=3.0, patch=2))  # all of this comes after the moments
    with pytest.raises(
        UserError, match=r"of another tokenizer: shape \[8, 4, 4\], model.image_tokenizer has \[8, 4, 6"
    ):
        fit(data, make_tokenizer("KLTokenizer", size=(8, 12)))
    other.autoencoder.sha256[0] += 1
    with pytest.raises(
        UserError, match=r"of another tokenizer: sha256 \w{12}\.\.\., model.image_tokenizer has \w{12}\."
    ):
        fit(data, other)
    with pytest.raises(UserError, match=r"need a KLTokenizer, model.image_tokenizer is a PatchTokenizer"):
        fit(data, make_tokenizer("PatchTokenizer"))
    assert data.images is None


def test_images_are_decoded_for_a_tokenizer_only_if_it_must_be_fitted(tmp_path, monkeypatch):
    data = build(images_of(write_classes(tmp_path)), DATASETS)
    fit(data, make_tokenizer("PatchTokenizer", size=(8, 8)))
    monkeypatch.setattr(type(data), "pixels", lambda self, number: pytest.fail("an image was decoded"))
    fit(data, tokenizer())


def test_a_model_of_images_refuses_moments():
    with pytest.raises(UserError, match="PatchTokenizer reads images; cached latents need a KLTokenizer"):
        encode(make_tokenizer("PatchTokenizer"), {"moments": torch.zeros(1, 8, 4, 4)})
