"""Assignment A3: a residual network that trains, on minidl's Tensor and nn.Module."""

TITLE = "A residual network that trains"
FILES = ("resnet.py",)
IMPORTS = ("numpy", "minidl")
SECONDS = 20
MEGABYTES = 1024
