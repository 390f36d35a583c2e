"""Images, tar shards, manifests, caches and statistics, as somebody might publish them."""

import functools
import io
import json
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kills
import numpy as np
import tiny
import tiny_run
import torch
from image_files import encoded, random_image

from jepa_t.benchmark import write_report
from jepa_t.card import figures_table, read_metrics
from jepa_t.data import CachedLatents, CaptionedImages
from jepa_t.data.decoding import decode
from jepa_t.data.latent_cache import Cache
from jepa_t.errors import UserError
from jepa_t.evaluation.distribution import open_reference
from jepa_t.evaluation.frechet import Moments, frechet_distance
from jepa_t.evaluation.images import open_images, read
from jepa_t.pipeline import Pipeline

SOUND = encoded(random_image())


def cases() -> Iterator[tuple]:
    """Name, maker, reader, whether it is harmless."""
    _tokenizers(), _sound_cache()  # before anything is forked
    for name, data in IMAGES.items():
        yield f"image: {name}", functools.partial(_image, data), lambda: decode(Path("x.png"))
    for name, path in MANIFESTS.items():
        yield f"manifest: {name}", functools.partial(_manifest, path), _captioned("m.jsonl"), name in HARMLESS
    for name, member in TARS.items():
        yield f"tar shard: {name}", functools.partial(_tar, member), _captioned("s.tar"), name in HARMLESS
    for name, change in CACHES.items():
        yield f"cache: {name}", functools.partial(_cache, change), _cached, name in HARMLESS
    for name, write in STATISTICS.items():
        yield f"statistics: {name}", functools.partial(_call, write, "s.npz"), _statistics
    for name, write in PACKED.items():
        yield f"packed images: {name}", functools.partial(_call, write, "s.npz"), _packed
    for name, text in RESULTS.items():
        yield f"results: {name}", functools.partial(_text, text, "results.json"), lambda: write_report(".")
        yield f"metrics: {name}", functools.partial(_text, text, "metrics.json"), _metrics, text.startswith("{")


def _call(write: Callable[[Path], object], name: str, folder: Path) -> None:
    write(folder / name)


def _text(text: str, name: str, folder: Path) -> None:
    (folder / name).write_text(text)


# Images


def _png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    every = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in every]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _image(data: bytes | Callable[[Path], object], folder: Path) -> None:
    path = folder / "x.png"
    path.write_bytes(data) if isinstance(data, bytes) else data(path)


TIFF = b"II*\0\x08\0\0\0\x01\0\x00\x01\x04\0\x01\0\0\0\x01\0\0\0\x08\0\0\0"  # whose next page is itself
BOMB = zlib.compress(b"\0" * 10**8)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(owned) (w) file closefile\n%%EOF\n"
IMAGES: dict[str, Any] = {
    "100,000 x 100,000 pixels": _png(100_000, 100_000),
    "no pixels": _png(0, 0),
    "fewer pixels than it says": _png(3000, 3000),
    "a text that is a bomb": _png(8, 8, (b"zTXt", b"a\0\0" + BOMB)),
    "a colour profile that is a bomb": _png(2**15, 2**15, (b"iCCP", b"a\0\0" + BOMB)),
    "PostScript": EPS,
    "a drawing with a script": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "pages that lead to themselves": TIFF,
    "a moving image cut after its header": b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\xf0\0\0",
    "cut": SOUND[: len(SOUND) // 2],
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a folder": Path.mkdir,
    "rubbish": b"\xff\xd8\xff" + bytes(range(256)) * 9,
}


# Manifests and shards


def _captioned(source: str) -> Callable[[], None]:
    def read_all() -> None:
        images = CaptionedImages(source, size=8, max_broken=1.0, report="broken")
        for number in range(len(images)):
            images.describe.fact(number)
            images.pixels(number)

    return read_all


def _manifest(line: str, folder: Path) -> None:
    (folder / "m.jsonl").write_bytes(line.encode("latin-1") + b"\n")
    (folder / "x.png").write_bytes(SOUND)
    (folder / "secret.txt").write_text("a secret")
    os.mkfifo(folder / "pipe")


def _line(image: object, caption: object = "a cat") -> str:
    return json.dumps({"image": image, "caption": caption})


MANIFESTS = {
    "an image that is a device": _line("/dev/zero"),
    "an image that is a pipe": _line("pipe"),
    "an image that is the list of users": _line("/etc/passwd"),
    "an image that is a folder": _line("/"),
    "a name with a NUL": _line("x\0.png"),
    "a name of 100,000 letters": _line("x" * 100_000),
    "an image that is a list": _line(["x.png"]),
    "a caption that is a number": _line("x.png", 7),
    "a caption that moves the cursor": _line("x.png", "\x1b[2Jgone"),
    "half of a letter": _line("x.png", "\ud83d"),
    "a caption in Latin-1": _line("x.png", "caf").replace("caf", "caf\xe9"),
    "nested 50,000 deep": "[" * 50_000,
    "a number of 50,000 digits": '{"image": ' + "9" * 50_000 + "}",
}


def _tar(build: Callable[[tarfile.TarFile], object] | bytes, folder: Path) -> None:
    (folder / "secret.png").write_bytes(SOUND)
    path = folder / "s.tar"
    if isinstance(build, bytes):
        path.write_bytes(build)
        return
    with tarfile.open(path, "w") as tar:
        build(tar)


def _add(tar: tarfile.TarFile, name: str, data: bytes, **fields: Any) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    tar.addfile(info, io.BytesIO(data))


def _pair(**fields: Any) -> Callable[[tarfile.TarFile], None]:
    def build(tar: tarfile.TarFile) -> None:
        _add(tar, "a.txt", b"a cat")
        _add(tar, "a.png", SOUND if fields.get("type") in (None, tarfile.REGTYPE) else b"", **fields)

    return build


def _above(tar: tarfile.TarFile) -> None:
    _add(tar, "../../owned.txt", b"a cat")
    _add(tar, "../../owned.png", SOUND)


def _huge() -> bytes:
    info = tarfile.TarInfo("a.png")
    info.size = 10**15
    return info.tobuf(tarfile.GNU_FORMAT)


def _below_nothing() -> bytes:
    block = bytearray(tarfile.TarInfo("a.png").tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"\xff" * 11 + b"\x00"  # -256 in binary
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


TARS: dict[str, Any] = {
    "names that lead out": _above,
    "an image that is a link": _pair(type=tarfile.SYMTYPE, linkname="secret.png"),
    "an image that is a hard link": _pair(type=tarfile.LNKTYPE, linkname="../secret.png"),
    "an image that is a device": _pair(type=tarfile.CHRTYPE, devmajor=1, devminor=5),
    "an image that is a pipe": _pair(type=tarfile.FIFOTYPE),
    "an image with holes": _pair(type=tarfile.GNUTYPE_SPARSE),
    "a file of 10**15 bytes": _huge(),
    "a file of fewer than no bytes": _below_nothing(),
    "cut": _huge()[:300],
    "compressed": zlib.compress(_huge()),
    "rubbish": b"\xff" * 5000,
}


# Caches


def _cache(change: Callable[[Path], object], folder: Path) -> None:
    for name, data in _sound_cache().items():
        path = folder / "cache" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    change(folder / "cache")


@functools.cache
def _sound_cache() -> dict[str, bytes]:
    return kills.unbroken(kills.caching())[0]


def _cached() -> None:
    dataset = {"type": "ImageNet", "root": "set", "size": 8, "names": ["a", "b", "c"], "flip": False}
    latents = CachedLatents("cache", dataset)
    latents.check(*_tokenizers())
    if damaged := Cache("cache").verify():
        raise UserError(f"shard {damaged[0]} is damaged")
    for start in range(0, len(latents), 8):
        latents.__getitems__(list(range(start, min(start + 8, len(latents)))))


@functools.cache
def _tokenizers() -> tuple:
    """An image and a text tokenizer that can read the cache."""
    text = Pipeline.from_pretrained(tiny_run.checkpoint(), device="cpu").model.ema.text_tokenizer
    return tiny.make_tokenizer("KLTokenizer", size=(8, 8)), text


def _json(file: str, **changes: Any) -> Callable[[Path], None]:
    def change(cache: Path) -> None:
        path = cache / file
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def _piped(cache: Path) -> None:
    (cache / "00000.bin").unlink()
    os.mkfifo(cache / "00000.bin")


CACHES: dict[str, Callable[[Path], object]] = {
    "10**15 images": _json("cache.json", count=10**15, shard=1),
    "10**15 images in a shard": _json("cache.json", count=10**15, shard=10**15),
    "shards of no image": _json("cache.json", shard=0),
    "fewer than no images": _json("cache.json", count=-5),
    "a count that is a text": _json("cache.json", count="60"),
    "facts of another kind": _json("cache.json", kind="captions"),
    "a kind that is a list": _json("cache.json", kind=["labels"]),
    "a tokenizer that is a text": _json("cache.json", tokenizer="x"),
    "a tokenizer of another shape": _json("cache.json", tokenizer={"shape": [10**9, 10**9, 10**9]}),
    "a tokenizer without a shape": _json("cache.json", tokenizer={}),
    "images that are a list": _json("cache.json", images=[1]),
    "settings that are a list": lambda cache: (cache / "cache.json").write_text("[1]"),
    "settings nested 50,000 deep": lambda cache: (cache / "cache.json").write_text("[" * 50_000),
    "a shard that is a list": lambda cache: (cache / "00001.json").write_text("[1]"),
    "a shard without facts": lambda cache: (cache / "00001.json").write_text("{}"),
    "labels that are texts": _json("00001.json", labels=["a", "b"]),
    "a label of 10**12": _json("00001.json", labels=[10**12, 0]),
    "more labels than images": _json("00001.json", labels=[0] * 50),
    "a broken image of number 10**12": _json("00001.json", broken=[{"number": 10**12, "name": "a", "reason": "b"}]),
    "broken images that are texts": _json("00001.json", broken=["x"]),
    "a size that is a text": _json("00001.json", bytes="x"),
    "numbers that are a pipe": _piped,
    "a flipped bit": lambda cache: (cache / "00001.bin").write_bytes(b"\xff" + _sound_cache()["00001.bin"][1:]),
}


# Statistics, packed images, figures


class _Extractor:
    width, facts, prefix = 4, {"features_sha256": "x"}, ""


def _statistics() -> None:
    known = open_reference("s.npz", _Extractor())
    moments = Moments().add(torch.randn(50, 4, dtype=torch.float64, generator=tiny.generator(0)))
    if known.features is None or not np.isfinite(frechet_distance(moments.gaussian(), known.features)):
        raise AssertionError("a distance that is no number, and nobody says so")


def _packed() -> None:
    for _ in read(images := open_images("s.npz"), 4):
        assert len(images)


def _metrics() -> None:
    figures_table(read_metrics("metrics.json"))


def _arrays(**changes: Any) -> Callable[[Path], None]:
    plain = {"mu": np.zeros(4), "sigma": np.eye(4), "count": np.array(50)}
    return lambda path: np.savez(path, **(plain | changes))


def _header(shape: tuple, dtype: str = "<f8", version: bytes = b"\x01\x00") -> bytes:
    text = str({"descr": dtype, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text


def _members(compressed: bool = False, **members: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
            for name, data in members.items():
                archive.writestr(f"{name}.npy", data)

    return write


def _bombs(name: str, shape: tuple, dtype: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                member.write(_header(shape, dtype))
                for _ in range(300):
                    member.write(b"\0" * 10**7)  # 3 GB in 3 MB
            if name != "arr_0":
                archive.writestr("sigma.npy", _header((1, 1)) + b"\0" * 8)

    return write


STATISTICS: dict[str, Callable[[Path], object]] = {
    "a pickle": _arrays(mu=np.array([{"a": 1}], dtype=object)),
    "a mean of 10**12 numbers": _members(mu=_header((10**12,)), sigma=_header((4, 4))),
    "a bomb": _bombs("mu", (375_000_000,), "<f8"),
    "a mean of texts": _arrays(mu=np.array(["a", "b", "c", "d"])),
    "a mean that is a number": _arrays(mu=np.array(1.0)),
    "another number of features": _arrays(mu=np.zeros(5), sigma=np.eye(5)),
    "a covariance that is no square": _arrays(sigma=np.zeros((4, 3))),
    "a covariance that is no number": _arrays(sigma=np.full((4, 4), np.nan)),
    "a covariance below 0": _arrays(sigma=-np.eye(4)),
    "a count that is a text": _arrays(count=np.array("x")),
    "other features": _arrays(features_sha256=np.array("y")),
    "features of another width": _arrays(features=np.zeros((9, 3))),
    "cut": lambda path: path.write_bytes(b"PK\x03\x04" + b"\0" * 50),
    "an unknown version": _members(mu=_header((4,), version=b"\x09\x09"), sigma=_header((4, 4))),
    "no archive": lambda path: path.write_bytes(b"mu"),
    "a pipe": os.mkfifo,
}
CODE = b"\x93NUMPY\x01\x00" + struct.pack("<H", 30) + b"__import__('os').getcwd()     "
PACKED: dict[str, Callable[[Path], object]] = {
    "10**12 images": _members(arr_0=_header((10**12, 8, 8, 3), "|u1")),
    "a pickle": _members(arr_0=_header((1, 8, 8, 3), "|O")),
    "a bomb": _bombs("arr_0", (15_625_000, 8, 8, 3), "|u1"),
    "an unknown version": _members(arr_0=_header((1, 8, 8, 3), "|u1", b"\x09\x09")),
    "fractions": _members(arr_0=_header((1, 8, 8, 3), "<f4") + b"\0" * 768),
    "sizes below 0": _members(arr_0=_header((-1, 8, 8, 3), "|u1")),
    "a header that is code": _members(
        arr_0=b"\x93NUMPY\x01\x00" + struct.pack("<H", 30) + b"__import__('os').getcwd()     "
    ),
}
RUBBISH = json.dumps({"suites": {"fusion": {"made": {"a": {"command": "", "date": ""}}, "records": [{"task": "a"}]}}})
RESULTS = {
    "a list": "[1]",
    "nothing in them": "{}",
    "nested 50,000 deep": "[" * 50_000,
    "suites that are a list": '{"suites": [1]}',
    "records of rubbish": RUBBISH,
}
HARMLESS = {"names that lead out"}  # which are read where they lie, and never written
