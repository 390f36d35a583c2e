"""How an image of inked digits is laid out, and the sentences that say so."""

from dataclasses import dataclass

from ...errors import unknown
from .scans import SIDE


@dataclass(frozen=True)
class Layout:
    """How many scans an image shows, where, and how that is said.

    Attributes:
        size: Height and width of the image in pixels.
        templates: Caption templates of the training images.
        paraphrases: Templates withheld from training, made of the same words.
    """

    size: tuple[int, int]
    templates: tuple[str, ...]
    paraphrases: tuple[str, ...]

    @property
    def places(self) -> int:
        """How many scans an image shows."""
        return self.size[0] * self.size[1] // SIDE**2

    @property
    def axis(self) -> int:
        """The dimension of an image along which its scans lie."""
        return -2 if self.size[0] > self.size[1] else -1


def _two(size: tuple[int, int], before: str, after: str) -> Layout:
    """A layout of two scans; each scene can be told from either of them, so that word order counts."""
    forth = "a {ink} {digit} " + before + " a {ink2} {digit2}"
    back = "a {ink2} {digit2} " + after + " a {ink} {digit}"
    on = "on {paper} paper"
    return Layout(size, (forth, back, f"{forth} {on}", f"{on} {back}"), (f"{on} {forth}", f"{back} {on}"))


LAYOUTS = {
    "single": Layout(
        (8, 8),
        (
            "a {ink} {digit}",
            "a {ink} {digit} on {paper} paper",
            "the digit {digit} in {ink} ink",
            "on {paper} paper the digit {digit} in {ink}",
        ),
        ("the {digit} in {ink} ink on {paper} paper", "the {ink} digit {digit}"),
    ),
    "pairs": _two((8, 16), "left of", "right of"),
    "stacked": _two((16, 8), "above", "below"),
}


def layout_named(name: str) -> Layout:
    """The layout of that name.

    Raises:
        UserError: There is none.
    """
    if name not in LAYOUTS:
        raise unknown("layout", name, LAYOUTS)
    return LAYOUTS[name]
