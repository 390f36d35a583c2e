"""Parts that others have trained: where their files are, that nothing in them is run, and what is said when one can't
be read or isn't the one that was trained with.
"""

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import UserError

SAID = 240  # characters that are told of another library's error
LIBRARIES = ("huggingface_hub", "transformers", "diffusers")  # what they would log while they load, the error says
WANTED = ("*.json", "*.txt", "*.model", "*.safetensors")  # of a repository: no code, and nothing that can hold any
CONFIGS = ("config.json", "tokenizer_config.json")  # where a folder can ask for code of its own


def in_one_line(error: BaseException) -> str:
    """The beginning of what an error says, without its line breaks; its kind where it says nothing."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) < SAID else f"{text[:SAID]} ..."


@contextlib.contextmanager
def loading(what: str) -> Iterator[None]:
    """Turn whatever a library says or raises while it loads ``what`` into one line.

    Raises:
        UserError: It failed.
    """
    levels = {log: log.level for log in map(logging.getLogger, LIBRARIES)}
    for log in levels:
        log.setLevel(logging.CRITICAL)
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a missing or damaged file can fail anywhere in the reader
        raise UserError(f"{what} can't be loaded: {in_one_line(error)}") from error
    finally:
        for log, level in levels.items():
            log.setLevel(level)


def local_folder(source: str, what: str, subfolder: str | None = None) -> Path:
    """The folder of a pretrained model; one that is named on the hub is fetched first, as far as it is data alone.

    Args:
        source: A folder, or a name on the hub.
        what: Who asks, for messages.
        subfolder: The part of a repository that is needed.

    Raises:
        UserError: It is no folder here, and can't be fetched or asks to run code.
    """
    with loading(what):
        folder = Path(source).expanduser()
        if not folder.is_dir() and source.startswith(("/", ".", "~")):
            raise UserError(f"{what}: there is no such folder")
        if not folder.is_dir():
            folder = Path(_fetch(source, what, f"{subfolder}/" if subfolder else ""))
        for name in CONFIGS:
            file = folder / (subfolder or "") / name
            if file.is_file() and "auto_map" in json.loads(file.read_text(encoding="utf-8")):
                raise UserError(f"{what} refused: its {name} asks to run code of its own (auto_map); nothing is run")
    return folder


def _fetch(name: str, what: str, inside: str) -> str:
    """The folder in the hub's cache that holds the newest files of a repository."""
    import huggingface_hub

    wanted = [inside + kind for kind in WANTED]
    try:
        if not _is_cached(name):
            logging.getLogger("jepa_t").warning("%s: fetching %s from the hub", what, name)
        return huggingface_hub.snapshot_download(name, allow_patterns=wanted, ignore_patterns=["*.fp16.*"])
    except Exception as error:  # whatever the network, the hub or the disk have against it
        reason = in_one_line(_first_cause(error))
        remedy = "without a network, give a folder"
        raise UserError(f"{what} isn't here, and the hub doesn't give {name}: {reason}; {remedy}") from error


def _is_cached(name: str) -> bool:
    import huggingface_hub

    try:
        huggingface_hub.snapshot_download(name, local_files_only=True)
    except huggingface_hub.errors.LocalEntryNotFoundError:
        return False
    return True


def _first_cause(error: BaseException) -> BaseException:
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error


def digits(sha256: Sequence[int]) -> str:
    """A hash as people compare it."""
    return f"{bytes(sha256).hex()[:12]}... (SHA-256)"


def identify(
    module: nn.Module,
    name: str,
    value: Sequence[int],
    what: str,
    remedy: str,
    show: Callable[[Sequence[int]], str] = digits,
) -> None:
    """Keep in the module's state what it must be, and refuse a state that says otherwise.

    Args:
        module: Gets the buffer.
        name: The buffer's name.
        value: Bytes, such as those of a hash, or whole numbers.
        what: What they tell apart, for the message.
        remedy: For the message.
        show: How the message writes such a value; a function of a module, so that it can be pickled.
    """
    expected = list(value)
    module.register_buffer(name, torch.tensor(expected, dtype=torch.uint8 if isinstance(value, bytes) else torch.int64))
    module.register_load_state_dict_pre_hook(partial(_refuse_other, name, expected, what, remedy, show))


def _refuse_other(
    name: str,
    expected: list[int],
    what: str,
    remedy: str,
    show: Callable[[Sequence[int]], str],
    _module: nn.Module,
    state: dict[str, Tensor],
    prefix: str,
    *_: object,
) -> None:
    """The hook of :func:`identify`, which ends with what PyTorch gives it."""
    found = state.get(f"{prefix}{name}")
    if found is not None and found.tolist() != expected:
        theirs, ours = show(found.tolist()), show(expected)
        raise UserError(f"the checkpoint was trained with {what} {theirs}, here it is {ours}; {remedy}")
