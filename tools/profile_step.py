"""Where the time of a training step goes: python tools/profile_step.py configs/jepat_digits.py"""

import sys

from jepa_t.cli import main

if __name__ == "__main__":
    sys.exit(main(["profile", *sys.argv[1:]]))
