"""Keras 3 on PyTorch, with what ``model.compile`` does by default."""

from __future__ import annotations

import argparse
import os

os.environ["KERAS_BACKEND"] = "torch"

import torch
from protocol import Prepared, serve


def prepare(options: argparse.Namespace) -> Prepared:
    torch.set_num_threads(options.threads)
    from keras_networks import prepare as prepare_keras

    return prepare_keras(options, "torch", "torch")


if __name__ == "__main__":
    serve(prepare)
