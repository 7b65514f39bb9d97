"""Files: weights and checkpoints, written atomically and read without executing anything."""

from .archive import load, save
from .atomic import replace_file

__all__ = ["load", "replace_file", "save"]
