"""Convert a public checkpoint: python tools/convert_checkpoint.py djepa IN OUT --image-tokenizer FOLDER"""

import sys

from jepa_t.cli import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
