"""Changes in place: into memory or recorded, versions, aliasing, dtypes, errors."""

import copy

import numpy as np
import pytest

import minidl as md
from minidl.ops import TENSOR, inplace

FLOAT = np.array([[0.7, -1.3, 2.1], [1.2, 0.3, -3.1]])  # away from the kinks of what follows


def leaf():
    return md.tensor(FLOAT, requires_grad=True)


CHANGES = {
    "add_": lambda x: x.add_(2.0),
    "add_ with alpha": lambda x: x.add_(md.tensor([1.0, 2.0, 3.0]), alpha=-0.5),
    "sub_": lambda x: x.sub_(md.tensor(FLOAT * 0.5), alpha=2),
    "mul_": lambda x: x.mul_(md.tensor(FLOAT + 4)),
    "div_": lambda x: x.div_(md.tensor(FLOAT + 4)),
    "div_ rounded": lambda x: x.div_(0.47, rounding_mode="floor"),
    "clamp_": lambda x: x.clamp_(-1.0, 1.0),
    "zero_": lambda x: x.zero_(),
    "fill_": lambda x: x.fill_(3.0),
    "copy_": lambda x: x.copy_(np.arange(3)),
    "exp_": lambda x: x.exp_(),
    "masked_fill_": lambda x: x.masked_fill_(md.tensor(FLOAT > 0), 7.0),
    "index_put_": lambda x: x.index_put_([0, 0], md.tensor(FLOAT), accumulate=True),
    "scatter_add_": lambda x: x.scatter_add_(0, md.tensor([[0, 1, 0]]), md.tensor(FLOAT[:1])),
}


@pytest.mark.parametrize("name", CHANGES)
def test_without_recording_the_memory_changes_and_views_see_it(name):
    change = CHANGES[name]
    x = md.tensor(FLOAT)
    memory, view, version = x.data, x[0], x._version[0]
    assert change(x) is x
    assert x.data is memory
    assert x._version[0] == version + 1
    assert np.array_equal(view.numpy(), x.numpy()[0])
    assert view._version[0] == version + 1
    assert x.dtype == np.float64


@pytest.mark.parametrize("name", CHANGES)
def test_recorded_the_old_memory_stays_and_gradients_are_those_of_the_ordinary_operation(name):
    change = CHANGES[name]
    x = leaf()
    y = x * 1.0
    before = y.data
    assert change(y) is y
    assert y.data is not before
    assert np.array_equal(before, FLOAT)
    assert y.requires_grad
    assert y.dtype == np.float64
    plain = md.tensor(FLOAT)
    change(plain)
    assert np.array_equal(y.detach().numpy(), plain.numpy())

    def function(x):
        return change(x * 1.0)

    assert md.autograd.gradcheck(function, [leaf()])


def test_augmented_assignments_keep_the_object_and_its_dtype():
    x = md.tensor([1.0, 2.0])
    same = x
    x += md.tensor([1.0, 1.0], dtype=np.float64)
    x -= 0.5
    x *= np.array([2.0, 2.0])
    x /= 3
    assert x is same
    assert x.dtype == np.float32
    assert x.tolist() == [1.0, np.float32(5 / 3)]
    n = md.tensor([1, 2])
    n += 1
    n *= md.tensor([3, 3], dtype=np.int32)
    assert n.dtype == np.int64
    assert n.tolist() == [6, 9]


def test_a_leaf_that_requires_a_gradient_is_written_under_no_grad_only():
    x = leaf()
    for change in (*CHANGES.values(), lambda x: x.__iadd__(1.0)):
        with pytest.raises(RuntimeError, match="leaf"):
            change(x)
    assert np.array_equal(x.detach().numpy(), FLOAT)
    with md.no_grad():
        x += 1.0
        x.mul_(2.0)
    assert np.array_equal(x.detach().numpy(), (FLOAT + 1) * 2)
    assert x.requires_grad
    assert x.is_leaf


def test_a_tensor_without_gradient_joins_the_graph_through_its_operand():
    w = leaf()
    total = md.tensor(np.zeros((2, 3)))
    for _ in range(3):
        total += w * 2.0
    total.backward(md.tensor(np.ones((2, 3))))
    assert (w.grad.numpy() == 6.0).all()


def test_what_an_earlier_operation_saved_stays_right_when_the_change_is_recorded():
    x = leaf()
    y = x * 1.0
    z = y * y
    y += 100.0
    z.backward(md.tensor(np.ones((2, 3))))
    np.testing.assert_allclose(x.grad.numpy(), 2 * FLOAT)


def test_what_an_earlier_operation_saved_is_reported_when_memory_was_changed():
    x = leaf()
    y = x * 1.0
    z = y * y
    with md.no_grad():
        y += 100.0
    with pytest.raises(RuntimeError, match=r"Mul: .*changed in place"):
        z.backward(md.tensor(np.ones((2, 3))))


def test_a_change_through_a_detached_tensor_or_a_view_is_noticed_too():
    for part in (lambda y: y.detach(), lambda y: y.detach()[0], lambda y: y.detach().T):
        x = leaf()
        y = x * 1.0
        z = y * y
        part(y).zero_()
        with pytest.raises(RuntimeError, match="changed in place"):
            z.backward(md.tensor(np.ones((2, 3))))


def test_augmented_assignment_to_a_part_of_a_recorded_tensor():
    x = leaf()
    y = x * 1.0
    y[0] += y[1]
    y[:, 1] *= 3.0
    y[md.tensor([True, False]), 2] -= 1.0
    y[[0, 1], [0, 0]] /= 2.0
    y.backward(md.tensor(np.ones((2, 3))))
    assert x.grad.tolist() == [[0.5, 3.0, 1.0], [1.0, 6.0, 2.0]]


def test_augmented_assignment_to_a_part_of_plain_memory():
    x = md.tensor(FLOAT)
    memory = x.data
    x[0] += 1.0
    x[:, [0, 2]] *= 2.0
    assert x.data is memory
    expected = FLOAT.copy()
    expected[0] += 1
    expected[:, [0, 2]] *= 2
    assert np.array_equal(x.numpy(), expected)


@pytest.mark.parametrize(
    "view",
    [
        lambda y: y.reshape(6),
        lambda y: y.T,
        lambda y: y.unsqueeze(0),
        lambda y: y.diagonal(),
        lambda y: y.split(1)[0],
        lambda y: y.expand(2, 2, 3),
    ],
)
def test_recorded_changes_of_views_are_refused(view):
    base = leaf() * 1.0
    y = view(base)
    with pytest.raises(RuntimeError, match=r"made by .* cannot be changed in place"):
        y += 1.0
    with pytest.raises(RuntimeError, match="made by"):
        y.zero_()
    with pytest.raises(RuntimeError, match="made by"):
        base[0].add_(1.0)
    copy = y.clone()
    copy += 1.0
    assert np.array_equal(copy.detach().numpy(), y.detach().numpy() + 1.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: (x * 1.0).reshape(6),
        lambda x: md.nn.functional.layer_norm(x, (3,)),
        lambda x: md.nn.functional.batch_norm(x, None, None, training=True),
        lambda x: (x * 1.0).split(1)[0],
    ],
)
def test_a_view_of_memory_that_nobody_else_holds_is_changed_as_any_result(make):
    x = leaf()
    y, twin = make(x), make(x)
    y *= 3.0
    y.exp_()
    assert np.array_equal(y.detach().numpy(), (twin * 3.0).exp().detach().numpy())
    (ours,) = md.grad(y.sum(), x)
    (expected,) = md.grad((twin * 3.0).exp().sum(), x)
    assert np.array_equal(ours.numpy(), expected.numpy())


def test_a_view_beside_another_of_the_same_memory_cannot_be_changed():
    first, second = (leaf() * 1.0).split(1)
    with pytest.raises(RuntimeError, match="made by Split"):
        first += 1.0
    del second
    first += 1.0


def test_expanded_memory_is_not_written_to():
    x = md.tensor([1.0, 2.0]).expand(3, 2)
    for change in (lambda: x.add_(1.0), lambda: x.zero_(), lambda: x.exp_()):
        with pytest.raises(RuntimeError, match="expanded"):
            change()


def test_results_that_do_not_fit_are_refused():
    n, x, b = md.tensor([1, 2]), md.tensor([1.0, 2.0]), md.tensor([True, False])
    with pytest.raises(TypeError, match=r"add_: a result of dtype float64 .* int64"):
        n += 1.5
    with pytest.raises(TypeError, match="div_: a result of dtype float32"):
        n /= 2
    with pytest.raises(TypeError, match="exp_"):
        n.exp_()
    with pytest.raises(TypeError, match="mul_: a result of dtype int64"):
        b *= 2
    with pytest.raises(ValueError, match=r"add_: a result of shape \(3, 2\) does not fit"):
        x += md.tensor(np.ones((3, 2), np.float32))
    with pytest.raises(ValueError, match="add_: shapes"):
        x += md.tensor([1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match="does not fit"):
        n += md.tensor([1.0, 2.0], requires_grad=True)
    assert n.tolist() == [1, 2]
    assert x.tolist() == [1.0, 2.0]


def test_operands_may_overlap_with_the_tensor_that_changes():
    for device in ("cpu", "strict"):
        x = md.tensor(np.arange(9.0).reshape(3, 3), device=device)
        x += x.T
        assert x.tolist() == [[0.0, 4.0, 8.0], [4.0, 8.0, 12.0], [8.0, 12.0, 16.0]]
        x *= x
        assert x[0].tolist() == [0.0, 16.0, 64.0]


def test_division_by_zero_is_silent_as_in_torch():
    x = md.tensor([1.0, -1.0, 0.0])
    x /= 0.0
    assert str(x.tolist()) == "[inf, -inf, nan]"


def test_0d_tensors_change_in_place():
    x = md.tensor(1.0)
    same = x
    x += 1
    x *= 2.0
    x.add_(md.tensor([3.0]).reshape(()))
    assert x is same
    assert x.item() == 7.0


def test_copy_casts_broadcasts_and_moves():
    x = md.tensor(np.zeros((2, 3), np.float32))
    x.copy_(md.tensor([1, 2, 3], device="strict"))
    assert x.tolist() == [[1.0, 2.0, 3.0]] * 2
    source = leaf()
    y = md.tensor(np.zeros((2, 3)))
    y.copy_(source)
    y.backward(md.tensor(np.ones((2, 3))))
    assert (source.grad.numpy() == 1).all()


def test_random_fillings_follow_the_seed_and_their_parameters():
    def draw():
        md.manual_seed(3)
        x = md.tensor(np.zeros(20000, np.float32))
        y, z = copy.deepcopy(x), copy.deepcopy(x)
        return x.normal_(1.0, 2.0), y.uniform_(-1.0, 3.0), z.bernoulli_(0.3)

    x, y, z = (t.numpy() for t in draw())
    assert x.dtype == np.float32
    assert abs(x.mean() - 1) < 0.05
    assert abs(x.std() - 2) < 0.05
    assert -1 <= y.min() < -0.99
    assert 2.99 < y.max() < 3
    assert abs(z.mean() - 0.3) < 0.02
    assert set(z.tolist()) == {0.0, 1.0}
    for a, b in zip((x, y, z), draw(), strict=True):
        assert np.array_equal(a, b.numpy())
    with pytest.raises(TypeError, match="floating-point"):
        md.tensor([1, 2]).normal_()


def test_every_method_in_the_list_exists_in_both_forms():
    missing = [m for m in inplace.METHODS if m not in TENSOR or f"{m}_" not in TENSOR]
    assert not missing
