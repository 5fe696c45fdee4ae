"""The scales of bit widths, for eyes of every kind: steps of lightness that stay apart when hues do not."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest

from anybit.reporting.frame import theme

# Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision deficiency" (2009):
# how linear RGB looks without one kind of cone.
_EYES = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
_SCHEMES = {"light": 0, "dark": 1}
_WIDTHS = (1, 2, 3, 4, 6, 8, 16, 32)


def colours(scale, scheme):
    """The colours of a scale as linear RGB, narrowest first."""
    found = [re.findall(rf"--{scale}{width}: (#[0-9a-f]{{6}});", theme())[scheme] for width in _WIDTHS]
    stored = np.array([[int(text[k : k + 2], 16) / 255 for k in (1, 3, 5)] for text in found])
    return np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)


def lab(linear):
    """CIE L*a*b* of linear sRGB."""
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = np.clip(linear, 0, 1) @ to_xyz.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


@pytest.mark.parametrize("scheme", _SCHEMES)
@pytest.mark.parametrize("eye", _EYES)
@pytest.mark.parametrize("scale", ["w", "a"])
def test_widths_are_told_apart_by_every_eye(scale, eye, scheme):
    seen = lab(colours(scale, _SCHEMES[scheme]) @ _EYES[eye].T)
    apart = [np.linalg.norm(seen[i] - seen[j]) for i in range(len(seen)) for j in range(i)]
    assert min(apart) > 6  # 2.3 is just noticeable
    assert all(a < b for a, b in pairwise(seen[:, 0]))  # lighter and lighter


@pytest.mark.parametrize("scheme", _SCHEMES)
@pytest.mark.parametrize("eye", _EYES)
def test_weights_and_activations_of_one_width_differ(eye, scheme):
    of_weights, of_activations = (lab(colours(s, _SCHEMES[scheme]) @ _EYES[eye].T) for s in "wa")
    assert np.linalg.norm(of_weights - of_activations, axis=1).min() > 6
