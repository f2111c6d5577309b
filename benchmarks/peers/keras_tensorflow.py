"""Keras 3 on TensorFlow, with what ``model.compile`` does by default."""

from __future__ import annotations

import argparse
import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from protocol import Prepared, serve


def prepare(options: argparse.Namespace) -> Prepared:
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    from keras_networks import prepare as prepare_keras

    return prepare_keras(options, "tensorflow", "tensorflow", "tensorflow-cpu")


if __name__ == "__main__":
    serve(prepare)
