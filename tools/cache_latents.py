"""Cache the latents of a config's training images: python tools/cache_latents.py configs/jepat_imagenet.py"""

import sys

from jepa_t.cli import main

if __name__ == "__main__":
    sys.exit(main(["cache-latents", *sys.argv[1:]]))
