"""Shapes: random arguments against torch, errors, views, and torch's edge cases."""

import numpy as np
import pytest

import minidl as md
from minidl.ops import shape


def reference():
    return pytest.importorskip("torch", reason="parity needs the extra `reference`")


def same(function, theirs_too, *arrays):
    """Values and gradients of minidl's and torch's function are the same; or both raise."""
    torch = reference()
    inputs = [md.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    try:
        expected = theirs_too(*theirs)
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        with pytest.raises((ValueError, IndexError, TypeError)):
            function(*inputs)
        return error
    outputs = function(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    expected = expected if isinstance(expected, (tuple, list)) else (expected,)
    assert len(outputs) == len(expected)
    rng = np.random.default_rng(0)
    cotangents = [rng.standard_normal(out.shape) for out in outputs]
    for out, e in zip(outputs, expected, strict=True):
        assert out.shape == tuple(e.shape)
        assert np.array_equal(out.detach().numpy(), e.detach().numpy())
    md.autograd.backward(outputs, [md.tensor(u) for u in cotangents])
    torch.autograd.backward(expected, [torch.tensor(u) for u in cotangents])
    for x, t in zip(inputs, theirs, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-12, atol=1e-14)
    return None


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("seed", range(60))
def test_pad_with_random_widths_is_torchs(seed, mode):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 3))  # of padded dimensions
    x = rng.standard_normal(rng.integers(2, 6, count + 1 + int(rng.integers(0, 2))))
    widths = rng.integers(-2, 5, 2 * count).tolist()
    for n, a, b in zip(x.shape[::-1], widths[::2], widths[1::2], strict=False):
        if n + a + b == 0 and mode != "constant":
            return  # nothing left: torch refuses that in these modes
        if mode == "circular" and max(a, b) > n + min(a, 0) + min(b, 0):
            return  # torch copies from memory that it has not filled yet
    same(
        lambda t: shape.pad(t, widths, mode),
        lambda t: reference().nn.functional.pad(t, widths, mode),
        x,
    )


@pytest.mark.parametrize("seed", range(40))
def test_movedim_permute_transpose_and_diagonal_with_random_dimensions_are_torchs(seed):
    rng = np.random.default_rng(seed)
    ndim = int(rng.integers(2, 5))
    x = rng.standard_normal(rng.integers(1, 5, ndim))
    count = int(rng.integers(1, ndim + 1))
    source = (rng.permutation(ndim)[:count] - ndim * rng.integers(0, 2, count)).tolist()
    target = rng.permutation(ndim)[:count].tolist()
    same(lambda t: t.movedim(source, target), lambda t: t.movedim(source, target), x)
    order = rng.permutation(ndim).tolist()
    same(lambda t: t.permute(order), lambda t: t.permute(order), x)
    i, j = rng.integers(-ndim, ndim, 2).tolist()
    same(lambda t: t.transpose(i, j), lambda t: t.transpose(i, j), x)
    offset = int(rng.integers(-3, 4))
    if abs(offset) < min(x.shape):  # outside of that torch's own backward is at fault at times
        same(lambda t: t.diagonal(offset, i, j), lambda t: t.diagonal(offset, i, j), x)


@pytest.mark.parametrize("seed", range(40))
def test_split_chunk_roll_repeat_and_flip_with_random_arguments_are_torchs(seed):
    rng = np.random.default_rng(seed)
    ndim = int(rng.integers(1, 4))
    x = rng.standard_normal(rng.integers(1, 7, ndim))
    dim = int(rng.integers(-ndim, ndim))
    n = int(rng.integers(1, 5))
    same(lambda t: t.split(n, dim), lambda t: t.split(n, dim), x)
    same(lambda t: t.chunk(n, dim), lambda t: t.chunk(n, dim), x)
    same(lambda t: t.unbind(dim), lambda t: t.unbind(dim), x)
    shift = int(rng.integers(-9, 9))
    same(lambda t: t.roll(shift, dim), lambda t: t.roll(shift, dim), x)
    counts = rng.integers(0, 3, ndim + int(rng.integers(0, 2))).tolist()
    same(lambda t: t.repeat(counts), lambda t: t.repeat(counts), x)
    same(lambda t: t.tile(counts[:1]), lambda t: t.tile(counts[:1]), x)
    same(lambda t: t.flip(dim), lambda t: t.flip(dim), x)
    same(lambda t: t.repeat_interleave(n, dim), lambda t: t.repeat_interleave(n, dim), x)
    if ndim > 1:
        same(lambda t: t.tril(shift), lambda t: t.tril(shift), x)
        same(lambda t: t.triu(shift), lambda t: t.triu(shift), x)


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.reshape(4, -1),
        lambda t: t.reshape(-1, -1),
        lambda t: t.reshape(0, -1),
        lambda t: t.reshape(-2, 3),
        lambda t: t.view(7),
        lambda t: t.flatten(1, 0),
        lambda t: t.flatten(2),
        lambda t: t.unflatten(1, (2, -1)),
        lambda t: t.permute(0),
        lambda t: t.permute(0, 0),
        lambda t: t.transpose(0, 2),
        lambda t: t.movedim(0, (0, 1)),
        lambda t: t.movedim((0, 0), (0, 1)),
        lambda t: t.squeeze(2),
        lambda t: t.unsqueeze(3),
        lambda t: t.expand(3),
        lambda t: t.expand(2, 4),
        lambda t: t.expand(-1, 2, 3),
        lambda t: t.narrow(1, 2, 2),
        lambda t: t.narrow(1, 0, -1),
        lambda t: t.narrow(0, 5, 0),
        lambda t: t.diagonal(0, 1, 1),
        lambda t: t[0].diagonal(),
        lambda t: t[0].tril(),
        lambda t: t[0].mT,
        lambda t: t.unsqueeze(0).t(),
        lambda t: t.split(0),
        lambda t: t.split(-1),
        lambda t: t.split([1, 2]),
        lambda t: t.chunk(0),
        lambda t: t.unbind(2),
        lambda t: t[0, 0].unbind(),
        lambda t: t[0, 0].split(1),
        lambda t: t[0, 0].chunk(1),
        lambda t: t.flip(0, 0),
        lambda t: t.roll((1, 2), 0),
        lambda t: t.roll((1, 2)),
        lambda t: t.repeat(2),
        lambda t: t.repeat(2, -1),
    ],
)
def test_what_torch_refuses_is_refused(call):
    assert same(call, call, np.ones((2, 3))) is not None, "torch takes it"


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t[0, 0].flatten(),
        lambda t: t[0, 0].reshape(1, 1),
        lambda t: t[0, 0].transpose(0, -1),
        lambda t: t[0, 0].squeeze(0),
        lambda t: t[0, 0].unsqueeze(-1),
        lambda t: t[0, 0].expand(2, 2),
        lambda t: t[0, 0].repeat(2),
        lambda t: t[0, 0].flip(0),
        lambda t: t[0, 0].roll(1),
        lambda t: t[0].t(),
        lambda t: t.squeeze((0, 1)),
        lambda t: t[:, :1].squeeze((0, -1)),
        lambda t: t[:0].reshape(0, 5),
        lambda t: t[:0].reshape(3, -1),
        lambda t: t[:0].split(2),
        lambda t: t[:0].split(0),
        lambda t: t[:0].chunk(2),
        lambda t: t[:0].flip(0),
        lambda t: t.narrow(0, 2, 0),
        lambda t: t.expand(4, 2, 3),
        lambda t: t[:, :1].expand(2, 0),
        lambda t: t.diagonal(3),
        lambda t: t.diagonal(-1),
        lambda t: t.repeat(0, 2),
        lambda t: t.flip(()),
        lambda t: t.view_as(t.mT),
        lambda t: t.unbind(1)[2],
        lambda t: t.swapaxes(0, 1),
        lambda t: t.unflatten(-1, (3, 1)),
    ],
)
def test_what_torch_allows_gives_torchs_result(call):
    assert same(call, call, np.arange(6.0).reshape(2, 3)) is None, "torch refuses it"


def test_cat_and_stack_follow_torch_in_dtypes_empty_tensors_and_errors():
    ints, floats = md.tensor([1, 2]), md.tensor([0.5])
    assert shape.cat([ints, floats]).dtype == np.float32
    assert shape.stack([ints, md.tensor([1.0, 2.0], dtype=np.float16)]).dtype == np.float16
    assert shape.cat([md.tensor([True]), ints]).tolist() == [1, 1, 2]
    for call in (
        lambda m, a, b: m.cat([a, b]),
        lambda m, a, b: m.cat([a, b], 1),
        lambda m, a, b: m.cat([a, b], -3),
        lambda m, a, b: m.cat([a[:0, 0], b, a]),
        lambda m, a, b: m.cat([a[0, 0], b[0, 0]]),
        lambda m, a, b: m.stack([a, b]),
        lambda m, a, b: m.stack([a[:1], b * 2], -1),
        lambda m, a, b: m.stack([a[1:], b], 4),
    ):
        same(
            lambda *x, call=call: call(shape, *x),
            lambda *x, call=call: call(reference(), *x),
            np.ones((2, 3)),
            np.ones((1, 3)),
        )
    for empty in (shape.cat, shape.stack):
        with pytest.raises(ValueError, match="at least one"):
            empty([])


def test_errors_name_the_operation_and_the_shapes():
    a, b = md.tensor(np.ones((2, 3))), md.tensor(np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"cat: tensor 1 of shape \(2, 4\) .* shape \(2, 3\)"):
        shape.cat([a, b])
    with pytest.raises(ValueError, match=r"stack: tensor 1 has shape \(2, 4\), tensor 0 \(2, 3\)"):
        shape.stack([a, b])
    with pytest.raises(TypeError, match="cat: expected a sequence of tensors"):
        shape.cat(a)
    with pytest.raises(ValueError, match=r"reshape: 6 elements do not fit into shape \(4, 2\)"):
        a.reshape(4, 2)
    with pytest.raises(ValueError, match=r"expand: \(2, 3\) cannot be expanded to \(2, 4\)"):
        a.expand(2, 4)
    with pytest.raises(IndexError, match=r"unbind: dimension 2 is out of range .* 2 dimension"):
        a.unbind(2)
    with pytest.raises(ValueError, match="unknown mode 'mirror'; known are constant, reflect"):
        shape.pad(a, (1, 1), "mirror")
    with pytest.raises(ValueError, match="'reflect' needs widths below the size"):
        shape.pad(a, (3, 0), "reflect")
    with pytest.raises(ValueError, match="takes no value"):
        shape.pad(a, (1, 0), "reflect", 1.0)
    with pytest.raises(ValueError, match="a pair of widths for each"):
        shape.pad(a, (1, 1, 1))
    with pytest.raises(ValueError, match="cut away more"):
        shape.pad(a, (-2, -2))
    with pytest.raises(ValueError, match="broadcast_tensors: shapes"):
        shape.broadcast_tensors(a, b)
    with pytest.raises(ValueError, match="'ij' or 'xy'"):
        shape.meshgrid(a[0], indexing="yx")
    with pytest.raises(ValueError, match="1-d tensors"):
        shape.meshgrid(a)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.reshape(3, 2),
        lambda x: x.permute(1, 0),
        lambda x: x.T,
        lambda x: x.squeeze(),
        lambda x: x.unsqueeze(0),
        lambda x: x.narrow(1, 1, 2),
        lambda x: x.diagonal(),
        lambda x: x.split(1)[0],
        lambda x: x.unbind(1)[2],
        lambda x: x[0],
    ],
)
def test_views_share_memory_and_version_and_see_changes_of_each_other(call):
    x = md.tensor(np.arange(6.0).reshape(2, 3))
    y = call(x)
    assert np.shares_memory(x.numpy(), y.numpy())
    with md.no_grad():
        y.fill_(9.0)
    assert (x.numpy() == 9.0).sum() == y.numel()
    assert x._version is y._version
    assert x._version[0] == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.T.reshape(6),
        lambda x: x.clone(),
        lambda x: x.T.contiguous(),
        lambda x: x.flip(0),
        lambda x: x.roll(1, 0),
        lambda x: x.repeat(1, 1),
        lambda x: x[:1].repeat(2, 1),
        lambda x: x[:1].repeat_interleave(2, 0),
        lambda x: x.tril(5),
        lambda x: shape.pad(x, (0, 0)),
        lambda x: shape.cat([x]),
    ],
)
def test_copies_can_be_changed_without_the_input_noticing(call):
    x = md.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    y = call(x)
    assert not np.shares_memory(x.detach().numpy(), y.detach().numpy())
    y += 1.0  # recorded: a view would refuse it
    assert x.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


def test_contiguous_returns_the_tensor_itself_where_nothing_is_to_do():
    x = md.tensor(np.ones((2, 3)))
    assert x.contiguous() is x
    assert x.is_contiguous()
    assert not x.T.is_contiguous()
    assert x.T.contiguous().is_contiguous()


def test_sizes_may_be_integers_tuples_or_lists():
    x = md.tensor(np.ones((2, 3)))
    assert x.reshape(3, 2).shape == x.reshape((3, 2)).shape == x.reshape([3, 2]).shape == (3, 2)
    assert x.reshape(md.tensor(6)).shape == (6,)
    assert x.expand([4, 2, 3]).shape == (4, 2, 3)
    assert x.permute([1, 0]).shape == (3, 2)
    with pytest.raises(TypeError):
        x.reshape(2.0, 3)


def test_gradients_of_unused_pieces_are_zero():
    x = md.tensor(np.ones((2, 3)), requires_grad=True)
    _, b, _ = x.unbind(1)
    (b * 2.0).backward(md.tensor(np.ones(2)))
    assert x.grad.tolist() == [[0.0, 2.0, 0.0]] * 2
