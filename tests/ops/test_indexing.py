"""Indexing: random keys against torch and NumPy, assignment, errors, and what torch allows."""

import numpy as np
import pytest

import minidl as md
from minidl.ops import indexing

KINDS = ("int", "slice", "slice", "none", "ellipsis", "list", "vector", "matrix", "mask", "scalar")


def random_key(rng, shape):
    """A key for a tensor of `shape`, as (minidl's, torch's or NumPy's with arrays)."""
    key, left = [], list(shape)
    common = int(rng.integers(1, 4))  # index arrays in one key have this length, and so broadcast
    rich = rng.random() < 0.3
    while left and rng.random() < 0.85:
        kind = rng.choice(KINDS)
        n = left[0]
        if kind == "none":
            key.append(None)
            continue
        if kind == "ellipsis":
            if Ellipsis not in [k for k in key if k is Ellipsis]:
                key.append(...)
                left = left[int(rng.integers(0, len(left) + 1)) :]
            continue
        left.pop(0)
        if kind == "int" and n:
            key.append(int(rng.integers(-n, n)))
        elif kind == "list" and n:
            key.append(rng.integers(-n, n, common).tolist())
        elif kind == "vector" and n:
            key.append(rng.integers(-n, n, common))
        elif kind == "matrix" and n and rich:
            key.append(rng.integers(-n, n, (2, common)))
        elif kind == "scalar" and n and rich:
            key.append(np.array(rng.integers(-n, n)))
        elif kind == "mask" and n:
            mask = np.zeros(n, bool)
            mask[rng.permutation(n)[:common]] = True
            key.append(mask)
        else:
            ends = np.sort(rng.integers(-n - 1, n + 2, 2)).tolist()
            key.append(slice(*ends, int(rng.integers(1, 3))))
    return tuple(key)


def is_array(part):
    return isinstance(part, np.ndarray)


def mine(key):
    return tuple(md.tensor(p) if is_array(p) else p for p in key)


@pytest.mark.parametrize("seed", range(300))
def test_random_keys_give_torchs_values_and_gradients(seed):
    torch = pytest.importorskip("torch", reason="parity needs the extra `reference`")
    rng = np.random.default_rng(seed)
    array = rng.standard_normal(rng.integers(1, 5, rng.integers(1, 5)))
    key = random_key(rng, array.shape)
    theirs = tuple(torch.tensor(p) if is_array(p) else p for p in key)
    x, t = md.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
    try:
        expected = t[theirs]
    except IndexError:
        with pytest.raises(IndexError):
            x[mine(key)]
        return
    got = x[mine(key)]
    assert got.shape == tuple(expected.shape), key
    assert np.array_equal(got.detach().numpy(), expected.detach().numpy()), key
    u = rng.standard_normal(got.shape)
    got.backward(md.tensor(u))
    expected.backward(torch.tensor(u))
    np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-12, err_msg=str(key))


@pytest.mark.parametrize("seed", range(300))
def test_random_assignments_give_torchs_values_and_gradients(seed):
    torch = pytest.importorskip("torch", reason="parity needs the extra `reference`")
    rng = np.random.default_rng(1000 + seed)
    array = rng.standard_normal(rng.integers(1, 5, rng.integers(1, 5)))
    key = random_key(rng, array.shape)
    theirs = tuple(torch.tensor(p) if is_array(p) else p for p in key)
    x, t = md.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
    try:
        shape = tuple(t[theirs].shape)
    except IndexError:
        return
    # Without duplicates: which of two values stays is nobody's promise.
    places = torch.arange(array.size).reshape(array.shape)[theirs]
    if places.unique().numel() != places.numel():
        return
    shape = tuple(1 if rng.random() < 0.3 else n for n in shape)
    shape = shape[int(rng.integers(0, len(shape) + 1)) :]
    value = rng.standard_normal(shape)
    v, w = md.tensor(value, requires_grad=True), torch.tensor(value, requires_grad=True)
    y, s = x * 1.0, t * 1.0
    y[mine(key)] = v
    s[theirs] = w
    assert np.array_equal(y.detach().numpy(), s.detach().numpy()), key
    u = rng.standard_normal(array.shape)
    y.backward(md.tensor(u))
    s.backward(torch.tensor(u))
    np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-12, err_msg=str(key))
    np.testing.assert_allclose(v.grad.numpy(), w.grad.numpy(), rtol=1e-12, err_msg=str(key))

    with md.no_grad():  # the same into memory
        z = md.tensor(array)
        before = z._version[0]
        z[mine(key)] = md.tensor(value)
    assert np.array_equal(z.numpy(), s.detach().numpy()), key
    assert z._version[0] == before + 1


@pytest.mark.parametrize("seed", range(100))
def test_index_put_that_accumulates_gives_torchs_values_and_gradients(seed):
    torch = pytest.importorskip("torch", reason="parity needs the extra `reference`")
    rng = np.random.default_rng(2000 + seed)
    array = rng.standard_normal(rng.integers(1, 5, 3))
    count = int(rng.integers(1, 4))
    arrays = [rng.integers(-n, n, (2, 5)) for n in array.shape[:count]]
    value = rng.standard_normal((2, 5, *array.shape[count:]))
    x, t = md.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
    v, w = md.tensor(value, requires_grad=True), torch.tensor(value, requires_grad=True)
    y = indexing.index_put(x, tuple(md.tensor(a) for a in arrays), v, accumulate=True)
    s = torch.index_put(t, tuple(torch.tensor(a) for a in arrays), w, accumulate=True)
    np.testing.assert_allclose(y.detach().numpy(), s.detach().numpy(), rtol=1e-12, atol=1e-14)
    u = rng.standard_normal(array.shape)
    y.backward(md.tensor(u))
    s.backward(torch.tensor(u))
    assert np.array_equal(x.grad.numpy(), t.grad.numpy())
    assert np.array_equal(v.grad.numpy(), w.grad.numpy())


@pytest.mark.parametrize("seed", range(200))
def test_random_keys_without_integers_beside_arrays_give_numpys_values(seed):
    rng = np.random.default_rng(3000 + seed)
    array = rng.standard_normal(rng.integers(1, 5, rng.integers(1, 5)))
    key = random_key(rng, array.shape)
    if any(is_array(p) or isinstance(p, list) for p in key):  # NumPy counts integers as arrays then
        key = tuple(p for p in key if not isinstance(p, int) and not (is_array(p) and p.ndim == 0))
    try:
        expected = array[key]
    except IndexError:
        with pytest.raises(IndexError):
            md.tensor(array)[mine(key)]
        return
    assert np.array_equal(md.tensor(array)[mine(key)].numpy(), expected), key


@pytest.mark.parametrize("key", [slice(None, None, -1), (..., slice(3, None, -2)), (None, 0)])
def test_basic_keys_give_views_as_in_numpy(key):
    array = np.arange(12.0).reshape(3, 4)
    x = md.Tensor(array)
    y = x[key]
    assert np.array_equal(y.numpy(), array[key])
    assert np.shares_memory(y.numpy(), x.numpy())
    assert y._version is x._version


def test_a_single_element_is_a_view_too():
    x = md.tensor([[1.0, 2.0], [3.0, 4.0]])
    y = x[1, 0]
    assert y.shape == ()
    with md.no_grad():
        y.fill_(7.0)
    assert x.tolist() == [[1.0, 2.0], [7.0, 4.0]]


def test_index_arrays_and_masks_give_copies():
    x = md.tensor(np.zeros((3, 2)))
    for key in ([0, 1], md.tensor([True, False, True]), (slice(None), md.tensor([1]))):
        assert not np.shares_memory(x[key].numpy(), x.numpy())


def test_keys_may_hold_tensors_lists_ranges_numpy_arrays_and_numpy_integers():
    array = np.arange(12.0).reshape(4, 3)
    x = md.tensor(array)
    n = md.tensor(2)
    assert np.array_equal(x[n].numpy(), array[2])
    assert np.array_equal(x[:n].numpy(), array[:2])
    assert np.array_equal(x[np.int64(1), np.array(2)].numpy(), array[1, 2])
    assert np.array_equal(x[range(2)].numpy(), array[:2])
    assert np.array_equal(x[[[0, 1], [2, 3]]].numpy(), array[[[0, 1], [2, 3]]])
    assert np.array_equal(x[md.tensor([0, 1], dtype=np.int32)].numpy(), array[:2])
    assert x[[]].shape == (0, 3)
    assert x[x > 5.0].tolist() == [6.0, 7.0, 8.0, 9.0, 10.0, 11.0]


def test_booleans_as_parts_of_a_key_add_a_dimension():
    x = md.tensor(np.ones((2, 3)))
    assert x[True].shape == (1, 2, 3)
    assert x[False].shape == (0, 2, 3)
    assert x[md.tensor(True), 0].shape == (1, 3)
    assert x[True, [0, 1]].shape == (2, 3)


def test_empty_tensors_and_indices():
    x = md.tensor(np.ones((0, 3)), requires_grad=True)
    y = x[:, md.tensor([2, 0])]
    assert y.shape == (0, 2)
    y.backward(md.tensor(np.ones((0, 2))))
    assert x.grad.shape == (0, 3)
    x = md.tensor(np.ones((4, 3)), requires_grad=True)
    y = x[md.tensor(np.zeros(4, bool))]
    assert y.shape == (0, 3)
    y.backward(md.tensor(np.ones((0, 3))))
    assert not x.grad.numpy().any()


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (3, "index 3 is out of range for dimension 0 of shape"),
        ((0, -4), "index -4 is out of range for dimension 1"),
        ((0, 0, 0), "3 indices for a tensor of shape"),
        ([0, 5], "index 5 is out of range for dimension 0 with size 2"),
        ([-3], "index -3 is out of range"),
        (1.0, "1.0 is not an index"),
        ("a", "'a' is not an index"),
        ([0.5], "not float32"),
        (np.array([0, 1], np.uint8), "mask or as positions"),
        (np.array([True, False, True]), "mask of shape"),
        ((..., 0, ...), "one ellipsis"),
        (([0, 1], [0, 1, 2]), "do not broadcast"),
    ],
)
def test_wrong_keys_are_index_errors_that_say_what_is_wrong(key, words):
    x = md.tensor(np.ones((2, 3)))
    with pytest.raises(IndexError, match=words):
        x[key]
    with pytest.raises(IndexError, match=words):
        x[key] = 0.0


def test_values_that_do_not_fit_their_places_are_refused():
    x = md.tensor(np.ones((2, 3)))
    for value in (np.ones(2), np.ones((3, 3)), np.ones((2, 1, 3))):
        with pytest.raises(ValueError, match="do not broadcast to the places"):
            x[...] = value
    x[0] = np.full((1, 1, 3), 2.0)  # leading ones are let through, as in NumPy and torch
    assert x.tolist() == [[2.0] * 3, [1.0] * 3]


def test_assigned_values_take_the_dtype_of_the_tensor():
    x = md.tensor([0, 0, 0])
    x[0] = 1.7
    x[1] = md.tensor(2.9)
    assert x.dtype == np.int64
    assert x.tolist() == [1, 2, 0]
    y = md.tensor([0.0, 0.0])
    y[[0]] = np.float64(0.1)
    y[1] = np.array(0.2)
    assert y.dtype == np.float32


def test_an_element_at_a_time_can_be_computed_and_stored():
    w = md.tensor(2.0, requires_grad=True)
    out = md.tensor(np.zeros((2, 3), np.float32))
    for i in range(2):
        for j in range(3):
            out[i, j] = w * float(i + j)
    out.backward(md.tensor(np.ones((2, 3), np.float32)))
    assert w.grad.item() == 9.0


def test_assignment_to_a_recorded_leaf_or_view_is_refused():
    x = md.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf"):
        x[0] = 1.0
    with md.no_grad():
        x[0] = 5.0
    assert x.tolist() == [5.0, 2.0]
    base = x * 1.0
    y = base.reshape(1, 2)
    with pytest.raises(RuntimeError, match="made by Reshape"):
        y[0, 0] = 1.0
    table = md.tensor(np.zeros((2, 2), np.float32))
    with pytest.raises(RuntimeError, match="made by Slice"):
        table[0][1] = x[0]


def test_assignment_to_an_expanded_tensor_is_refused():
    x = md.tensor([1.0]).expand(3)
    with pytest.raises(RuntimeError, match="expanded"):
        x[0] = 2.0


def test_a_backward_that_needs_overwritten_values_says_so():
    x = md.tensor([1.0, 2.0], requires_grad=True)
    y = x * 1.0
    z = y * y
    with md.no_grad():
        y[0] = 3.0
    with pytest.raises(RuntimeError, match="changed in place"):
        z.backward(md.tensor([1.0, 1.0]))


def test_an_index_changed_between_forward_and_backward_is_noticed():
    x = md.tensor([1.0, 2.0], requires_grad=True)
    i = md.tensor([0, 0])
    y = x[i]
    i[0] = 1
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward(md.tensor([1.0, 1.0]))


@pytest.mark.parametrize("seed", range(60))
def test_gather_and_scatter_of_random_shapes_give_torchs_values_and_gradients(seed):
    torch = pytest.importorskip("torch", reason="parity needs the extra `reference`")
    rng = np.random.default_rng(seed)
    ndim = int(rng.integers(1, 4))
    shape = rng.integers(1, 5, ndim)
    dim = int(rng.integers(-ndim, ndim))
    sizes = np.array([rng.integers(1, n + 1) for n in shape])
    sizes[dim] = rng.integers(1, 6)
    array, index = rng.standard_normal(shape), rng.integers(0, shape[dim], sizes)
    source = rng.standard_normal(sizes)
    for name in ("gather", "scatter_add"):
        x, t = md.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
        v, w = md.tensor(source, requires_grad=True), torch.tensor(source, requires_grad=True)
        extra = ([], []) if name == "gather" else ([v], [w])
        y = getattr(x, name)(dim, md.tensor(index), *extra[0])
        s = getattr(t, name)(dim, torch.tensor(index), *extra[1])
        np.testing.assert_allclose(y.detach().numpy(), s.detach().numpy(), rtol=1e-12, atol=1e-14)
        u = rng.standard_normal(y.shape)
        y.backward(md.tensor(u))
        s.backward(torch.tensor(u))
        np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-12, atol=1e-14)
        if name != "gather":
            assert np.array_equal(v.grad.numpy(), w.grad.numpy())


def test_indices_of_the_gather_family_must_lie_within_the_dimension():
    x = md.tensor(np.ones((2, 3)))
    for bad in (-1, 2):
        index = md.tensor([[bad, 0, 0]])
        for call in (
            lambda i=index: x.gather(0, i),
            lambda i=index: x.scatter(0, i, 1.0),
            lambda i=index: x.scatter_add(0, i, x[:1]),
            lambda i=index: indexing.take_along_dim(x, i, 0),
            lambda i=index: x.index_select(0, i[0]),
        ):
            with pytest.raises(IndexError, match=f"index {bad} is out of range for dimension 0"):
                call()


def test_wrong_arguments_of_the_gather_family_are_refused():
    x = md.tensor(np.ones((2, 3)))
    good = md.tensor([[0, 0, 0]])
    with pytest.raises(TypeError, match="gather: expected a tensor of integers, got float32"):
        x.gather(0, md.tensor([[0.0]]))
    with pytest.raises(TypeError, match="got list"):
        x.gather(0, [[0]])
    with pytest.raises(ValueError, match="as many dimensions"):
        x.gather(0, md.tensor([0]))
    with pytest.raises(ValueError, match="larger than input"):
        x.gather(0, md.tensor([[0, 0, 0, 0]]))
    with pytest.raises(IndexError, match="gather: dimension 2"):
        x.gather(2, good)
    with pytest.raises(TypeError, match="scatter: src is float32 but input float64"):
        x.scatter(0, good, md.tensor([[1.0, 1.0, 1.0]]))
    with pytest.raises(ValueError, match="smaller than index"):
        x.scatter_add(0, good, x[:1, :2])
    with pytest.raises(ValueError, match="expected a 1-d index"):
        x.index_select(0, good)
    with pytest.raises(TypeError, match="mask must be boolean"):
        x.masked_select(good)
    with pytest.raises(ValueError, match="do not broadcast"):
        x.masked_select(md.tensor([True, False]))


def test_one_hot_counts_classes_and_refuses_what_is_none():
    assert indexing.one_hot(md.tensor([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert indexing.one_hot(md.tensor(1), 3).tolist() == [0, 1, 0]
    assert indexing.one_hot(md.tensor(np.zeros((0, 2), np.int64)), 3).shape == (0, 2, 3)
    with pytest.raises(IndexError, match="index 2 is out of range"):
        indexing.one_hot(md.tensor([1, 2]), 2)
    with pytest.raises(IndexError, match="index -1 is out of range"):
        indexing.one_hot(md.tensor([-1, 2]))
    with pytest.raises(TypeError, match="float32"):
        indexing.one_hot(md.tensor([1.0]), 2)
    with pytest.raises(ValueError, match="empty"):
        indexing.one_hot(md.tensor(np.zeros(0, np.int64)))


def test_repeat_interleave_checks_its_counts():
    x = md.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert x.repeat_interleave(2).tolist() == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]
    assert x.repeat_interleave(md.tensor([2, 1]), 0, output_size=3).shape == (3, 2)
    assert x.repeat_interleave(md.tensor([2]), 1).shape == (2, 4)
    with pytest.raises(ValueError, match="negative"):
        x.repeat_interleave(-1, 0)
    with pytest.raises(ValueError, match="repeats for dimension 0"):
        x.repeat_interleave([1, 2, 3], 0)
    with pytest.raises(ValueError, match="output_size 5"):
        x.repeat_interleave(2, 0, output_size=5)


def test_small_integers_accumulate_in_their_own_dtype():
    for dtype in (np.int8, np.int16, np.int32, np.uint8):
        x = md.tensor(np.zeros(3, dtype))
        y = indexing.index_put(x, [0, 0, 2], md.tensor(np.array([1, 2, 3], dtype)), True)
        assert y.dtype == dtype
        assert y.tolist() == [3, 0, 3]


def test_index_arrays_of_the_host_are_brought_to_the_device_of_the_tensor():
    x = md.tensor(np.arange(6.0), device="strict")
    y = x[md.tensor([1, 5], device="cpu")]
    assert y.device == "strict"
    assert y.tolist() == [1.0, 5.0]
    x[[0, 1]] = np.array([7.0, 8.0])
    assert x[:2].tolist() == [7.0, 8.0]


def test_what_an_index_makes_lies_where_the_tensor_lies_not_on_the_default_device():
    x = md.tensor(np.arange(6.0).reshape(2, 3))
    with md.use("strict"):
        assert x[x > 3.0].tolist() == [4.0, 5.0]
        assert x.gather(0, md.tensor([[1, 0, 1]], device="cpu")).device == "cpu"
        assert indexing.one_hot(md.tensor([1, 0], device="cpu")).device == "cpu"
        assert x[[1]].device == x[True].device == "cpu"
