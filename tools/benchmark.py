"""Compare variants: python tools/benchmark.py fusion --preset quick"""

import sys

from jepa_t.cli import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
