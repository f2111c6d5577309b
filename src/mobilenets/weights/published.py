"""ImageNet weights that others have published, as data, and the choice among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mobilenets.errors import InputError
from mobilenets.weights.layers import TENSORFLOW_INPUT, TORCH_INPUT

HUB = "https://huggingface.co"
KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"


@dataclass(frozen=True)
class Published:
    """One file of weights for 1,000 ImageNet classes.

    - ``network``, ``width``: as ``mobilenets.models.catalog.describe`` takes them.
    - ``size``: input side in pixels that the weights were trained and ``top1`` was measured at.
    - ``top1``: per cent of the ImageNet validation pictures, as published with the weights.
    - ``source``: ``timm``, on the Hugging Face hub, or ``Keras``.
    - ``repository``, ``file``: the repository on the hub, or the folder of Keras's, and the file's name there.
    - ``revision``: the hub's commit, or a branch where no commit is known; None for Keras, which keeps no versions.
    - ``bytes``, ``sha256``: of the file, where known.
    - ``licence``: SPDX name of the licence that the weights are given under.
    - ``preprocessing``: fields of ``Preprocessing``; ``size`` is not among them.
    - ``habits``: fields of ``Foreign`` that its file does not tell: padding and BatchNorm's epsilon of timm's ``tf_``
      weights.
    """

    network: str
    width: float
    size: int
    top1: float
    source: str
    repository: str
    file: str
    revision: str | None
    bytes: int | None
    sha256: str | None
    licence: str
    preprocessing: Mapping[str, Any]
    habits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where the file is when no mirror is set."""
        if self.source == "timm":
            return f"{HUB}/{self.repository}/resolve/{self.revision}/{self.file}"
        return f"{KERAS}/{self.repository}/{self.file}"

    def to_json(self) -> dict[str, Any]:
        """Give the entry as plain JSON values."""
        told = ("network", "width", "size", "top1", "source", "licence", "preprocessing", "url", "bytes", "sha256")
        return {name: getattr(self, name) for name in told}


def choose(network: str, width: float, size: int, source: str | None = None) -> Published:
    """Choose the best published weights: timm's where it has the width, else Keras's, of the nearest size.

    With ``source``, ``timm`` or ``keras``, only that one's.

    Raises ``InputError`` with what there is when nothing is published for that network or width.
    """
    of_network = [entry for entry in PUBLISHED if entry.network == network]
    otherwise = "give a file with --weights FILE, or train with --weights none"
    if not of_network:
        others = ", ".join(dict.fromkeys(entry.network for entry in PUBLISHED))
        raise InputError(f"no ImageNet weights are published for {network}, only for {others}; {otherwise}")
    of_source = [entry for entry in of_network if source in (None, entry.source.lower())]
    fitting = [entry for entry in of_source if math.isclose(entry.width, width)]
    if not fitting:
        widths = ", ".join(f"{value:g}" for value in sorted({entry.width for entry in of_source}))
        raise InputError(
            f"no ImageNet weights are published for {network} at width {width:g}, only at {widths}; "
            f"use one of these as --width, {otherwise}"
        )
    # At the same distance the larger size, whose weights have seen more detail, and then the more accurate ones.
    return min(fitting, key=lambda entry: (entry.source != "timm", abs(entry.size - size), -entry.size, -entry.top1))


# timm/models/efficientnet.py and mobilenetv3.py, default_cfgs.
_BICUBIC = {"interpolation": "bicubic", "crop_fraction": 0.875}
_TIMM_V1: Mapping[str, Any] = {**TENSORFLOW_INPUT, **_BICUBIC}
_TIMM_V2: Mapping[str, Any] = {**TORCH_INPUT, **_BICUBIC}
_NEARLY_WHOLE: Mapping[str, Any] = {**_TIMM_V2, "crop_fraction": 0.95}
_UNIT: Mapping[str, Any] = {**TORCH_INPUT, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


# top1: results/results-imagenet.csv of pytorch-image-models. Licence: the model cards. Commits: the repositories'
# histories on the hub. Bytes equal what a safetensors file of timm's arrays comes to; SHA-256: the hub's page for 1.0
# of V2, and for the others checkpoints.json of D-Robotics' rdk_model_zoo, which has the same for that one. The full
# commit of V2 0.5 could not be found in print, nor of most of V3 and V4, so that these follow the branch.
# By network: width, size, top1, name on the hub, preprocessing.
_TIMM: Mapping[str, Sequence[tuple[float, int, float, str, Mapping[str, Any]]]] = {
    "mobilenet_v1": (
        (1.0, 224, 75.388, "mobilenetv1_100.ra4_e3600_r224_in1k", _TIMM_V1),
        (1.25, 224, 76.920, "mobilenetv1_125.ra4_e3600_r224_in1k", {**_TIMM_V1, "crop_fraction": 0.9}),
    ),
    "mobilenet_v2": (
        (0.5, 224, 65.928, "mobilenetv2_050.lamb_in1k", _TIMM_V2),
        (1.0, 224, 72.910, "mobilenetv2_100.ra_in1k", _TIMM_V2),
        (1.4, 224, 76.528, "mobilenetv2_140.ra_in1k", _TIMM_V2),
    ),
    "mobilenet_v3_large": (
        (1.0, 224, 77.920, "mobilenetv3_large_100.miil_in21k_ft_in1k", _UNIT),
        (1.0, 224, 76.310, "mobilenetv3_large_100.ra4_e3600_r224_in1k", {**_TIMM_V1, "crop_fraction": 0.95}),
        (1.0, 224, 75.784, "mobilenetv3_large_100.ra_in1k", _TIMM_V2),
        (1.0, 224, 75.510, "tf_mobilenetv3_large_100.in1k", TENSORFLOW_INPUT),
        (0.75, 224, 73.442, "tf_mobilenetv3_large_075.in1k", TENSORFLOW_INPUT),
    ),
    "mobilenet_v3_large_minimalistic": ((1.0, 224, 72.270, "tf_mobilenetv3_large_minimal_100.in1k", TENSORFLOW_INPUT),),
    "mobilenet_v3_small": (
        (1.0, 224, 67.922, "tf_mobilenetv3_small_100.in1k", TENSORFLOW_INPUT),
        (1.0, 224, 67.636, "mobilenetv3_small_100.lamb_in1k", _TIMM_V2),
        (0.75, 224, 65.706, "tf_mobilenetv3_small_075.in1k", TENSORFLOW_INPUT),
        (0.75, 224, 65.284, "mobilenetv3_small_075.lamb_in1k", _TIMM_V2),
        (0.5, 224, 57.918, "mobilenetv3_small_050.lamb_in1k", _TIMM_V2),
    ),
    "mobilenet_v3_small_minimalistic": ((1.0, 224, 62.892, "tf_mobilenetv3_small_minimal_100.in1k", TENSORFLOW_INPUT),),
    "mobilenet_v4_conv_small": (
        (1.0, 224, 73.756, "mobilenetv4_conv_small.e2400_r224_in1k", _TIMM_V2),
        (1.0, 224, 73.450, "mobilenetv4_conv_small.e1200_r224_in1k", _TIMM_V2),
        (1.0, 256, 74.534, "mobilenetv4_conv_small.e3600_r256_in1k", {**_TIMM_V1, "crop_fraction": 0.95}),
        (0.5, 224, 64.778, "mobilenetv4_conv_small_050.e3000_r224_in1k", _TIMM_V1),
    ),
    "mobilenet_v4_conv_medium": (
        (1.0, 224, 79.092, "mobilenetv4_conv_medium.e500_r224_in1k", _NEARLY_WHOLE),
        (1.0, 256, 79.916, "mobilenetv4_conv_medium.e500_r256_in1k", _NEARLY_WHOLE),
        (1.0, 384, 82.776, "mobilenetv4_conv_medium.e250_r384_in12k_ft_in1k", _NEARLY_WHOLE),
    ),
    "mobilenet_v4_conv_large": (
        (1.0, 256, 81.864, "mobilenetv4_conv_large.e500_r256_in1k", _NEARLY_WHOLE),
        (1.0, 384, 82.974, "mobilenetv4_conv_large.e600_r384_in1k", _NEARLY_WHOLE),
    ),
}
# Of those whose file is known: commit, bytes and SHA-256.
_FILES: Mapping[str, tuple[str, int | None, str | None]] = {
    "mobilenetv1_100.ra4_e3600_r224_in1k": (
        "dda9ab42e23f3061aa191630817df76e8fe9cace",
        17_030_248,
        "15c2f1411deb8e0533acbb41fe9523062f80d444d0393e7ad2b429f41378efc3",
    ),
    "mobilenetv1_125.ra4_e3600_r224_in1k": (
        "c59613f4f7c8154cc48d2c1c1d02007751309983",
        25_207_640,
        "5616b1d4d774ac5bdf3fb254a72da78a5f27b19aa13bcceac03a743077c6acd8",
    ),
    "mobilenetv2_100.ra_in1k": (
        "f3ff81ba89de0bc46b546568ebeab2edef6b9d49",
        14_184_144,
        "55ea4fb3a96010b933710ebf44fc965b070d5cd054d3f35e44f2d1320b4a714e",
    ),
    "mobilenetv2_140.ra_in1k": (
        "008fa2eb59c0080738c65898a7666059e11c0a75",
        24_655_288,
        "7cf3adc9931d132b0629481082a7b3fd2092139e355e89718da151ef50857c2f",
    ),
    "mobilenetv3_large_100.ra4_e3600_r224_in1k": (
        "26a545b7c557e54fa13caff7e76da391f6bcbc1a",
        22_058_008,
        "bd595a2d59301fc6264c4aabb203f93ec17b0aa7bdd7532c8d9e1cf07dfc9bdc",
    ),
}


def _timm(network: str, width: float, size: int, top1: float, name: str, how: Mapping[str, Any]) -> Published:
    commit, count, sha256 = _FILES.get(name, ("main", None, None))
    place = "timm", f"timm/{name}", "model.safetensors"
    habits = {"padding": "same", "epsilon": 1e-3} if name.startswith("tf_") else {}
    return Published(network, width, size, top1, *place, commit, count, sha256, "Apache-2.0", how, habits)


# Keras's files are slim's checkpoints in another format: of V1 those of 2017-06-14 (Keras had them before slim renewed
# its own in 2018), of V2 those of 2018. top1 is what slim's pages said of these: nets/mobilenet_v1.md of 2017, and
# nets/mobilenet/README.md.
_SLIM_V1 = {
    0.25: {128: 41.3, 160: 46.0, 192: 49.0, 224: 50.6},
    0.5: {128: 56.2, 160: 59.9, 192: 62.1, 224: 64.0},
    0.75: {128: 61.8, 160: 65.2, 192: 67.4, 224: 68.4},
    1.0: {128: 64.1, 160: 67.2, 192: 69.3, 224: 70.7},
}
_SLIM_V2 = {
    0.35: {96: 45.5, 128: 50.8, 160: 55.7, 192: 58.2, 224: 60.3},
    0.5: {96: 51.2, 128: 57.7, 160: 61.0, 192: 63.9, 224: 65.4},
    0.75: {96: 58.8, 128: 63.2, 160: 66.4, 192: 68.7, 224: 69.8},
    1.0: {96: 60.3, 128: 65.3, 160: 68.8, 192: 70.7, 224: 71.8},
    1.3: {224: 74.4},
    1.4: {224: 75.0},
}
# What Keras's mobilenet_v3.py says of V3.
_KERAS_V3 = {
    "mobilenet_v3_large": {0.75: {224: 73.3}, 1.0: {224: 75.6}},
    "mobilenet_v3_small": {0.75: {224: 65.4}, 1.0: {224: 68.1}},
    "mobilenet_v3_large_minimalistic": {1.0: {224: 72.3}},
    "mobilenet_v3_small_minimalistic": {1.0: {224: 61.9}},
}


def _keras(network: str, width: float, size: int, top1: float) -> Published:
    # keras/src/applications/mobilenet.py, mobilenet_v2.py and mobilenet_v3.py; licence: Keras's applications page,
    # "released under the Apache License", the one of slim.
    if network == "mobilenet_v1":
        folder = "mobilenet"
        # 1_0, 7_5, 5_0, 2_5: the file names of 0.75 and 0.25 leave their first digit out.
        text = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}[width]
        file = f"mobilenet_{text}_{size}_tf.h5"
    elif network.startswith("mobilenet_v3"):
        folder, kind = "mobilenet_v3", network.removeprefix("mobilenet_v3_")
        file = f"weights_mobilenet_v3_{kind}_{size}_{width}_float.h5"
    else:
        folder, file = "mobilenet_v2", f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{width}_{size}.h5"
    return Published(
        network, width, size, top1, "Keras", folder, file, None, None, None, "Apache-2.0", TENSORFLOW_INPUT
    )


PUBLISHED: tuple[Published, ...] = tuple(
    sorted(
        (
            *(_timm(network, *entry) for network, entries in _TIMM.items() for entry in entries),
            *(
                _keras(network, width, size, top1)
                for network, table in {"mobilenet_v1": _SLIM_V1, "mobilenet_v2": _SLIM_V2, **_KERAS_V3}.items()
                for width, sizes in table.items()
                for size, top1 in sizes.items()
            ),
        ),
        key=lambda entry: (entry.network, entry.width, entry.source != "timm", -entry.size),
    )
)
