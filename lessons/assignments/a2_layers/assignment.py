"""Assignment A2: the layers of a convolutional network, forward and backward, in plain NumPy."""

TITLE = "The layers of a convolutional network, forward and backward"
FILES = ("layers.py",)
IMPORTS = ("numpy",)
SECONDS = 20
MEGABYTES = 512
