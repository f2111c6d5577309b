"""PyTorch with ``torch.compile``, which writes C++ and needs a compiler for it."""

from __future__ import annotations

import argparse
import os
import shutil

import torch
from protocol import Prepared, Skipped, serve
from pytorch_eager import training


def prepare(options: argparse.Namespace) -> Prepared:
    if not any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++", "c++") if name):
        raise Skipped("torch.compile needs a C++ compiler: install g++ or clang++")
    return training(options, torch.compile)


if __name__ == "__main__":
    serve(prepare)
