"""Assignment A4: what is handed in, and what it may use."""

TITLE = "Segmentation: upsampling, skip connections, losses of pixels, scores"
FILES = ("segmentation.py",)
IMPORTS = ("numpy",)
SECONDS = 20
MEGABYTES = 512
