"""A number that, where it is NaN, says why."""

from __future__ import annotations

__all__ = ["Score"]


class Score(float):
    """A float with a reason.

    Args:
        value: the number.
        reason: why it is NaN, or what it leaves out; "" where there is nothing to say.

    Attributes:
        reason: as given.
    """

    reason: str

    def __new__(cls, value: float, reason: str = "") -> Score:
        score = super().__new__(cls, value)
        score.reason = reason
        return score

    def __repr__(self) -> str:
        return f"{float(self)!r} ({self.reason})" if self.reason else repr(float(self))

    # pickle and copy make a float of the arguments that __new__ had.
    def __getnewargs__(self) -> tuple[float, str]:  # type: ignore[override]
        return float(self), self.reason
