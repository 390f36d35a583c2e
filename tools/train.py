"""Train a config: python tools/train.py configs/jepat_digits.py"""

import sys

from jepa_t.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
