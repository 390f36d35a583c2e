"""``python -m jepa_t`` is ``jepa-t``, where a launcher wants a module."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
