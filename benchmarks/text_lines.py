"""Text lines in the fonts of the machine, as PP-OCR's nets read them, and how much of a text a recogniser reads.

The words are those of the project's licence, and numbers.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Array = npt.NDArray[np.float32]
HEIGHT, WIDTH = 48, 320
_FONTS = Path("/usr/share/fonts")
_WORDS = Path(__file__).parents[1] / "LICENSE"


def lines(count: int, seed: int) -> tuple[Array, list[str]]:
    """So many images (3, 48, 320) of a line of text, zeros behind its end, and what they say.

    Raises:
        FileNotFoundError: There are no fonts.
    """
    fonts = [f for f in sorted(_FONTS.rglob("*.ttf")) if "math" not in f.name.lower()]
    if not fonts:
        raise FileNotFoundError(f"no fonts (*.ttf) in {_FONTS}")
    words = [w for w in _WORDS.read_text().split() if w.isascii() and 2 <= len(w) <= 12]
    rng = random.Random(seed)  # noqa: S311 - no secrets
    drawn = [_line(rng, fonts, words) for _ in range(count)]
    return np.stack([image for image, _ in drawn]), [text for _, text in drawn]


def _line(rng: random.Random, fonts: Sequence[Path], words: Sequence[str]) -> tuple[Array, str]:
    while True:
        parts = [
            rng.choice(words) if rng.random() < 0.75 else str(rng.randint(0, 99999)) for _ in range(rng.randint(1, 4))
        ]
        text = " ".join(parts)
        font = ImageFont.truetype(str(rng.choice(fonts)), rng.randint(26, 36))
        left, top, right, bottom = font.getbbox(text)
        margin = rng.randint(2, 8)
        size = int(right - left) + 2 * margin, int(bottom - top) + 2 * margin
        width = round(HEIGHT * size[0] / size[1])
        if width <= WIDTH:
            break
    ink, paper = rng.randint(0, 90), rng.randint(165, 255)
    if rng.random() < 0.2:
        ink, paper = paper, ink
    image = Image.new("RGB", size, _near(rng, paper))
    ImageDraw.Draw(image).text((margin - left, margin - top), text, font=font, fill=_near(rng, ink))
    image = image.resize((width, HEIGHT), Image.Resampling.BILINEAR)
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(0.9 * rng.random()))
    noise = np.random.default_rng(rng.randint(0, 1 << 30)).normal(0, 8 * rng.random(), (HEIGHT, width, 3))
    pixels = np.clip(np.asarray(image) + noise, 0, 255) / 127.5 - 1
    result = np.zeros((3, HEIGHT, WIDTH), np.float32)
    result[:, :, :width] = pixels.transpose(2, 0, 1)[::-1]
    return result, text


def _word(rng: random.Random, words: Sequence[str]) -> str:
    return rng.choice(words) if rng.random() < 0.75 else str(rng.randint(0, 99999))


def _near(rng: random.Random, grey: int) -> tuple[int, ...]:
    return tuple(min(255, max(0, grey + rng.randint(-20, 20))) for _ in range(3))


def said(scores: Array, characters: Sequence[str]) -> list[str]:
    """The texts of scores (N, steps, 1 + characters): the best of each step, repeats and blanks (0) left out."""
    texts: list[str] = []
    for best in scores.argmax(axis=-1):
        first = np.concatenate([[True], best[1:] != best[:-1]])
        texts.append("".join(characters[k - 1] for k in best[first & (best > 0)]))
    return texts


def characters_read(texts: Sequence[str], read: Sequence[str]) -> float:
    """1 - edits / characters, over all texts."""
    edits = sum(_edits(a, b) for a, b in zip(texts, read, strict=True))
    return 1 - edits / sum(map(len, texts))


def _edits(a: str, b: str) -> int:
    """Insertions, deletions and replacements between two texts (Levenshtein)."""
    above = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
        above = row
    return above[-1]
