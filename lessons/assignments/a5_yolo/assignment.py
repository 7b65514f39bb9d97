"""Assignment A5: what is handed in, and what it may use."""

TITLE = "A YOLO-style detector, and how detectors are scored"
FILES = ("yolo.py",)
IMPORTS = ("numpy",)
SECONDS = 20
MEGABYTES = 512
