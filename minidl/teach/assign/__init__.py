"""Assignments that grade themselves: handouts from solutions, checks, a sandbox, a grader.

What an assignment's public.py and hidden.py import is here: `check`, `compare`, `require`, `Cause`;
its bugs.py takes `Bug`. The commands (command.py) release, check, grade and verify.
"""

from .bugs import Bug
from .causes import Cause
from .checks import Wrong, check, require
from .compare import compare

__all__ = ["Bug", "Cause", "Wrong", "check", "compare", "require"]
