"""Keras: models of QKeras and HGQ2, and the plain layers among them."""

from anybit.frontends.keras.export import export_keras

__all__ = ["export_keras"]
