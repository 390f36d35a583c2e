"""Measure a checkpoint: python tools/test.py configs/jepat_digits.py"""

import sys

from jepa_t.cli import main

if __name__ == "__main__":
    sys.exit(main(["test", *sys.argv[1:]]))
