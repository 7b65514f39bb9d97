"""Files: weights and checkpoints, written atomically and read without executing anything."""

from .archive import load, save
from .atomic import remove_leftovers, replace_file

__all__ = ["load", "remove_leftovers", "replace_file", "save"]
