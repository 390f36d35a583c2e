"""Which component of a model is at work, and whether what it gives keeps its contract (:mod:`jepa_t.rehearsal`)."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor, nn

from .contracts import AttendingFusion, TextTokenizer
from .errors import UserError, first_line
from .network import Network
from .registry import place_of
from .structures import Drawn, Text

CLOSE = 3e-2  # of the numbers' deviation: far above rounding, far below what mixing images changes
NOISE = 0.1  # added to a fusion's weights, since many begin as the identity, where nothing shows

Check = Callable[[str, Sequence[Any], Any], None]


class Watch:
    """Looks at what components give while the watch lasts.

    Attributes:
        calls: How many tokens the fusion at each place was given, call by call.
        fused: What each fusion was first called with: its module and its arguments.
    """

    def __init__(self) -> None:
        self.calls: dict[str, list[int]] = {}
        self.fused: dict[str, tuple[nn.Module, Sequence[Any]]] = {}
        self._working: list[str] = []
        self._batch = 0  # of the fusion called last
        self._undo = ExitStack()

    @contextmanager
    def at(self, where: str) -> Iterator[None]:
        """Inside, what stands at ``where`` is at work.

        Raises:
            UserError: Something went wrong; the message names the innermost of what was at work.
        """
        outermost = not self._working
        self._working.append(where)
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # whatever a component raises; the frames stay with the cause
            if not outermost:
                raise
            raise UserError(
                f"{self._working[-1]}: {type(error).__name__}: {first_line(error)}{place_of(error)}"
            ) from error
        self._working.pop()

    def method(self, part: Any, name: str, where: str, check: Check) -> None:
        """Let ``check(where, arguments, given)`` look at each call of a component's method."""
        original, own = getattr(part, name), vars(part)

        @wraps(original)
        def watched(*args: Any, **options: Any) -> Any:
            with self.at(where):
                given = original(*args, **options)
                check(where, args, given)
            return given

        self._undo.callback(partial(own.update, {name: own[name]}) if name in own else partial(own.pop, name))
        own[name] = watched  # in the place of its class's

    def network(self, network: Network) -> None:
        """Watch the text tokenizer, encoder, fusions, predictor and objectives of a network."""
        trained = {id(parameter) for parameter in network.parameters()}

        def tensor(where: str, given: Any, shape: Sequence[int], like: Tensor) -> None:
            check_tensor(where, given, shape, like)
            if like.requires_grad and not given.requires_grad:
                raise UserError(f"{where} returned a tensor without gradient, so nothing before it would learn")
            own(where, given)

        def own(where: str, given: Tensor) -> None:
            for leaf in _leaves(given):
                if id(leaf) not in trained:
                    raise UserError(
                        f"{where} uses a weight {list(leaf.shape)} that is none of its parameters, so it would be "
                        "neither trained nor saved; make it an nn.Parameter, and keep modules in an nn.ModuleList"
                    )

        def text(where: str, args: Sequence[Any], given: Any) -> None:
            check_text(where, given, args[0] if isinstance(args[0], int) else len(args[0]), network.text_tokenizer)
            own(where, given.tokens)
            own(where, given.pooled)

        def encoder(where: str, args: Sequence[Any], given: Any) -> None:
            tokens, _, registers = args
            if not isinstance(given, (tuple, list)) or len(given) != 2:
                raise UserError(f"{where} returned a {type(given).__name__}; return registers and tokens")
            tensor(f"{where}, registers", given[0], registers.shape, registers)
            tensor(f"{where}, tokens", given[1], [*tokens.shape[:2], registers.shape[-1]], registers)

        def place(where: str, args: Sequence[Any], given: Any) -> None:
            registers, _, split, _ = args
            batch, before, width = registers.shape
            tensor(where, given, [batch, before + split.order.shape[1], width], registers)

        def predictor(where: str, args: Sequence[Any], given: Any) -> None:
            x, split = args[:2]
            batch = max(self._batch, x.shape[0]) if "blocks" in network.fusion else x.shape[0]  # a row for each caption
            tensor(where, given, [batch, split.asked_count, x.shape[-1]], x)

        def fusion(key: str, module: nn.Module, where: str, args: Sequence[Any], given: Any) -> None:
            self.calls.setdefault(key, []).append(args[0].shape[1])
            self._batch = args[0].shape[0]
            self.fused.setdefault(where, (module, args))
            tensor(where, given, args[0].shape, args[0])

        def attention(where: str, args: Sequence[Any], given: Any) -> None:
            x, text = args
            check_tensor(where, given, [*x.shape[:2], text.tokens.shape[1]], x)

        def drawn(where: str, args: Sequence[Any], given: Any) -> None:
            if isinstance(given, Drawn) and given.tokens is not None:
                check_tensor(where, given.tokens, given.tokens.shape, args[0])

        parts = network.text_tokenizer, network.encoder, network.predictor
        text_at, encoder_at, predictor_at = (
            f"{name}: {type(part).__name__}"
            for name, part in zip(("text_tokenizer", "encoder", "predictor"), parts, strict=True)
        )
        self.method(network.text_tokenizer, "forward", text_at, text)
        self.method(network.text_tokenizer, "null", f"{text_at}.null", text)
        self.method(network.encoder, "forward", encoder_at, encoder)
        self.method(network.predictor, "place", f"{predictor_at}.place", place)
        self.method(network.predictor, "forward", predictor_at, predictor)
        for key, module in fusions(network):
            where = f"fusion.{key}: {type(module).__name__}"
            self.method(module, "forward", where, partial(fusion, key, module))
            if isinstance(module, AttendingFusion):
                self.method(module, "attention", f"{where}.attention", attention)
        for name, objective in network.losses.items():
            where = f"objectives.{name}: {type(objective).__name__}"
            self.method(objective, "forward", where, check_losses)
            if objective is network.generative:
                self.method(objective, "draw", f"{where}.draw", drawn)

    def end(self) -> None:
        """Leave all components as they were, and begin anew."""
        self._undo.close()
        self.calls, self.fused = {}, {}


def fusions(network: Network) -> Iterator[tuple[str, nn.Module]]:
    """The fusions of a network by their places, such as ``features`` and ``blocks.0``."""
    for site, modules in network.fusion.items():
        if site == "blocks":
            yield from ((f"{site}.{number}", module) for number, module in enumerate(modules.children()))
        else:
            yield site, modules


def check_tensor(where: str, given: Any, shape: Sequence[int], like: Tensor) -> None:
    """See that a component gave finite numbers of a shape, and of the kind of those that it was given.

    Raises:
        UserError: It didn't.
    """
    expected = list(shape)
    if not isinstance(given, Tensor):
        raise UserError(f"{where} returned a {type(given).__name__}; {expected} is expected")
    if list(given.shape) != expected:
        raise UserError(f"{where} returned {list(given.shape)}; {expected} is expected")
    if given.dtype != like.dtype or given.device != like.device:
        raise UserError(f"{where} returned {given.dtype} on {given.device}; {like.dtype} on {like.device} is expected")
    if not given.isfinite().all():
        raise UserError(f"{where} returned NaN or infinity")


def check_text(where: str, given: Any, captions: int, tokenizer: TextTokenizer) -> None:
    """See that a text tokenizer gave a `Text` of so many captions.

    Raises:
        UserError: It didn't.
    """
    if not isinstance(given, Text):
        raise UserError(f"{where} returned a {type(given).__name__}; return jepa_t.structures.Text")
    pooled, valid, length = given.pooled, given.valid, given.tokens.shape[1] if given.tokens.dim() > 1 else 0
    check_tensor(f"{where}, pooled", pooled, [captions, tokenizer.width], pooled)
    check_tensor(f"{where}, tokens", given.tokens, [captions, length, tokenizer.width], pooled)
    if valid.dtype != torch.bool or list(valid.shape) != [captions, length] or not valid.any(1).all():
        raise UserError(
            f"{where} returned valid as {valid.dtype} {list(valid.shape)}; it is torch.bool {[captions, length]}, with "
            "at least one True in each row"
        )


def check_losses(where: str, _args: Sequence[Any], given: Any) -> None:
    """See that an objective gave named losses.

    Raises:
        UserError: It didn't.
    """
    if not isinstance(given, Mapping):
        raise UserError(
            f"{where} returned a {type(given).__name__}; return named losses, such as {{'loss_mine': loss}}"
        )


@torch.no_grad()
def check_rows(where: str, module: nn.Module, x: Tensor, text: Text) -> None:
    """See that what a fusion gives for an image depends on this image and its caption alone.

    Args:
        where: Its place, for the message.
        module: The fusion.
        x: What it was given ``[B, ..., D]``.
        text: The captions; their padding may hold anything.

    Raises:
        UserError: It differs from call to call, with the other images of the batch, or with the padding.
    """
    probe = copy.deepcopy(module)
    for parameter in filter(torch.is_floating_point, probe.parameters()):
        parameter.add_(torch.randn_like(parameter), alpha=NOISE)
    given = probe(x, text)
    other = Text(torch.where(text.valid[..., None], text.tokens, text.tokens + 1), text.valid, text.pooled)
    for found, says in (
        (probe(x, text), "gives other numbers in a second call; what is drawn must depend on the seed alone"),
        (probe(x[:1], text.parted(1)[0]), "mixes the images of a batch; each must be fused by itself"),
        (probe(x, other), "reads the text's padding; leave out the tokens where text.valid is False"),
    ):
        if not alike(found, given[: len(found)]):
            raise UserError(f"{where} {says}")


def alike(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are equal but for rounding."""
    return bool((first - second).abs().amax() <= CLOSE * second.std().clamp(min=1e-6))


def _leaves(given: Tensor) -> Iterator[Tensor]:
    """What a tensor's gradient reaches."""
    nodes, seen = [given.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):  # where a gradient ends
            yield node.variable
        nodes += [following for following, _ in node.next_functions]
