"""Planted bugs: what students get wrong, kept as replacements in the solution's text."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Bug"]


@dataclass(frozen=True)
class Bug:
    """A mistake planted in the solution.

    Attributes:
        name: what is wrong, in words.
        cause: the name of the cause expected in the feedback of at least one failed check.
        old: a piece of the solution's text that occurs in it exactly once.
        new: what stands there instead.
        file: the submitted file, where there are several.
    """

    name: str
    cause: str
    old: str
    new: str
    file: str = ""

    def planted(self, files: dict[str, bytes]) -> dict[str, bytes]:
        """The submission with the bug.

        Raises:
            ValueError: `old` does not occur exactly once, or the file is not named.
        """
        name = self.file or (next(iter(files)) if len(files) == 1 else "")
        if name not in files:
            raise ValueError(f"bug {self.name!r}: name its file= among {', '.join(files)}")
        text = files[name].decode()
        if text.count(self.old) != 1 or self.old == self.new:
            raise ValueError(
                f"bug {self.name!r}: its old text must occur once in {name}, not "
                f"{text.count(self.old)} times, and differ from the new one"
            )
        return {**files, name: text.replace(self.old, self.new).encode()}
