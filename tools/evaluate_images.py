"""Distances of images to real ones: python tools/evaluate_images.py GENERATED REFERENCE"""

import sys

from jepa_t.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
