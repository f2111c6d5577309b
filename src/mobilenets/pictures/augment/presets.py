"""Augmentations by name, or read from JSON: ``build("photo", preprocessing)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from types import MappingProxyType
from typing import Any

from mobilenets.errors import InputError
from mobilenets.pictures.augment.crop import RandomResizedCrop
from mobilenets.pictures.augment.photometric import ColorJitter, RandomErasing
from mobilenets.pictures.augment.randaugment import RandAugment
from mobilenets.pictures.augment.transforms import Affine, Compose, Fit, Flip, PadCrop, Transform, VerticalFlip
from mobilenets.pictures.preprocess import Preprocessing

KINDS: Mapping[str, type[Transform]] = MappingProxyType(
    {
        cls.kind: cls
        for cls in (
            *(Compose, Fit, RandomResizedCrop, PadCrop, Affine, Flip, VerticalFlip),
            *(ColorJitter, RandomErasing, RandAugment),
        )
    }
)
"""Every transform under the name it has in JSON."""


def none(preprocessing: Preprocessing) -> Compose:
    """For measuring what augmentation is worth: the pictures as evaluation sees them."""
    return Compose((Fit(preprocessing),))


def light(preprocessing: Preprocessing) -> Compose:
    """For large or clean data sets and short runs: shifts of up to 1/16 of the side, mirrored."""
    size = preprocessing.size
    return Compose((Fit(preprocessing), PadCrop(size, shift(size, 16), "reflect"), Flip()))


def photo(preprocessing: Preprocessing) -> Compose:
    """For a folder of photos, the default: crops of 35 to 100 %, mirrored, mild colour changes.

    Our choice for small sets, on which the 8 % crops of ImageNet often miss the object; Big Transfer
    (Kolesnikov et al. 2020, arXiv:1912.11370, section 3.3) crops 128² out of 160² there, 64 %.
    """
    return Compose((crop(preprocessing, 0.35), Flip(), ColorJitter(0.2, 0.2, 0.2, 0.02)))


def imagenet(preprocessing: Preprocessing) -> Compose:
    """For ImageNet-sized data and long runs: Inception crop, mirrored, colour jitter of 0.4."""
    return Compose((crop(preprocessing, 0.08), Flip(), ColorJitter(0.4, 0.4, 0.4)))


def strong(preprocessing: Preprocessing) -> Compose:
    """For long runs that overfit: photo, then RandAugment and erased boxes."""
    extra = (RandAugment(2, 9), RandomErasing(0.25))
    return Compose((*photo(preprocessing).transforms, *extra))


def digits(preprocessing: Preprocessing) -> Compose:
    """For digits, letters and signs: turns of 10 degrees, shifts and zooms of a tenth, never mirrored."""
    return Compose((Fit(preprocessing), Affine(rotation=10, shift=0.1, zoom=(0.9, 1.1))))


def keras_cifar100(preprocessing: Preprocessing) -> Compose:
    """For repeating the Keras tutorial on CIFAR-100: rotation to 90 degrees, shift, zoom, mirrored.

    github.com/xiaochus/MobileNetV2, train.py, ImageDataGenerator: rotation_range=90, width and
    height_shift_range=0.2, shear_range=0.2, zoom_range=0.2, horizontal_flip, the edge going on. It names
    Keras 2.1.3, where a shear of 0.2 is in degrees (keras pull request 8868), so next to none.
    """
    move = Affine(rotation=90, shift=0.2, shear=0.2, zoom=(0.8, 1.2), fill="nearest")
    return Compose((Fit(preprocessing), move, Flip()))


def garbage_mindspore(preprocessing: Preprocessing) -> Compose:
    """For repeating MindSpore's tutorial on garbage with MobileNetV2: Inception crop, jitter of 0.4.

    Its dataset.py: RandomCropDecodeResize(scale=(0.08, 1.0), ratio=(0.75, 1.333)), bilinear;
    RandomHorizontalFlip(0.5); RandomColorAdjust(brightness=0.4, contrast=0.4, saturation=0.4).
    """
    cut = RandomResizedCrop(preprocessing.size, (0.08, 1.0), (0.75, 1.333), "bilinear")
    return Compose((cut, Flip(), ColorJitter(0.4, 0.4, 0.4)))


def cifar10_light(preprocessing: Preprocessing) -> Compose:
    """For small networks on CIFAR-10: shifts of up to 4 pixels of 32 on black, mirrored.

    He et al. 2016, arXiv:1512.03385, section 4.2.
    """
    size = preprocessing.size
    return Compose((Fit(preprocessing), PadCrop(size, shift(size, 8)), Flip()))


def shift(size: int, part: int) -> int:
    """Return a ``part``-th of the side in whole pixels, at least one."""
    return max(1, round(size / part))


def crop(preprocessing: Preprocessing, smallest: float) -> RandomResizedCrop:
    """Return the Inception crop down to that share of the picture, resampled as evaluation does."""
    return RandomResizedCrop(preprocessing.size, (smallest, 1.0), interpolation=preprocessing.interpolation)


PRESETS: Mapping[str, Callable[[Preprocessing], Compose]] = MappingProxyType(
    {
        make.__name__.replace("_", "-"): make
        for make in (none, light, photo, imagenet, strong, digits, keras_cifar100, garbage_mindspore, cifar10_light)
    }
)
"""Augmentations by name; the first line of each one's docstring says for whom it is."""


def build(spec: str | Sequence[object], preprocessing: Preprocessing) -> Compose:
    """Return the augmentation of a network: a preset by name, or a list of JSON transforms.

    In a list, ``size``, ``interpolation`` and the preprocessing of ``fit`` may be left out: they are the
    network's. A list with neither ``fit`` nor ``random_resized_crop`` gets ``fit`` in front.
    Raises InputError on an unknown name, a malformed transform, or one that makes pictures of another size.
    """
    if isinstance(spec, str):
        if spec not in PRESETS:
            raise InputError(f"unknown augmentation {spec[:40]!r}; choose one of {', '.join(PRESETS)}")
        return PRESETS[spec](preprocessing)
    if not isinstance(spec, Sequence):
        raise InputError(f"an augmentation is a preset's name or a list of transforms, not {type(spec).__name__}")
    chain = tuple(from_json(value, preprocessing) for value in spec)
    if not any(isinstance(transform, Fit | RandomResizedCrop) for transform in chain):
        chain = (Fit(preprocessing), *chain)
    check_size(chain, preprocessing.size)
    return Compose(chain)


def check_size(chain: Sequence[Transform], size: int) -> None:
    """Raise InputError when a transform makes pictures of another size than the network's."""
    for transform in chain:
        made = transform.preprocessing.size if isinstance(transform, Fit) else getattr(transform, "size", size)
        if made != size:
            raise InputError(f"augmentation {transform.kind}: size {made} is not the network's {size}; leave size out")


def from_json(value: object, preprocessing: Preprocessing | None = None) -> Transform:
    """Return the transform that ``to_json`` described; raises InputError in one line when it is malformed.

    With ``preprocessing`` given, ``size``, ``interpolation`` and ``preprocessing`` may be left out.
    """
    if not isinstance(value, Mapping):
        raise InputError(f'a transform is an object such as {{"kind": "flip"}}, not {type(value).__name__}')
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"unknown kind of augmentation {str(kind)[:40]!r}; choose one of {', '.join(KINDS)}")
    known = {field.name: field for field in fields(KINDS[kind])}
    if unknown := [name for name in value if name != "kind" and name not in known]:
        allowed = ", ".join(known) or "none"
        raise InputError(f"augmentation {kind}: no setting {str(unknown[0])[:40]!r}; the settings are {allowed}")
    settings = inherited(known, preprocessing)
    settings |= {name: setting(name, part, preprocessing) for name, part in value.items() if name != "kind"}
    for name, field in known.items():
        if name not in settings and field.default is MISSING:
            raise InputError(f"augmentation {kind}: {name} is missing")
    return KINDS[kind](**settings)


def inherited(known: Mapping[str, Any], preprocessing: Preprocessing | None) -> dict[str, Any]:
    """Return the settings that a network's preprocessing provides, of those the transform knows."""
    if preprocessing is None:
        return {}
    whole: dict[str, Any] = {"preprocessing": preprocessing, "size": preprocessing.size}
    whole["interpolation"] = preprocessing.interpolation
    return {name: part for name, part in whole.items() if name in known}


def setting(name: str, value: object, preprocessing: Preprocessing | None) -> object:
    """Return a JSON value as a transform's field holds it: lists become tuples, objects what they say."""
    if name == "preprocessing":
        return Preprocessing.from_json(value)
    if not isinstance(value, list | tuple):
        return value
    parts = [dict(part) if isinstance(part, Mapping) else part for part in value]
    if any(isinstance(part, dict) and part.get("kind") == Compose.kind for part in parts):
        raise InputError("augmentation compose: it cannot contain another compose; put all transforms in one list")
    return tuple(from_json(part, preprocessing) if isinstance(part, dict) else part for part in parts)
