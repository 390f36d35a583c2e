"""Many images for many prompts, on any number of processes, through kills; then measured from the disk."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import barrier, broadcast_object_list, get_dist_info, is_main_process
from mmengine.runner import Runner, TestLoop
from torch.utils.data import DataLoader, Dataset

from ..files import installed, weights_hash, write_atomically
from ..model import JEPAT
from ..registry import LOOPS
from ..sheets import to_bytes
from ..trainable import unwrap
from .images import Files, blocks, name_of, pack, read, write_images


def settings(runner: Runner) -> dict[str, Any]:
    """What decides the images beside the prompts, as every reported figure carries it."""
    model = unwrap(runner.model)
    draws = isinstance(model, JEPAT)
    options = runner.cfg.model.get("sampler", "balanced") if draws else {}
    return {
        "weights": "averaged" if draws else "as trained",
        "weights_sha256": weights_hash(model.ema if draws else model),
        "preset": options if isinstance(options, str) else options.get("preset"),
        "sampler": dataclasses.asdict(model.sampler) if draws and dataclasses.is_dataclass(model.sampler) else options,
        "seeds": "the number of each prompt",
        "precision": "bf16" if torch.is_autocast_enabled(get_device().split(":")[0]) else "fp32",
    }


@LOOPS.register_module()
class GenerationLoop(TestLoop):
    """Draw every prompt into a folder of PNG files, then measure the folder.

    The folder, ``<out>/<hash>``, is named by all that decides its images: weights, the model's config, sampler,
    prompts with their seeds, precision, and this library's version; ``settings.json`` in it says them. So a run that
    was killed goes on where it stopped, on any number of processes, and a changed setting gets another folder.

    Metrics see images as they are read back: ``image [3, H, W]``, uint8, beside the prompt's own fields.

    Args:
        runner, dataloader, evaluator: As in MMEngine's loop. Of the data loader, its data set, its batch size, and the
            workers, which decode images.
        out: By default ``generated`` in the work dir.
        pack: Write the images as ADM's ``<hash>.npz`` as well.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: dict | list,
        out: str | None = None,
        pack: bool = False,
    ) -> None:
        super().__init__(runner, dataloader, evaluator)
        self.out, self.pack = Path(out or Path(runner.work_dir) / "generated").expanduser(), pack

    def run(self) -> dict[str, float]:
        """Draw what is missing, then measure all images.

        Raises:
            UserError: A metric can't be computed, which is told before anything is drawn; or an image is no number.
        """
        runner = self.runner
        runner.model.eval()
        runner.call_hook("before_test")
        folder = self._open()
        runner.call_hook("before_test_epoch")
        self._draw(folder)
        figures = self._measure(folder)
        runner.call_hook("after_test_epoch", metrics=figures)
        runner.call_hook("after_test")
        return figures

    def _open(self) -> Path:
        """The folder of these settings."""
        facts = settings(self.runner) | {
            "model": _plain(self.runner.cfg.model),
            "prompts_sha256": prompts_hash(self.dataloader.dataset),
            "count": len(self.dataloader.dataset),
            "jepa_t": installed("jepa_t"),
        }
        model = unwrap(self.runner.model)
        if isinstance(model, JEPAT):
            facts["image_tokenizer_sha256"] = weights_hash(model.image_tokenizer)
        said = json.dumps(facts, indent=2, sort_keys=True, default=str).encode()
        folder = self.out / hashlib.sha256(said).hexdigest()[:16]
        if is_main_process():
            write_atomically(folder / "settings.json", lambda file: file.write(said))
        return folder

    @torch.no_grad()
    def _draw(self, folder: Path) -> None:
        runner, prompts, size = self.runner, self.dataloader.dataset, self.dataloader.batch_size
        missing = [None]
        if is_main_process():  # alone: another process may be writing already when the next one looks
            there = {path.name for path in folder.iterdir()}
            # Whole batches, since the last bits of an image may depend on its place in one.
            missing = [[b for b in blocks(len(prompts), size) if not there.issuperset(map(name_of, b))]]
        broadcast_object_list(missing)
        rank, processes = get_dist_info()
        mine = [list(block) for block in missing[0][rank::processes]]
        left = sum(map(len, missing[0]))
        runner.logger.info(f"{folder}: {len(prompts) - left} of {len(prompts)} images are there")
        done = len(runner.test_dataloader) - len(mine)
        for step, batch in enumerate(DataLoader(prompts, batch_sampler=mine, collate_fn=self.dataloader.collate_fn)):
            runner.call_hook("before_test_iter", batch_idx=done + step, data_batch=batch)
            outputs = runner.model.test_step(batch)
            images = torch.stack([output["image"] for output in outputs]).float()
            write_images(folder, batch["data_samples"]["index"], to_bytes(images))
            runner.call_hook("after_test_iter", batch_idx=done + step, data_batch=batch, outputs=outputs)
        barrier()

    def _measure(self, folder: Path) -> dict[str, float]:
        prompts, workers = self.dataloader.dataset, self.dataloader.num_workers
        files = Files([folder / name_of(index) for index in range(len(prompts))])
        if self.pack and is_main_process():
            pack(files, folder.with_suffix(".npz"), workers)
        for indices, images in read(files, self.dataloader.batch_size, workers, *get_dist_info()):
            columns = prompts.__getitems__(indices)["data_samples"] | {"image": images}
            rows = zip(*columns.values(), strict=True)
            self.evaluator.process([dict(zip(columns, row, strict=True)) for row in rows])
        for metric in self.evaluator.metrics:
            metric.collect_dir = str(folder / ".features")  # else MMEngine writes where the command was started
        return self.evaluator.evaluate(len(prompts))


def prompts_hash(prompts: Dataset) -> str:
    """The SHA-256 of all captions and their numbers, which are their seeds."""
    samples = prompts.__getitems__(list(range(len(prompts))))["data_samples"]
    return hashlib.sha256(json.dumps([samples["caption"], samples["index"]]).encode()).hexdigest()


def _plain(model: Config) -> dict[str, Any]:
    """The model's config without what doesn't change its images, or is told elsewhere."""
    return {name: value for name, value in model.to_dict().items() if name not in ("sampler", "compile")}
