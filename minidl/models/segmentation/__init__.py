"""Networks that name what each pixel of a picture shows, one file an architecture."""

from .baselines import full_resolution, sliding_window
from .deconvnet import deconvnet
from .dilated import dilated_vgg16
from .fcn import fcn8s, fcn16s, fcn32s, fcn_resnet50
from .hourglass import stacked_hourglass
from .segnet import segnet, segnet_basic
from .unet import unet

__all__ = [
    "deconvnet",
    "dilated_vgg16",
    "fcn8s",
    "fcn16s",
    "fcn32s",
    "fcn_resnet50",
    "full_resolution",
    "segnet",
    "segnet_basic",
    "sliding_window",
    "stacked_hourglass",
    "unet",
]
