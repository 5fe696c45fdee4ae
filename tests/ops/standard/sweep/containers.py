"""Sequences, optional values, text, and what only training has."""

from __future__ import annotations

import numpy as np

from tests.ops.standard.sweep.case import Case, case, ints, normal, scalar


def _sequences() -> list[Case]:
    a, b, c = normal(2, 3), normal(1, 3), normal(4, 3)
    s = [a, b, c]
    cases = [
        case("SequenceConstruct", a, b, c, since=11),
        case("SequenceConstruct", ints(1), ints(2, 3), since=11),
        case("SequenceEmpty", since=11),
        case("SequenceEmpty", since=11, dtype=7),
        case("SequenceLength", s, since=11),
    ]
    for position in (0, 2, -1, -3):
        cases += [
            case("SequenceAt", s, scalar(position, np.int64), since=11),
            case("SequenceErase", s, scalar(position, np.int64), since=11),
            case("SequenceInsert", s, normal(5, 3), scalar(position, np.int64), since=11),
        ]
    cases += [
        case("SequenceErase", s, since=11),
        case("SequenceInsert", s, normal(5, 3), since=11),
        case("SequenceInsert", s, normal(5, 3), scalar(3, np.int32), since=11),
        case("SequenceAt", s, scalar(1, np.int32), since=11),
    ]
    cases += [
        case("ConcatFromSequence", s, since=11, axis=0),
        case("ConcatFromSequence", [a, a], since=11, axis=-1),
        case("ConcatFromSequence", [a, a + 1], since=11, axis=0, new_axis=1),
        case("ConcatFromSequence", [a, a + 1], since=11, axis=-1, new_axis=1),
    ]
    x = normal(6, 4)
    cases += [
        case("SplitToSequence", x, since=11),
        case("SplitToSequence", x, since=11, axis=1),
        case("SplitToSequence", x, since=11, axis=-1, keepdims=0),
        case("SplitToSequence", x, ints(1, 2, 3), since=11),
        case("SplitToSequence", x, scalar(4, np.int64), since=11),
        case("SplitToSequence", x, scalar(2, np.int32), since=11, axis=1),
        case("SplitToSequence", x, ints(1, 3), since=11, axis=1, keepdims=0),
    ]
    cases += [case("Identity", s, since=14), case("SplitToSequence", x, ints(1, 3), since=11, axis=1, keepdims=1)]
    cases += [
        case("SequenceAt", s, ints(1), since=11),
        case("SequenceErase", s, ints(1), since=11),
        case("SequenceInsert", s, a, ints(1), since=11),
    ]
    cases += [
        case("Optional", a, since=15),
        case("OptionalHasElement", a, since=18),
        case("OptionalHasElement", s, since=18),
        case("OptionalGetElement", a, since=18),
        case("OptionalGetElement", s, since=18),
        case("OptionalHasElement", since=18),
    ]
    return cases


def _text() -> list[Case]:
    words = np.array(["Monday", "tuesday", "the", "Wednesday"])
    cases = [
        case("StringNormalizer", words, since=10, **at)
        for at in (
            {"case_change_action": "LOWER", "locale": "C"},
            {},
            {"locale": "C", "case_change_action": "UPPER", "stopwords": ["the"], "is_case_sensitive": 1},
            {"locale": "C", "case_change_action": "LOWER", "stopwords": ["The"], "is_case_sensitive": 0},
            {"stopwords": ["Monday", "tuesday", "the", "Wednesday"], "is_case_sensitive": 1},
        )
    ]
    cases += [
        case("StringConcat", words, np.array(["!"]), since=20),
        case("StringConcat", words[:, None], words[None], since=20),
        case("StringSplit", np.array(["a b  c", " d", ""]), since=20, outputs=2),
        case("StringSplit", np.array(["a,b", "c"]), since=20, outputs=2, delimiter=","),
        case("StringSplit", np.array(["a,b,c", "c"]), since=20, outputs=2, delimiter=",", maxsplit=1),
        case("RegexFullMatch", np.array(["abc", "xyz1"]), since=20, pattern="[a-z]+"),
    ]
    base = {
        "min_gram_length": 1,
        "max_gram_length": 2,
        "max_skip_count": 0,
        "ngram_counts": [0, 4],
        "ngram_indexes": [0, 1, 2, 3, 4, 5, 6],
        "pool_int64s": [2, 3, 5, 4, 5, 6, 7, 8, 6, 7],
    }
    corpus = np.array([[1, 1, 3, 3, 3, 7], [8, 6, 7, 5, 6, 8]], np.int64)
    for mode in ("TF", "IDF", "TFIDF"):
        weights = {} if mode == "TF" else {"weights": [1.0, 2.0, 3.0, 0.5, 0.25, 4.0, 5.0]}
        for skip in (0, 1, 5, 9):
            for x in (corpus, corpus[1], corpus.astype(np.int32)):
                cases += [case("TfIdfVectorizer", x, since=9, mode=mode, **{**base, **weights, "max_skip_count": skip})]
    cases += [
        case("TfIdfVectorizer", corpus, since=9, mode="TF", **{**base, "min_gram_length": 2, "max_skip_count": 2})
    ]
    return cases


def _training() -> list[Case]:
    x = normal(3, 4)
    cases = [
        case("Dropout", x, until=11),
        case("Dropout", x, until=11, ratio=0.3),
        case("Dropout", x, until=11, since=10, outputs=2),
        case("Dropout", x, since=12),
        case("Dropout", x, scalar(0.3), since=12),
        case("Dropout", x, scalar(0.3), scalar(False, np.bool_), since=12, outputs=2),
        case("Dropout", x, None, scalar(False, np.bool_), since=12, outputs=2),
        case("Dropout", x, scalar(0.0), scalar(True, np.bool_), since=12, outputs=2),
        case("Dropout", x, until=9, outputs=2),
    ]
    cases += [case("Dropout", x.astype(np.float64), since=12), case("Dropout", x.astype(np.float16), since=12)]
    return cases


CASES = [*_sequences(), *_text(), *_training()]
