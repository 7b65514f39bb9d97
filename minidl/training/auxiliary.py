"""The loss of networks that answer more than once: auxiliary classifiers on layers in the middle.

They bring a gradient to the lower layers of a deep network (Szegedy et al. 2014, section 5: weight
0.3) or regularise it (Szegedy et al. 2015, section 4: 0.4). In evaluation they are not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import nn
from ..autograd import Tensor

__all__ = ["AuxiliaryLoss", "loss_of"]


class AuxiliaryLoss(nn.Module):
    """criterion(main output) + the weighted sum of criterion(each auxiliary output).

    `fit` and `evaluate` give metrics the main output alone.

    Args:
        criterion: takes (output, target).
        weights: of the auxiliary outputs: one number for all, or one for each.

    Example:
        >>> criterion = AuxiliaryLoss(nn.CrossEntropyLoss(), 0.3)
        >>> loss = criterion(googlenet(images), labels)  # (scores, auxiliary, auxiliary)
    """

    def __init__(
        self, criterion: Callable[[Tensor, Tensor], Tensor], weights: float | Sequence[float]
    ) -> None:
        super().__init__()
        self.criterion = criterion
        self.weights = weights

    def forward(self, output: Any, target: Any) -> Tensor:
        """The loss of an output, or of a tuple (main, auxiliary, ...) of outputs.

        Raises:
            ValueError: more or fewer auxiliary outputs than weights.
        """
        loss = self.criterion(self.main(output), target)
        auxiliary = output[1:] if isinstance(output, tuple) else ()
        weights = self.weights
        if isinstance(weights, (int, float)):
            weights = [weights] * len(auxiliary)
        elif auxiliary and len(weights) != len(auxiliary):
            raise ValueError(
                f"AuxiliaryLoss: {len(weights)} weights for {len(auxiliary)} auxiliary outputs"
            )
        for weight, one in zip(weights, auxiliary, strict=False):
            loss = loss + weight * self.criterion(one, target)
        return loss

    @staticmethod
    def main(output: Any) -> Any:
        """The main one of the outputs."""
        return output[0] if isinstance(output, tuple) else output

    def extra_repr(self) -> str:
        return f"weights={self.weights}"


def loss_of(criterion: Callable[[Any, Any], Tensor], output: Any, target: Any) -> Tensor:
    """criterion(output, target).

    Raises:
        ValueError: there are several outputs, and the criterion is made for one.
    """
    try:
        return criterion(output, target)
    except (AttributeError, TypeError, ValueError) as error:
        if isinstance(output, tuple) and not isinstance(criterion, AuxiliaryLoss):
            name = getattr(criterion, "__name__", type(criterion).__name__)
            raise ValueError(
                f"the model has {len(output)} outputs, which {name} does not take ({error}); if "
                "all but the first are auxiliary: AuxiliaryLoss(criterion, weights)"
            ) from error
        raise
