"""A page to play with: python tools/demo.py [MODEL ...]"""

import sys

from jepa_t.cli import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
