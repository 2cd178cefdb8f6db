"""Tests of the search for near duplicates: on photographs, on made-up hashes with a known answer, and its cost."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images

from biotune.datasets.near import SIDE, Hashes, Thumbnails, alike, look_of

PHOTOGRAPHS = [Image.fromarray(pixels) for pixels in load_sample_images().images]


def again(image: Image.Image, kind: str, **options: object) -> Image.Image:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return Image.open(content).convert("RGB")


def sets_of(images: list[Image.Image]) -> list[int]:
    pytest.importorskip("imagehash")
    looks = [look_of(image) for image in images]
    return alike(np.array([hash_ for hash_, _ in looks], dtype=np.uint64), np.stack([small for _, small in looks])).tolist()


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    "change",
    [
        lambda image: again(image, "JPEG", quality=40),
        lambda image: again(image, "WEBP", quality=60),
        lambda image: image.resize((image.width // 3, image.height // 3)),
        lambda image: image.resize((2 * image.width, 2 * image.height)),
        lambda image: ImageEnhance.Brightness(image).enhance(1.05),
        lambda image: ImageEnhance.Sharpness(image).enhance(2),
    ],
    ids=["jpeg", "webp", "smaller", "larger", "brighter", "sharper"],
)
def test_a_photograph_is_known_again(number: int, change: object) -> None:
    image = PHOTOGRAPHS[number]
    first, second = sets_of([image, change(image)])  # type: ignore[operator]
    assert first == second


def test_the_hash_is_that_of_the_library() -> None:
    imagehash = pytest.importorskip("imagehash")
    hash_, thumbnail = look_of(PHOTOGRAPHS[0])
    shrunk = PHOTOGRAPHS[0].resize((64, 64), Image.Resampling.BOX, reducing_gap=2.0)
    assert f"{hash_:016x}" == str(imagehash.phash(shrunk))
    assert thumbnail.shape == (SIDE, SIDE, 3)


def test_other_images_are_told_apart() -> None:
    parts = [PHOTOGRAPHS[0].crop((60 * number, 0, 60 * number + 200, 200)) for number in range(6)]
    turned = PHOTOGRAPHS[1].rotate(90, expand=True)
    mirrored = PHOTOGRAPHS[1].transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    plain = [Image.new("RGB", (50, 50), (value, value, value)) for value in (20, 40, 60)]
    assert len(set(sets_of([*PHOTOGRAPHS, *parts, turned, mirrored, *plain]))) == 13


def made_up(count: int, seed: int = 0) -> tuple[Hashes, Thumbnails]:
    """Images that have nothing in common."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    return hashes, rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize("bits", [0, 1, 4, 5])
def test_hashes_may_differ_in_four_bits_wherever_they_lie(bits: int) -> None:
    rng = np.random.default_rng(bits)
    hashes, thumbnails = made_up(400)
    for pair in range(50):
        thumbnails[200 + pair] = thumbnails[pair]
        flipped = sum(1 << int(bit) for bit in rng.choice(64, bits, replace=False))
        hashes[200 + pair] = hashes[pair] ^ np.uint64(flipped)
    sets = alike(hashes, thumbnails)
    assert (sets[200:250] == sets[:50]).tolist() == [bits <= 4] * 50
    assert len(set(sets.tolist())) == (350 if bits <= 4 else 400)


def test_an_equal_hash_is_not_enough() -> None:
    hashes, thumbnails = made_up(50)
    hashes[:] = hashes[0]
    assert len(set(alike(hashes, thumbnails).tolist())) == 50


def test_chains_become_one_set() -> None:
    hashes, thumbnails = made_up(30)
    for place in range(1, 20):  # each differs from the one before in two more bits
        hashes[place] = hashes[place - 1] ^ np.uint64(0b11 << (2 * place))
        thumbnails[place] = thumbnails[0]
    sets = alike(hashes, thumbnails)
    assert len(set(sets[:20].tolist())) == 1 and len(set(sets.tolist())) == 11


def test_no_image_and_one_image_are_sets_of_their_own() -> None:
    hashes, thumbnails = made_up(1)
    assert alike(hashes, thumbnails).tolist() == [0]
    assert alike(hashes[:0], thumbnails[:0]).tolist() == []


def test_the_time_grows_with_the_number_of_images_and_not_with_its_square() -> None:
    def seconds(count: int) -> float:
        hashes, thumbnails = made_up(count)
        hashes[:] = hashes[0]  # the worst case: one band for all
        begin = time.process_time()
        alike(hashes, thumbnails)
        return time.process_time() - begin

    few = max(min(seconds(1000) for _ in range(2)), 0.05)
    assert seconds(8000) < 20 * few  # eight times as many; 64 times as long if all pairs were compared
