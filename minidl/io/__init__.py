"""Files: weights and checkpoints, written atomically and read without executing anything."""

from .archive import load, save
from .atomic import remove_leftovers, replace_file
from .deep_compression import load_deep_compressed

__all__ = ["load", "load_deep_compressed", "remove_leftovers", "replace_file", "save"]
