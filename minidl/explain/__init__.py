"""Floor 5: what a network sees: which pixels count, what its units answer to, where it decides.

Everything here looks at a network in evaluation mode and leaves it as it was: modes, hooks and
`.grad` of its parameters. `plot.attribution_grid` draws what comes out.
"""

from .cam import cam, grad_cam
from .depth import prediction_depth
from .filters import as_pictures, filters
from .gradients import (
    deconvnet,
    guided_backprop,
    input_x_gradient,
    integrated_gradients,
    saliency,
    smoothgrad,
)
from .maximization import activation_maximization
from .occlusion import occlusion
from .units import TopPatches, activations, receptive_windows, top_patches

__all__ = [
    "TopPatches",
    "activation_maximization",
    "activations",
    "as_pictures",
    "cam",
    "deconvnet",
    "filters",
    "grad_cam",
    "guided_backprop",
    "input_x_gradient",
    "integrated_gradients",
    "occlusion",
    "prediction_depth",
    "receptive_windows",
    "saliency",
    "smoothgrad",
    "top_patches",
]
