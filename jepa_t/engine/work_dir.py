"""A work dir belongs to one training: it is locked while that runs, and not begun anew by mistake."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..errors import UserError
from ..files import LAST, checkpoints

LOCK = ".lock"
METRICS = "metrics.json"  # by jepa-t test
UNFINISHED = tuple(f".{name}.tmp" for name in ("iter_*.pth", LAST, METRICS))  # of a process that was killed


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder against other processes; the system frees it when this one ends, however that comes about.

    Raises:
        UserError: Another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    path = folder / LOCK
    while True:
        file = path.open("a")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, not inherited by a loader's workers
        except (BlockingIOError, PermissionError) as error:
            file.close()
            raise UserError(
                f"another process is training in {str(folder)!r}; wait for its end, or choose another --work-dir"
            ) from error
        except OSError as error:
            print_log(f"{str(folder)!r} can't be locked against a second training: {error}", "current", 30)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
        file.close()  # whoever held it has just taken it away
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def claim(folder: Path, resumed: Path | None, overwrite: bool) -> None:
    """See that no other training's checkpoints lie in a folder, and clear away what a killed process left half-written.

    Args:
        folder: The work dir.
        resumed: The checkpoint that the training goes on from.
        overwrite: They may be removed, by `BeginHook`.

    Raises:
        UserError: They do, and ``overwrite`` isn't set; or it is set, and the training goes on from one of them.
    """
    there = checkpoints(folder)
    goes_on = resumed is not None and resumed.resolve().parent == folder.resolve()
    if goes_on and overwrite:
        raise UserError(f"resume goes on with the training in {str(folder)!r}, overwrite replaces it; give one of them")
    if there and not goes_on and not overwrite:
        raise UserError(
            f"{str(folder)!r} holds a training already, up to {there[-1].name}; go on with --resume, choose another "
            "--work-dir, or replace it with --overwrite"
        )
    for name in UNFINISHED:
        for file in folder.glob(name):
            file.unlink()


def clear(folder: Path) -> None:
    """Remove another training's checkpoints, and the figures of its weights."""
    for file in [folder / LAST, folder / METRICS, *checkpoints(folder)]:
        file.unlink(missing_ok=True)


class BeginHook(Hook):
    """Once the rehearsal has found no mistake, take the place of the training that ``overwrite`` replaces."""

    priority = "LOW"  # after the rehearsal, before any checkpoint

    def before_train(self, runner: Runner) -> None:
        """Clear the work dir, and write the config there."""
        barrier()  # others may still be reading
        if is_main_process() and runner.cfg.get("overwrite"):
            clear(Path(runner.work_dir))
        barrier()
        Runner.dump_config(runner)
