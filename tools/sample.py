"""Draw images: python tools/sample.py work_dirs/jepat_digits "a red three on white paper" "a blue seven" """

import sys

from jepa_t.cli import main

if __name__ == "__main__":
    sys.exit(main(["sample", *sys.argv[1:]]))
