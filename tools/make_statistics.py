"""Statistics of real images: python tools/make_statistics.py data/imagenet/train imagenet256.npz --size 256"""

import sys

from jepa_t.cli import main

if __name__ == "__main__":
    sys.exit(main(["statistics", *sys.argv[1:]]))
