"""Assignment 1: what is handed in, and its limits."""

TITLE = "An autograd engine"
FILES = ("autograd.py",)
IMPORTS = ("numpy",)
SECONDS = 20
MEGABYTES = 512
