"""Rules of TfIdfVectorizer.

ngram_counts[n] is where the (n + 1)-grams begin in the pool: ascending, within the pool.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from anybit.errors import Finding
from anybit.ops.standard.checks.call import StandardCall


def tf_idf_vectorizer(call: StandardCall) -> Iterator[Finding]:
    """The places in the pool where the n-grams of each length begin ascend, and lie within the pool."""
    counts, *pools = (_listed(call, name) for name in ("ngram_counts", "pool_int64s", "pool_strings"))
    size = max(map(len, pools))
    if any(a > b for a, b in pairwise((0, *counts, size))):
        expected = f"ascending places of a pool of {size}"
        yield call.finding("attribute", "attribute 'ngram_counts'", got=list(counts), expected=expected)


def _listed(call: StandardCall, name: str) -> tuple[Any, ...]:
    found = call.attributes.get(name)
    return found if isinstance(found, tuple) else ()
