"""Assignment A6: what is handed in, and what it may use."""

TITLE = "RoIAlign and a two-stage detector"
FILES = ("roi.py",)
IMPORTS = ("numpy",)
SECONDS = 20
MEGABYTES = 512
