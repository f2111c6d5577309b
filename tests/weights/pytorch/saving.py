"""A small network in torch.save's files, for tests: ``runpy.run_path`` gives these names."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mobilenets.weights.pytorch.torch_file import read

FORMS = ("zip", "legacy")


def small(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    network = nn.Sequential(
        collections.OrderedDict(
            stem=nn.Conv2d(3, 4, 3, bias=False), norm=nn.BatchNorm2d(4), middle=nn.Conv2d(4, 4, 3, groups=4)
        )
    )
    network.add_module("classifier", nn.Linear(4, 2))
    with torch.no_grad():
        network.norm.running_mean.normal_()
        network.norm.running_var.uniform_(0.5, 2)
    return network


def save(value: object, path: Path, form: str = "zip", **settings: Any) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=form == "zip", **settings)
    return path


def same(path: Path, state: dict[str, torch.Tensor]) -> None:
    foreign = read(path)
    found = {f"{layer.name}.{part}": array for layer in foreign.layers for part, array in layer.arrays.items()}
    assert set(found) == {name for name, value in state.items() if value.ndim}
    for name, array in found.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, state[name].detach().float(), err_msg=name)
