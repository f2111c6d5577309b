"""Keras's layers that do nothing at inference, and those that change pictures as no preprocessing here does.

A test runs every image layer of the installed Keras and compares these lists with what it does.
"""

from __future__ import annotations

AUGMENTATION = {
    "AugMix", "CutMix", "Equalization", "MaxNumBoundingBoxes", "MixUp", "RandAugment", "RandomBrightness",
    "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomElasticTransform", "RandomErasing",
    "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHeight", "RandomHue", "RandomInvert",
    "RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation", "RandomSharpness", "RandomShear",
    "RandomTranslation", "RandomWidth", "RandomZoom", "Solarization",
}  # fmt: skip
REGULARIZATION = {
    "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "SpatialDropout2D",
}  # fmt: skip
PASSING = {*AUGMENTATION, *REGULARIZATION, "Identity", "InputLayer", "StopGradient"}

# They act at inference too.
PIXELS = {"AutoContrast", "CLAHE", "ContrastLimitedAdaptiveHistogramEqualization"}
