"""Overlap-tile inference: images of any size, piece by piece, as if they were seen at once.

Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015, figure 2: each tile of the answer is computed from
a larger tile of the image, with `context` pixels more on each side; tiles of the answer touch, and
what they are computed from overlaps. Beyond its border the image is continued by its mirror image.
So memory is that of one tile, whatever the size of the image.

Networks without padding ("valid") answer for the middle of their input alone: context is then the
border that they lose. Of the answers of padded networks ("same") the border of `context` pixels,
into which the padding's zeros reach, is thrown away.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from ..autograd import Tensor, no_grad
from ..backend import Array, of
from .modes import eval_mode

__all__ = ["predict_tiles"]


@no_grad()
def predict_tiles(
    model: Any,
    images: Tensor,
    tile: int | tuple[int, int],
    context: int | tuple[int, int],
    *,
    border: Literal["mirror", "network"] = "mirror",
    batch_size: int = 1,
) -> Tensor:
    """The answers of a segmentation network to images of any size.

    Equal to the network's answer to the whole image (mirrored at its border, where that is chosen)
    wherever an answer depends on nothing beyond `context` pixels from its tile, and `tile` and
    `context` are multiples of the network's total stride: 16 for U-Net.

    Args:
        model: a Module from (N, C, h, w) to (N, K, h, w), or without padding to the middle of that,
            of which at least the tile is left; used in evaluation mode.
        images: (N, C, H, W), where the model is.
        tile: of the answer in pixels, (h, w) or one number.
        context: pixels around it that the network sees besides, (vertical, horizontal) or one
            number: at least the radius of the receptive field, for exact answers. U-Net without
            padding: tile 384, context 94 (572 pixels in, 388 out, of which 384 are used).
        border: what lies beyond the image: "mirror", its mirror image; or "network", whatever the
            network itself takes there, as its zeros: tiles are cut at the border, and the network
            must have padding.
        batch_size: tiles computed at once.

    Returns:
        (N, K, H, W).

    Raises:
        ValueError: sizes that are not positive, or answers of another size than those above.
    """
    tile, context = (_pair(value) for value in (tile, context))
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"predict_tiles: images must be (N, C, H, W), got {images.shape}")
    if min(tile) < 1 or min(context) < 0 or batch_size < 1:
        raise ValueError(
            f"predict_tiles: tile and batch_size must be positive and context not negative, got "
            f"{tile}, {batch_size} and {context}"
        )
    if border not in ("mirror", "network"):
        raise ValueError(f"predict_tiles: border must be 'mirror' or 'network', got {border!r}")
    height, width = images.shape[2:]
    places = list(_places((height, width), tile, context, border))
    source = images.data
    if border == "mirror":
        # Whole tiles at the lower and right border, too: the surplus is cut off the answer.
        source = _mirror(source, tile, context)
    answer = None
    with eval_mode(model):
        for group in _batches(places, len(source), batch_size):
            xp = of(source).xp
            pieces = xp.concatenate([source[n : n + 1, :, place.y, place.x] for n, place in group])
            output = model(Tensor(pieces, device=images.device)).data
            for k, (n, place) in enumerate(group):
                part = _middle(output[k], pieces.shape[2:], place, context, border)
                if answer is None:
                    answer = xp.empty((len(source), len(part), height, width), part.dtype)
                h, w = answer[n, :, place.top :, place.left :].shape[1:]
                h, w = min(h, part.shape[1]), min(w, part.shape[2])
                into = np.s_[n, :, place.top : place.top + h, place.left : place.left + w]
                answer[into] = part[:, :h, :w]
    return Tensor(answer, device=images.device)


class _Place(NamedTuple):
    """A tile of the answer from (top, left) on, and the slices y, x of the source it needs.

    `above` and `beside` say how much of them lies before the tile.
    """

    top: int
    left: int
    size: tuple[int, int]
    y: slice
    x: slice
    above: int
    beside: int


def _places(
    size: tuple[int, int], tile: tuple[int, int], context: tuple[int, int], border: str
) -> Iterator[_Place]:
    for top in range(0, size[0], tile[0]):
        for left in range(0, size[1], tile[1]):
            if border == "mirror":  # the source begins `context` before the image
                y = slice(top, top + tile[0] + 2 * context[0])
                x = slice(left, left + tile[1] + 2 * context[1])
                yield _Place(top, left, tile, y, x, *context)
                continue
            ends = min(top + tile[0], size[0]), min(left + tile[1], size[1])
            above, beside = min(context[0], top), min(context[1], left)
            y = slice(top - above, min(ends[0] + context[0], size[0]))
            x = slice(left - beside, min(ends[1] + context[1], size[1]))
            yield _Place(top, left, (ends[0] - top, ends[1] - left), y, x, above, beside)


def _batches(
    places: list[_Place], images: int, batch_size: int
) -> Iterator[list[tuple[int, _Place]]]:
    """(image, tile) in groups of at most `batch_size` whose sources have one size."""
    groups: dict[tuple[int, int], list[tuple[int, _Place]]] = {}
    for n in range(images):
        for place in places:
            shape = place.y.stop - place.y.start, place.x.stop - place.x.start
            groups.setdefault(shape, []).append((n, place))
    for group in groups.values():
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]


def _middle(
    output: Array,
    seen: tuple[int, ...],
    place: _Place,
    context: tuple[int, int],
    border: str,
) -> Array:
    """The part (K, h, w) of an answer (K, h', w') that is the tile."""
    h, w = place.size
    size = output.shape[1:]
    if size == seen:
        return output[:, place.above : place.above + h, place.beside : place.beside + w]
    surplus = size[0] - h, size[1] - w
    if border == "mirror" and min(surplus) >= 0 and not any(n % 2 for n in surplus):
        above, beside = (n // 2 for n in surplus)
        return output[:, above : above + h, beside : beside + w]
    valid = (
        "" if border == "network" else f", or without padding {place.size} or an even number more"
    )
    raise ValueError(
        f"predict_tiles: the network answers a tile of {seen} pixels with {size}; with context "
        f"{context} and border {border!r} it should be {seen}{valid}"
    )


def _mirror(images: Array, tile: tuple[int, int], context: tuple[int, int]) -> Array:
    """Images continued by their mirror image to whole tiles, with `context` around them."""
    xp = of(images).xp
    index = []
    for n, t, c in zip(images.shape[2:], tile, context, strict=True):
        place = np.abs(np.arange(-c, -(-n // t) * t + c))
        period = max(2 * (n - 1), 1)
        place %= period
        index.append(np.minimum(place, period - place) if n > 1 else 0 * place)
    rows, columns = (of(images).asarray(i, None, of(images).index_of(images)) for i in index)
    return xp.take(xp.take(images, rows, axis=2), columns, axis=3)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
