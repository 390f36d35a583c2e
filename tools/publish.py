"""A folder to ship: python tools/publish.py work_dirs/x FOLDER --card CARD.md --metrics metrics.json"""

import sys

from jepa_t.cli import main

if __name__ == "__main__":
    sys.exit(main(["publish", *sys.argv[1:]]))
