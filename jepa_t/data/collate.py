"""How samples become batches: they are whole already."""

from ..registry import FUNCTIONS


@FUNCTIONS.register_module()
def keep_batch(batch: dict) -> dict:
    """The collate function of data sets that give whole batches: nothing is left to do."""
    return batch
