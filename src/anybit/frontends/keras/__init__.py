"""Keras: models of QKeras and HGQ2, and the plain layers among them."""

from anybit.frontends.keras.convert import from_keras

__all__ = ["from_keras"]
