"""What people do to a training, done on purpose, and what came of it: ``make storm``."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(HERE.parent / "engine"), os.environ.get("PYTHONPATH", "")])
sys.path[:0] = [str(ROOT), *(str(HERE.parent / name) for name in ("storm", "engine", "data", ""))]

from storms import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
