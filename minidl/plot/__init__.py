"""Floor 5: pictures, drawn with matplotlib, which is imported only when one is drawn."""

from .curves import curves
from .grid import image_grid
from .report import report

__all__ = ["curves", "image_grid", "report"]
