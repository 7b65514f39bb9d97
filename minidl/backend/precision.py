"""How exactly a GPU multiplies float32: torch's switches, under torch's names.

From the Ampere generation on, tensor cores multiply float32 numbers several times as fast if they
may first round them to TF32: the exponent of float32, but 10 bits instead of 23 behind the point,
about three decimal digits. Sums stay float32. Off by default, for matrix products and for
convolution: a float32 product is a float32 product. (torch leaves it on in cuDNN.)
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "cudnn",
    "get_float32_matmul_precision",
    "matmul",
    "set_float32_matmul_precision",
]


class _Switches:
    """Flags, which are all that may be set."""

    __slots__: tuple[str, ...] = ()

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in type(self).__slots__:
            known = ", ".join(type(self).__slots__)
            raise AttributeError(f"{type(self).__name__}: no switch {name!r}; there are {known}")
        object.__setattr__(self, name, bool(value))

    def __repr__(self) -> str:
        flags = ", ".join(f"{name}={getattr(self, name)}" for name in type(self).__slots__)
        return f"{type(self).__name__}({flags})"


class Matmul(_Switches):
    """Matrix products on the GPU: `minidl.backend.matmul`.

    Attributes:
        allow_tf32: whether float32 factors may be rounded to TF32.
    """

    __slots__ = ("allow_tf32",)
    allow_tf32: bool

    def __init__(self) -> None:
        self.allow_tf32 = False


class Cudnn(_Switches):
    """Convolution by cuDNN: `minidl.backend.cudnn`.

    Attributes:
        enabled: whether it is used where it is installed (`minidl[cudnn]`).
        allow_tf32: whether float32 images and weights may be rounded to TF32.
        deterministic: whether only algorithms may be used that give the same bits every run.
    """

    __slots__ = ("allow_tf32", "deterministic", "enabled")
    allow_tf32: bool
    deterministic: bool
    enabled: bool

    def __init__(self) -> None:
        self.enabled, self.allow_tf32, self.deterministic = True, False, False


matmul = Matmul()
cudnn = Cudnn()


def set_float32_matmul_precision(precision: str) -> None:
    """Choose how float32 matrices are multiplied on a GPU.

    Args:
        precision: "highest": as float32; "high" or "medium": by TF32, where the GPU has it. (torch
            goes down to bfloat16 for "medium"; here `autocast` does that.)

    Raises:
        ValueError: another word.
    """
    if precision not in ("highest", "high", "medium"):
        raise ValueError(
            "set_float32_matmul_precision: precision is 'highest', 'high' or 'medium', not "
            f"{precision!r}"
        )
    matmul.allow_tf32 = precision != "highest"


def get_float32_matmul_precision() -> str:
    """ "highest" or "high"; see `set_float32_matmul_precision`."""
    return "high" if matmul.allow_tf32 else "highest"
