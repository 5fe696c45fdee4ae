"""The table of operators against the operators: what an operator makes of -0 in the place of +0."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
