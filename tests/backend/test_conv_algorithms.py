"""Every convolution algorithm equals the definition written as loops, for all three faces."""

import warnings

import numpy as np
import pytest

from minidl.backend import by_name, conv_algorithm, get_num_threads, set_num_threads
from minidl.backend.cpu.conv import ALGORITHMS, chooser, deep, direct, fft, pieces, taps, winograd
from minidl.backend.geometry import ConvGeometry
from minidl.backend.plain import conv as plain

FAST = [name for name in ALGORITHMS if name != "direct"]
RTOL = {"float64": 1e-10, "float32": 1e-4, "float16": 1e-2}


@pytest.fixture(params=[1, 2], ids="{0} thread(s)".format)
def threads(request):
    before = get_num_threads()
    set_num_threads(request.param)
    yield
    set_num_threads(before)


def draw(rng, algorithm):
    """Shapes of x and w, and a geometry that `algorithm` supports."""
    kernel, stride, dilation = (tuple(rng.integers(1, n, 2).tolist()) for n in (5, 4, 4))
    padding = tuple(tuple(rng.integers(0, 4, 2).tolist()) for _ in range(2))
    groups = int(rng.choice([1, 1, 2, 3]))
    c, o = (groups * rng.integers(1, 4, 2)).tolist()
    if algorithm == "pointwise":
        kernel, padding = (1, 1), ((0, 0), (0, 0))
    if algorithm in ("depthwise", "taps"):
        c = groups = int(rng.integers(2, 6))
        o = c * int(rng.integers(1, 4))
    if algorithm in ("shift", "taps"):
        stride = (1, 1)
    if algorithm == "deep":
        groups = 1
    if algorithm in ("winograd", "winograd2x2"):
        kernel, stride, dilation, groups = (3, 3), (1, 1), (1, 1), 1
    geometry = ConvGeometry(kernel, stride, padding, dilation, groups)
    size = [max(1, geometry.span[i] - sum(padding[i])) + int(rng.integers(0, 14)) for i in (0, 1)]
    n = int(rng.integers(1, 6))
    return (n, c, *size), (o, c // groups, *kernel), geometry


def faces(kernels, x, w, b, g, geometry):
    """All that a backend computes for a convolution."""
    return {
        "forward": kernels.conv_forward(x, w, geometry),
        "forward with bias": kernels.conv_forward(x, w, geometry, b),
        "input_grad": kernels.conv_input_grad(g, w, geometry, x.shape[2:]),
        "weight_grad": kernels.conv_weight_grad(x, g, geometry),
        "bias_grad": kernels.conv_bias_grad(g),
    }


def definition(x, w, b, g, geometry):
    x, w, b, g = (a.astype(np.float64) for a in (x, w, b, g))
    y, biased, dx, dw = (np.empty(a.shape) for a in (g, g, x, w))
    direct.forward(x, w, None, geometry, y)
    direct.forward(x, w, b, geometry, biased)
    direct.input_grad(g, w, geometry, dx)
    direct.weight_grad(x, g, geometry, dw)
    return {
        "forward": y,
        "forward with bias": biased,
        "input_grad": dx,
        "weight_grad": dw,
        "bias_grad": g.sum((0, 2, 3)),
    }


def arrays(rng, x_shape, w_shape, geometry, dtype):
    g_shape = (x_shape[0], w_shape[0], *geometry.output_size(x_shape[2:]))
    shapes = (x_shape, w_shape, w_shape[:1], g_shape)
    return tuple(rng.standard_normal(shape).astype(dtype) for shape in shapes)


def assert_same(found, expected, dtype, where):
    for face, e in expected.items():
        assert found[face].dtype == np.dtype(dtype), f"{where}: {face} became {found[face].dtype}"
        assert found[face].shape == e.shape, f"{where}: {face}"
        error = np.abs(found[face].astype(np.float64) - e).max(initial=0.0)
        scale = max(np.abs(e).max(initial=0.0), 1e-3)
        assert error <= RTOL[dtype] * scale, f"{where}: {face}, error {error:.3g} of {scale:.3g}"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("algorithm", FAST)
def test_equals_the_definition_on_random_geometries(algorithm, dtype, threads):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x_shape, w_shape, geometry = draw(rng, algorithm)
        for face in chooser.FACES:
            assert ALGORITHMS[algorithm].supports(face, geometry, x_shape[1])
        given = arrays(rng, x_shape, w_shape, geometry, dtype)
        with conv_algorithm(algorithm):
            found = faces(by_name("cpu"), *given, geometry)
        where = f"{algorithm}, seed {seed}: {x_shape}, {w_shape}, {geometry}"
        assert_same(found, definition(*given, geometry), dtype, where)


@pytest.mark.parametrize("algorithm", FAST)
def test_equals_the_definition_when_pieces_are_bands_of_an_image(algorithm, threads, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_BYTES", 2000)
    monkeypatch.setattr(winograd, "PIXELS", 6 * 36)
    monkeypatch.setattr(fft, "LARGER", 1)
    monkeypatch.setattr(taps, "PIECE_BYTES", 2000)
    for seed in range(100, 115):
        rng = np.random.default_rng(seed)
        x_shape, w_shape, geometry = draw(rng, algorithm)
        given = arrays(rng, x_shape, w_shape, geometry, "float64")
        with conv_algorithm(algorithm):
            found = faces(by_name("cpu"), *given, geometry)
        where = f"{algorithm}, seed {seed}: {x_shape}, {w_shape}, {geometry}"
        assert_same(found, definition(*given, geometry), "float64", where)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_the_table_and_the_plain_kernels_equal_the_definition(dtype):
    class Plain(plain.ConvKernels):
        xp = np

    for seed in range(200, 240):
        rng = np.random.default_rng(seed)
        x_shape, w_shape, geometry = draw(rng, None)
        given = arrays(rng, x_shape, w_shape, geometry, dtype)
        expected = definition(*given, geometry)
        for kernels in (by_name("cpu"), Plain()):
            where = f"{type(kernels).__name__}, seed {seed}: {x_shape}, {w_shape}, {geometry}"
            assert_same(faces(kernels, *given, geometry), expected, dtype, where)


def test_the_plain_kernels_work_on_a_few_images_at_a_time(monkeypatch):
    class Plain(plain.ConvKernels):
        xp = np

    rng = np.random.default_rng(0)
    geometry = ConvGeometry((3, 3), (2, 1), ((1, 1), (0, 2)))
    given = arrays(rng, (7, 3, 6, 5), (4, 3, 3, 3), geometry, "float64")
    whole = faces(Plain(), *given, geometry)
    monkeypatch.setattr(plain, "COLUMN_BYTES", 2 * 8 * 27 * 3 * 5)  # the columns of two images
    assert_same(faces(Plain(), *given, geometry), whole, "float64", "in pieces")


def test_columns_of_a_large_batch_are_cut(threads, monkeypatch):
    rng = np.random.default_rng(0)
    geometry = ConvGeometry((3, 2), (2, 1), ((1, 1), (0, 2)))
    given = arrays(rng, (7, 33, 6, 5), (35, 33, 3, 2), geometry, "float64")
    monkeypatch.setattr(deep, "COLUMNS_BYTES", 2 * 8 * 33 * 6 * 3 * 6)  # those of two images
    monkeypatch.setattr(deep, "PIECE_BYTES", 10_000)
    monkeypatch.setattr(deep, "ALONE", 1000)  # so that two threads share the work
    with conv_algorithm("deep"):
        found = faces(by_name("cpu"), *given, geometry)
    assert_same(found, definition(*given, geometry), "float64", "in pieces")


@pytest.mark.parametrize("algorithm", ["direct", *FAST])
def test_memory_layout_does_not_matter(algorithm):
    rng = np.random.default_rng(3)
    for seed in range(5):
        x_shape, w_shape, geometry = draw(np.random.default_rng(seed), algorithm)
        given = arrays(rng, x_shape, w_shape, geometry, "float64")
        expected = definition(*given, geometry)
        turned = [np.ascontiguousarray(a.T).T for a in given]
        repeated = [np.repeat(a, 2, axis=-1)[..., ::2] for a in given]
        with conv_algorithm(algorithm):
            for some in (turned, repeated):
                found = faces(by_name("cpu"), *some, geometry)
                assert_same(found, expected, "float64", f"{algorithm}, {geometry}")


def test_a_gradient_that_is_one_number_everywhere_needs_no_copy_by_the_caller():
    rng = np.random.default_rng(4)
    for name, kernel, groups in (("rows", 3, 1), ("pointwise", 1, 1), ("depthwise", 3, 4)):
        geometry = ConvGeometry((kernel, kernel), groups=groups)
        x, w, b, g = arrays(
            rng, (2, 4, 9, 9), (8, 4 // groups, kernel, kernel), geometry, "float64"
        )
        g = np.broadcast_to(np.float64(2.0), g.shape)
        with conv_algorithm(name):
            found = faces(by_name("cpu"), x, w, b, g, geometry)
        assert_same(found, definition(x, w, b, g, geometry), "float64", name)


def test_results_do_not_depend_on_what_the_workspace_held_before():
    """Zeros of the padding are kept from call to call: another geometry must write them anew."""
    rng = np.random.default_rng(5)
    cases = []
    for seed in range(12):
        x_shape, w_shape, geometry = draw(np.random.default_rng(seed), "winograd")
        given = arrays(rng, x_shape, w_shape, geometry, "float64")
        cases.append((given, geometry, definition(*given, geometry)))
    for k in rng.permutation(np.repeat(np.arange(len(cases)), 4)):
        given, geometry, expected = cases[k]
        with conv_algorithm(FAST[int(rng.integers(len(FAST)))]):
            found = faces(by_name("cpu"), *given, geometry)
        assert_same(found, expected, "float64", str(geometry))


def test_the_weight_gradient_is_the_same_bit_for_bit_every_time():
    rng = np.random.default_rng(6)
    geometry = ConvGeometry((3, 3), padding=((1, 1), (1, 1)))
    x, _, _, g = arrays(rng, (32, 8, 32, 32), (8, 8, 3, 3), geometry, "float32")
    before = get_num_threads()
    set_num_threads(2)
    try:
        first = by_name("cpu").conv_weight_grad(x, g, geometry)
        for _ in range(5):
            assert np.array_equal(by_name("cpu").conv_weight_grad(x, g, geometry), first)
    finally:
        set_num_threads(before)


def test_a_forced_algorithm_is_used_where_it_can_and_only_within_the_block():
    three, one = ConvGeometry((3, 3)), ConvGeometry((1, 1))
    usual = chooser.choose("forward", three, 16, 16, (32, 32), 8)
    with conv_algorithm("direct"):
        assert chooser.choose("forward", three, 16, 16, (32, 32), 8) is direct
        with conv_algorithm("pointwise"):
            assert chooser.choose("forward", three, 16, 16, (32, 32), 8) is usual
            assert chooser.choose("forward", one, 16, 16, (32, 32), 8) is ALGORITHMS["pointwise"]
        assert chooser.choose("forward", one, 16, 16, (32, 32), 8) is direct
    assert chooser.choose("forward", three, 16, 16, (32, 32), 8) is usual


def test_an_unknown_algorithm_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown algorithm 'fast'; known are direct, im2col"):
        conv_algorithm("fast")


def test_the_table_chooses_only_what_supports_the_convolution():
    rng = np.random.default_rng(7)
    chosen = set()
    for _ in range(10_000):
        kernel, stride, dilation = (
            tuple(rng.choice(options, 2).tolist())
            for options in ([1, 3, 3, 5, 7, 15], [1, 2], [1, 1, 2])
        )
        groups = int(rng.choice([1, 1, 8]))
        c, o = (groups * rng.choice([1, 2, 16, 64, 256], 2)).tolist()
        size = tuple(rng.choice([1, 4, 7, 14, 56, 112], 2).tolist())
        geometry = ConvGeometry(kernel, stride, groups=groups, dilation=dilation)
        for face in chooser.FACES:
            algorithm = chooser.choose(face, geometry, c, o, size, int(rng.choice([1, 8, 64])))
            if algorithm is None:
                assert face == "input_grad"
            else:
                assert algorithm.supports(face, geometry, c)
                chosen.add(algorithm)
    # These two are there to be read: they win nowhere.
    never = ("shift", "winograd2x2")
    assert chosen == {ALGORITHMS[name] for name in FAST if name not in never}


@pytest.mark.parametrize("size", [(23, 31), (40, 24)])
@pytest.mark.parametrize(
    ("algorithm", "tolerance"), [("winograd", 3e-5), ("winograd2x2", 3e-6), ("fft", 3e-6)]
)
def test_fast_algorithms_lose_little_accuracy(algorithm, tolerance, size):
    rng = np.random.default_rng(8)
    geometry = ConvGeometry((3, 3), padding=((1, 1), (1, 1)))
    given = arrays(rng, (2, 24, *size), (24, 24, 3, 3), geometry, "float32")
    with conv_algorithm(algorithm):
        found = faces(by_name("cpu"), *given, geometry)
    with conv_algorithm("im2col"):
        exact = faces(by_name("cpu"), *(a.astype(np.float64) for a in given), geometry)
    for face, e in exact.items():
        assert np.abs(found[face] - e).max() < tolerance * np.abs(e).max(), face


def test_no_warning_is_raised_by_numbers_that_overflow_in_padding():
    geometry = ConvGeometry((3, 3), padding=((1, 1), (1, 1)))
    x, w = np.full((1, 4, 9, 9), 1e30, np.float32), np.ones((4, 4, 3, 3), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in FAST:
            with conv_algorithm(name):
                by_name("cpu").conv_forward(x, w, geometry)


def test_winograds_transforms_are_the_published_ones():
    a_t, g, b_t = winograd.transforms(
        (0, 1, -1)
    )  # Lavin and Gray 2016, equation 6; rows up to sign
    assert np.array_equal(a_t, [[1, 1, 1, 0], [0, 1, -1, 1]])
    assert np.array_equal(g, [[-1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    assert np.array_equal(b_t, [[-1, 0, 1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]])


@pytest.mark.parametrize("points", [(0, 1, -1), (0, 1, -1, 2), (0, 1, -1, 2, -2)])
def test_winograds_transforms_filter_a_row_of_pixels(points):
    rng = np.random.default_rng(9)
    a_t, g, b_t = winograd.transforms(points)
    taps, pixels = rng.standard_normal(3), rng.standard_normal(len(points) + 1)
    expected = np.correlate(pixels, taps, "valid")
    np.testing.assert_allclose(a_t @ ((g @ taps) * (b_t @ pixels)), expected, rtol=1e-12)
