"""What a gradient scaler does to gradients, and to its scale: `minidl/optim/grad_scaler.py`.

Nothing here looks at a value on the host: flags and scales are arrays of one element.
"""

from __future__ import annotations

from typing import Any

__all__ = ["ScalingKernels"]

Array = Any


class ScalingKernels:
    xp: Any

    def unscale(self, grad: Array, inverse: Array, found: Array) -> None:
        """grad *= inverse in place, and found += 1 if an element of `grad` is not finite.

        Args:
            grad: any shape.
            inverse: (1,) float32.
            found: (1,) float32; left as it is where all is finite.
        """
        found += ~self.xp.isfinite(grad).all()
        grad *= inverse.astype(grad.dtype, copy=False).reshape(())

    def update_scale(
        self, scale: Array, tracker: Array, found: Array, growth: float, backoff: float, every: int
    ) -> tuple[Array, Array]:
        """The scale and the number of good steps in a row, after a step: (1,) each.

        Args:
            scale: (1,) float32.
            tracker: (1,) int32, the number of steps in a row without infinities.
            found: (1,) float32, not 0 if this step had some.
            growth, backoff: what the scale is multiplied by after `every` good steps, after a bad
                one. It does not grow beyond float32.
        """
        xp = self.xp
        good = found == 0
        steps = xp.where(good, tracker + 1, 0).astype(tracker.dtype, copy=False)
        due = steps == every
        grown = scale * growth
        grown = xp.where(due & xp.isfinite(grown), grown, scale)
        steps = xp.where(due, 0, steps).astype(tracker.dtype, copy=False)
        return xp.where(good, grown, scale * backoff), steps
