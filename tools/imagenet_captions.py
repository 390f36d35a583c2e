"""Write ImageNet's class names and CLIP's sentences from open_clip into jepa_t/data: tools/imagenet_captions.py"""

import argparse
from importlib.metadata import distribution

from jepa_t.data.class_captions import IMAGENET
from jepa_t.engine.cli import friendly

HEADER = """{what}
From open_clip_torch {version} (open_clip/zero_shot_metadata.py), which has them from OpenAI's CLIP (MIT licence,
Copyright (c) 2021 OpenAI). Written by tools/imagenet_captions.py. The licence of open_clip, MIT:

{licence}"""


def entries() -> dict[str, list[str]]:
    """The names and the sentences, as open_clip has them."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES

    return {
        "names": list(IMAGENET_CLASSNAMES),
        "templates": [template("{}") for template in OPENAI_IMAGENET_TEMPLATES],
    }


@friendly
def main(arguments: list[str] | None = None) -> None:
    """Write both files."""
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    package = distribution("open_clip_torch")
    licence = next(file for file in package.files if file.name == "LICENSE").read_text()
    whats = {"names": "The names of ImageNet's 1,000 classes, by label.", "templates": "CLIP's sentences for ImageNet."}
    for field, lines in entries().items():
        header = HEADER.format(what=whats[field], version=package.version, licence=licence.strip())
        comments = [f"# {line}".rstrip() for line in header.splitlines()]
        IMAGENET[field].write_text("\n".join([*comments, *lines, ""]), "utf-8")
        print(f"{len(lines)} lines in {IMAGENET[field]}")


if __name__ == "__main__":
    main()
