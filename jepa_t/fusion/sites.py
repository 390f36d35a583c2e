"""The six sites, and the fusions of the paper's ablation as dictionaries over them."""

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..contracts import AttendingFusion
from ..errors import UserError, unknown
from ..layers import seeded
from ..registry import FUSIONS, build
from ..structures import Split, Text

SITES = ("encoder", "context", "predictor", "blocks", "features", "objective")
UNMASKED = ("encoder", "context")  # where no masked token is
NO_ATTENTION = (
    "the fusion of this model has no attention over words, which word maps are made of; train one with "
    "CrossAttention at predictor, blocks, features or objective"
)

PRESETS: dict[str, dict[str, dict]] = {
    "none": {},
    "early": {"encoder": {"type": "InContext"}, "predictor": {"type": "InContext"}},
    "late": {"features": {"type": "Concat"}},
    "jepa_t": {
        "predictor": {"type": "Add"},
        "features": {"type": "CrossAttention"},
        "objective": {"type": "Concat"},
    },
}


class Look:
    """What notes, at each fusion that attends, how the asked tokens share their attention among the text tokens.

    Args:
        split: Which are asked.
        images: B; of several captions for each image the first counts.
    """

    def __init__(self, split: Split, images: int) -> None:
        self.asked, self.masked, self.images = split.asked_count, split.masked.shape[1], images
        self.found: list[Tensor] = []

    def __call__(self, site: str, module: nn.Module, x: Tensor, text: Text) -> None:
        """Note it of ``x``, which lies before the module."""
        if site in UNMASKED or not isinstance(module, AttendingFusion):
            return
        start = 0 if x.shape[1] == self.asked else x.shape[1] - self.masked
        self.found.append(module.attention(x[:, start : start + self.asked], text)[: self.images])

    def mean(self) -> Tensor:
        """Of all fusions that attend ``[B, K, L]``.

        Raises:
            UserError: There is none.
        """
        if not self.found:
            raise UserError(NO_ATTENTION)
        return torch.stack(self.found).mean(0)


class Fusion(nn.ModuleDict):
    """The fusion module of each site that has one.

    Args:
        sites: A preset's name, or a component's config for each site.
        width: D, channels of the network's features.
        text_width: E, channels of the text.
        depth: The predictor's blocks, each of which gets its own module at the site ``blocks``.
        registers: R, offered to fusions that put text there.

    Raises:
        UserError: A preset, site, component or option is unknown, or a component is no module.

    Examples:
        >>> list(Fusion("jepa_t", width=16, text_width=8, depth=2, registers=4))
        ['predictor', 'features', 'objective']
    """

    def __init__(self, sites: str | Mapping[str, Any], width: int, text_width: int, depth: int, registers: int) -> None:
        super().__init__()
        if isinstance(sites, str):
            if sites not in PRESETS:
                raise unknown("fusion preset", sites, PRESETS)
            sites = PRESETS[sites]
        for site, cfg in sites.items():
            if site not in SITES:
                raise unknown("fusion site", site, SITES)
            modules = _modules(site, cfg, depth, {"width": width, "text_width": text_width, "registers": registers})
            self[site] = nn.ModuleList(modules) if site == "blocks" else modules[0]

    def at(self, site: str, x: Tensor, text: Text, look: Look | None = None) -> Tensor:
        """Fuse ``x``, of the shape that it has at a site; without a module there, ``x`` itself.

        With several captions for each image (:meth:`~jepa_t.network.Network.condition`) it is laid out once for each.
        """
        return _fused(site, self[site], x, text, look) if site in self else x

    def after_block(self, index: int, x: Tensor, text: Text, look: Look | None = None) -> Tensor:
        """Fuse the output of the predictor's block ``index``."""
        if "blocks" not in self:
            return x
        return _fused("blocks", cast(nn.ModuleList, self["blocks"])[index], x, text, look)

    @property
    def attends(self) -> bool:
        """Whether masked tokens look at the text tokens anywhere."""
        modules = [self[site] for site in SITES if site in self and site not in UNMASKED]
        return any(isinstance(part, AttendingFusion) for module in modules for part in module.modules())


def _fused(site: str, module: nn.Module, x: Tensor, text: Text, look: Look | None) -> Tensor:
    x = per_caption(x, text)
    if look is not None:
        look(site, module, x, text)
    return module(x, text)


def _modules(site: str, cfg: Any, depth: int, offered: Mapping[str, Any]) -> list[nn.Module]:
    """The module of a site, or those of the site ``blocks``, from a config, or given as they are."""
    count = depth if site == "blocks" else 1
    given = list(cfg) if isinstance(cfg, (list, tuple, nn.ModuleList)) else [cfg] * count
    if len(given) != count or len({id(one) for one in given if isinstance(one, nn.Module)}) not in (0, count):
        each = f"a list of {count} modules, one for each block," if site == "blocks" else "a module"
        raise UserError(f"fusion.{site} needs {each} or the config of one")
    modules = []
    for number, one in enumerate(given):
        try:
            modules.append(seeded(f"{site} {number}", partial(build, one, FUSIONS, **offered)))
        except UserError as error:
            raise UserError(f"fusion.{site}: {error}") from error
        if not isinstance(modules[-1], nn.Module):
            raise UserError(f"fusion.{site}: {type(modules[-1]).__name__} is no module; derive it from nn.Module")
    return modules


def per_caption(x: Tensor, text: Text) -> Tensor:
    """Lay ``x [B, ...]`` behind itself, once for each of the branches of a text that has several."""
    return x if len(x) == len(text) else x.repeat(len(text) // len(x), *[1] * (x.dim() - 1))
