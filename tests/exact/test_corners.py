"""Lines through corners: where they have most room."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from anybit.exact.corners import Corners, widest_slope
from tests.strategies import examples


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=6, unique=True))
@examples(100)
def test_no_slope_has_more_room_than_the_widest(places):
    reach = np.sort(np.array([places], np.float64))
    corners = Corners(reach, reach - 1, np.arange(1.0, reach.shape[1] + 1)[None])
    widest, _ = corners.width(widest_slope(corners))
    most = max(corners.width(np.array([k]))[0][0] for k in np.exp2(np.linspace(-8, 3, 400)))
    assert widest[0] >= most - 1e-9 or most < 0, "of slopes that leave room"
