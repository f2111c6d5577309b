"""The usual Keras script for a frozen backbone, after keras.io's and TensorFlow's guides to transfer learning.

    python benchmarks/peers/keras_frozen.py DATA MODEL.keras [--weights BASE.h5] [--size 128] [--epochs 20] [--augment]

DATA has ``train/`` and ``validation/`` with a folder for each class. ``benchmarks/frozen.py`` runs this in a Python
that has TensorFlow. The last line printed is the best validation accuracy of any epoch.
"""

import argparse

import keras

BATCH = 32


def base(size: int, weights: str | None) -> keras.Model:
    """Build MobileNetV2 without its top; its weights come from the layers of the same names in ``weights``."""
    network = keras.applications.MobileNetV2(input_shape=(size, size, 3), include_top=False, weights=None)
    if weights is not None:
        saved = keras.models.load_model(weights, compile=False)
        parts = [saved, *(layer for layer in saved.layers if isinstance(layer, keras.Model))]
        given = {layer.name: layer.get_weights() for part in parts for layer in part.layers if layer.weights}
        for layer in network.layers:
            if layer.weights:
                layer.set_weights(given[layer.name])
    network.trainable = False
    return network


def main() -> None:
    """Train, and print how good the best epoch was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--weights")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--augment", action="store_true")
    wish = parser.parse_args()
    keras.utils.set_random_seed(0)
    halves = []
    for half in ("train", "validation"):
        pictures = keras.utils.image_dataset_from_directory(
            f"{wish.data}/{half}",
            image_size=(wish.size, wish.size),
            batch_size=BATCH,
            label_mode="int",
            shuffle=half == "train",
            seed=0,
        )
        halves.append((pictures, len(pictures.class_names)))
    (train, classes), (validation, _) = halves
    train, validation = train.prefetch(2), validation.prefetch(2)
    images = keras.Input((wish.size, wish.size, 3))
    x = images
    if wish.augment:
        x = keras.layers.RandomFlip("horizontal")(x)
        x = keras.layers.RandomRotation(0.1)(x)
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = base(wish.size, wish.weights)(x, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    model = keras.Model(images, keras.layers.Dense(classes)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    history = model.fit(train, validation_data=validation, epochs=wish.epochs, verbose=2)
    model.save(wish.out)
    print(f"best validation accuracy {max(history.history['val_accuracy']):.4f}")


if __name__ == "__main__":
    main()
