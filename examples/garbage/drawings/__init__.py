"""Simple pictures of the things that the emoji font lacks, or has only once: a few shapes each, varied by chance."""

from . import hazardous, kitchen, other, recyclable
from .pen import DRAWINGS, SIDE, Pen

__all__ = ["DRAWINGS", "SIDE", "Pen", "hazardous", "kitchen", "other", "recyclable"]
