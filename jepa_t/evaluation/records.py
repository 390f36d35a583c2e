"""What metrics keep of each image until all are there."""

from collections.abc import Sequence


def in_order(results: Sequence[dict]) -> list[dict]:
    """Records sorted by ``index``, each once: several processes may have padded their share with repetitions."""
    once = {record["index"]: record for record in results}
    return [once[index] for index in sorted(once)]
