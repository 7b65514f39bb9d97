"""Networks stored by deep compression."""

import numpy as np
import pytest

from minidl.io import load_deep_compressed

SHAPES = {"first": (3, 2, 5, 5), "last": (4, 3)}


def layers(seed=0, shapes=SHAPES, density=0.05):
    """Sparse weights of few values, and biases."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, shape in shapes.items():
        values = np.concatenate([[0], rng.normal(size=255)]).astype("<f4")
        which = rng.integers(1, 256, shape) * (rng.random(shape) < density)
        made[name] = values, which, rng.normal(size=shape[0]).astype("<f4")
    return made


def encode(made):
    """The file, weight after weight."""
    counts, body = [], b""
    for values, which, bias in made.values():
        codes, gaps, zeros = [], [], 0
        for code in which.reshape(-1):
            if code or zeros == 15:
                codes.append(code)
                gaps.append(zeros)
                zeros = 0
            else:
                zeros += 1
        counts.append(len(codes))
        pairs = [*gaps, 0] if len(gaps) % 2 else gaps
        halves = [low + 16 * high for low, high in zip(pairs[::2], pairs[1::2], strict=True)]
        body += values.tobytes() + bias.tobytes() + bytes(codes) + bytes(halves)
    return np.array(counts, "<u4").tobytes() + body


@pytest.mark.parametrize("density", [0.0, 0.01, 0.05, 0.5, 1.0])
def test_sparse_weights_come_back(density, tmp_path):
    made = layers(density=density)
    (tmp_path / "net").write_bytes(encode(made))
    state = load_deep_compressed(tmp_path / "net", SHAPES)
    assert list(state) == ["first.weight", "first.bias", "last.weight", "last.bias"]
    for name, (values, which, bias) in made.items():
        weight = state[f"{name}.weight"]
        assert weight.dtype == np.float32
        np.testing.assert_array_equal(weight.data, values[which])
        np.testing.assert_array_equal(state[f"{name}.bias"].data, bias)


def test_the_tensors_go_where_they_are_wanted(tmp_path):
    (tmp_path / "net").write_bytes(encode(layers()))
    state = load_deep_compressed(tmp_path / "net", SHAPES, device="strict")
    assert {x.device for x in state.values()} == {"strict"}


def test_files_that_do_not_fit_are_refused_by_name(tmp_path):
    path = tmp_path / "some.net"
    raw = encode(layers())
    for wrong, message in [
        (b"", "truncated"),
        (raw[:5], "truncated"),
        (raw[:-1], "truncated"),
        (raw + b"x", f"has {len(raw) + 1} bytes; these 2 layers take {len(raw)}"),
        (b"\xff" * 8 + raw[8:], "truncated"),
    ]:
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=rf"some\.net.*{message}"):
            load_deep_compressed(path, SHAPES)
    path.write_bytes(encode(layers(density=1.0)))
    smaller = {"first": (3, 2, 7, 7), "last": (4, 2)}
    with pytest.raises(ValueError, match=r"a weight number 11 of last, whose shape \(4, 2\) has 8"):
        load_deep_compressed(path, smaller)
    with pytest.raises(FileNotFoundError):
        load_deep_compressed(tmp_path / "nothing.net", SHAPES)


def test_random_damage_never_gives_another_error(tmp_path):
    raw = encode(layers())
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(raw)
        for at in rng.integers(0, len(raw), 10):
            damaged[at] = rng.integers(256)
        (tmp_path / "damaged.net").write_bytes(damaged[: rng.integers(len(raw) // 2, len(raw) + 1)])
        try:
            load_deep_compressed(tmp_path / "damaged.net", SHAPES)
        except ValueError as error:
            assert "damaged.net" in str(error)  # noqa: PT017
