"""Floor 2: the differentiable operations, and the table that puts them on Tensor.

The table below is the single place where a lower room is completed from above: Tensor's operators
and methods are these functions. Their signatures are declared in `minidl/autograd/tensor.py`.
"""

from typing import Any

from ..autograd import Tensor
from . import arithmetic

TENSOR: dict[str, Any] = {
    # arithmetic
    "__add__": arithmetic.add,
    "__radd__": lambda self, other: arithmetic.add(other, self),
    "__sub__": arithmetic.sub,
    "__rsub__": lambda self, other: arithmetic.sub(other, self),
    "__mul__": arithmetic.mul,
    "__rmul__": lambda self, other: arithmetic.mul(other, self),
    "__neg__": arithmetic.neg,
    "add": arithmetic.add,
    "sub": arithmetic.sub,
    "mul": arithmetic.mul,
    "neg": arithmetic.neg,
}

for _name, _function in TENSOR.items():
    setattr(Tensor, _name, _function)
