"""`python -m minidl` is the command `minidl`."""

import sys

from .cli import main

sys.exit(main())
