"""Models on a hub that speaks Hugging Face's protocol: a saved folder is pushed, or fetched and then read as any other.

Of a repository ``config.json`` and ``model.safetensors`` are fetched, and its card and sheet if it has them and they
are small; nothing in them is executed. Where the hub is (``HF_ENDPOINT``), who asks (``HF_TOKEN``, or ``hf auth
login``), where fetched files stay (``HF_HOME``) and whether the network is left alone (``HF_HUB_OFFLINE=1``) is
huggingface_hub's to know.
"""

import contextlib
import importlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from .errors import UserError, first_line, optional
from .files import CONFIG, WEIGHTS

NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)  # user/model
FILES = (CONFIG, WEIGHTS)
CARD, SHEET = "README.md", "samples.png"
EXTRAS = {CARD: 10**6, SHEET: 10**7}  # fetched if they are there and have no more bytes
SHARED = (*FILES, *EXTRAS)  # what is pushed of a folder


def is_name(path: str | Path) -> bool:
    """Whether a path may be the name of a model on the hub, ``user/model``, rather than that of a checkpoint's file."""
    return bool(NAME.fullmatch(str(path))) and Path(path).suffix not in (".pth", ".safetensors")


def check_name(repo: str) -> None:
    """See that a repository on the hub can have this name.

    Raises:
        UserError: It can't.
    """
    if not (isinstance(repo, str) and NAME.fullmatch(repo)):
        raise UserError(f"{repo!r} is no name on the hub; give user/model")


def check_revision(revision: str | None) -> None:
    """See that a revision is none, or a text.

    Raises:
        UserError: It is something else, or empty.
    """
    if revision is not None and not (isinstance(revision, str) and revision):
        raise UserError(f"revision is {revision!r}; give a branch, a tag or a commit, as a text")


def fetch(repo: str, revision: str | None = None) -> Path:
    """The folder of a model on the hub, fetched unless that has been done; offline, as it was fetched before.

    Args:
        repo: ``user/model``.
        revision: A branch, a tag or a commit; by default the newest of the main branch.

    Raises:
        UserError: There is no such model, it is private or incomplete, or the hub can't be reached.
    """
    hub = _library()
    at = f"{repo!r}" + (f" at revision {revision!r}" if revision else "")
    try:
        with _told(hub, at):
            info = hub.HfApi().model_info(repo, revision=revision, files_metadata=True)
    except ConnectionError as error:
        try:
            folder = hub.snapshot_download(repo, revision=revision, allow_patterns=SHARED, local_files_only=True)
        except hub.errors.LocalEntryNotFoundError:
            raise UserError(f"{error}, and no copy of {at} was fetched before") from error
        _log().warning("%s; taking the copy of %s that was fetched before", error, at)
        return Path(folder)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    absent = [name for name in FILES if name not in sizes]
    if absent:
        raise UserError(f"{at} on {_endpoint(hub)} is no model of jepa_t: it has no {' and no '.join(absent)}")
    names = [*FILES, *(name for name, most in EXTRAS.items() if 0 < sizes.get(name, 0) <= most)]
    wanted = [name for name in names if hub.try_to_load_from_cache(repo, name, revision=info.sha) is None]
    if wanted:
        size = sum(sizes[name] for name in wanted) / 1e6
        _log().warning("fetching %s of %s from %s, %.1f MB", ", ".join(wanted), at, _endpoint(hub), size)
    try:
        with _told(hub, at):
            folder = Path(hub.snapshot_download(repo, revision=revision, allow_patterns=names))
    except ConnectionError as error:
        raise UserError(f"{error}; the same command goes on") from error
    return folder if folder.name == info.sha else fetch(repo, revision)  # else it was pushed to meanwhile


def push(
    folder: str | Path,
    repo: str,
    private: bool | None = None,
    revision: str | None = None,
    keep_card: bool = False,
) -> str:
    """Put a saved model, its card and its sheet into a repository on the hub as one commit.

    Args:
        folder: The saved model's.
        repo: ``user/model``; it is made if there is none.
        private: Whether a new repository is private; by default as the user's account has it.
        revision: A branch, which is made if there is none; by default the main one.
        keep_card: Whether a card that the repository has stays as it is.

    Returns:
        The repository's address.

    Raises:
        UserError: The name is none, the token is refused or absent, or the hub can't be reached.
    """
    check_name(repo)
    check_revision(revision)
    hub = _library()
    api = hub.HfApi()
    try:
        with _told(hub, repr(repo)):
            address = api.create_repo(repo, private=private, exist_ok=True)
            if revision:
                api.create_branch(repo, branch=revision, exist_ok=True)
            there = [name for name in SHARED if (Path(folder) / name).is_file()]
            if keep_card and api.file_exists(repo, CARD, revision=revision):
                there = [name for name in there if name not in EXTRAS]
                _log().warning("the card of %r stays; give a card to write another", repo)
            files = [hub.CommitOperationAdd(name, Path(folder) / name) for name in there]
            api.create_commit(repo, files, commit_message="A model of jepa_t", revision=revision)
    except ConnectionError as error:
        raise UserError(f"{error}; nothing was pushed") from error
    return str(address)


@contextlib.contextmanager
def _told(hub: ModuleType, at: str) -> Iterator[None]:
    """Say in one line what huggingface_hub says in many; a ConnectionError where the hub can't be asked."""
    errors, where = hub.errors, _endpoint(hub)
    try:
        yield
    except errors.HFValidationError as error:
        raise UserError(f"{at} is no name on the hub: {first_line(error)}") from error
    except errors.GatedRepoError as error:
        raise UserError(f"{at} on {where} asks who you are: accept its terms there, and hf auth login") from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{where} has no such branch, tag or commit: {at}") from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"{where} has no {at}, or it is private: hf auth login, or HF_TOKEN, says who you are"
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise UserError(
                f"{where} refuses your token for {at}: hf auth login, or HF_TOKEN, with one that may"
            ) from error
        if status < 500:
            raise UserError(f"{where} refuses {at}: {first_line(error)}") from error
        raise ConnectionError(f"the hub {where} has a fault ({status})") from error
    except (errors.HTTPError, OSError, RuntimeError) as error:  # the transport's, and what an upload makes of them
        offline = isinstance(error, errors.OfflineModeIsEnabled)
        why = "isn't asked, since HF_HUB_OFFLINE is set" if offline else f"can't be reached ({first_line(error)})"
        raise ConnectionError(f"the hub {where} {why}") from error


def _library() -> ModuleType:
    hub = optional("huggingface_hub", "the hub", "hub")
    importlib.import_module("huggingface_hub.errors")  # which is then an attribute of it
    return hub


def _endpoint(hub: ModuleType) -> str:
    return hub.HfApi().endpoint


def _log() -> logging.Logger:
    return logging.getLogger("jepa_t")
