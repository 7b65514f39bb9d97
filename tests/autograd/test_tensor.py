"""The Tensor's protocol: NumPy, DLPack, pickles, copies, text, numbers, iteration, views."""

import copy
import json
import pickle

import numpy as np
import pytest

import minidl as md
from minidl.autograd import wrap


def test_construction_takes_numbers_lists_arrays_and_tensors():
    assert md.tensor(2.0).dtype == np.float32
    assert md.tensor([1, 2]).dtype == np.int64
    assert md.tensor([True]).dtype == np.bool_
    assert md.tensor(np.ones(2)).dtype == np.float64  # an array keeps its own
    assert md.tensor([np.float64(1.0), 2.0]).dtype == np.float32
    assert md.tensor([[1, 2], [3, 4]], dtype=np.float16).dtype == np.float16
    nested = md.tensor([md.tensor([1.0, 2.0]), [3.0, md.tensor(4.0)]])
    assert nested.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    with pytest.raises(ValueError, match="nested sequences must have equal lengths"):
        md.tensor([[1.0], [1.0, 2.0]])
    for wrong in ("1.0", [1.0, None], np.array(["a"]), 1j):
        with pytest.raises(TypeError, match="tensor: expected booleans, integers or floats"):
            md.tensor(wrong)
    with pytest.raises(TypeError, match="only floating-point tensors have gradients"):
        md.tensor([1, 2], requires_grad=True)


def test_tensor_copies_and_the_class_shares():
    array = np.ones(3, np.float32)
    copied, shared = md.tensor(array), md.Tensor(array)
    array[0] = 5
    assert copied.tolist() == [1.0, 1.0, 1.0]
    assert shared.tolist() == [5.0, 1.0, 1.0]


def test_an_array_of_another_library_keeps_its_dtype():
    torch = pytest.importorskip("torch", reason="needs the extra `reference`")
    assert md.tensor(torch.ones(2, dtype=torch.float64)).dtype == np.float64
    assert md.tensor(torch.ones(2, dtype=torch.int32)).dtype == np.int32


def test_numbers_in_the_other_byte_order_are_turned_round():
    x = md.tensor(np.array([1, 256], ">i4"))
    assert x.dtype == np.int32
    assert x.dtype.isnative
    assert x.tolist() == [1, 256]


def test_structures_and_raw_bytes_are_refused():
    for wrong in (np.zeros(2, [("a", "f4")]), np.zeros(2, "V4")):
        with pytest.raises(TypeError, match="tensor: expected booleans, integers or floats"):
            md.tensor(wrong)


def test_a_number_beyond_the_dtype_is_an_infinity_without_a_warning():
    assert md.tensor(1e300).item() == float("inf")


def test_attributes_describe_the_array():
    x = md.tensor(np.ones((2, 3), np.float32))
    assert x.shape == (2, 3)
    assert x.size() == (2, 3)
    assert x.size(-1) == 3
    assert x.ndim == x.dim() == 2
    assert x.numel() == 6
    assert x.nbytes == 24
    assert x.element_size() == 4
    assert x.device == "cpu"
    assert x.is_floating_point()
    assert not md.tensor([1]).is_floating_point()


# -- NumPy ----------------------------------------------------------------------------------------


def test_numpy_reads_a_tensor_without_a_copy():
    x = md.tensor([[1.0, 2.0]])
    assert np.shares_memory(np.asarray(x), x.data)
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    assert not np.shares_memory(np.array(x), x.data)
    assert np.concatenate([x, x]).shape == (2, 2)
    assert np.sum(np.asarray(x)) == 3
    assert np.shares_memory(np.asarray(x, copy=False), x.data)
    with pytest.raises(ValueError, match=r"[Uu]nable to avoid copy"):
        np.asarray(x, dtype=np.float64, copy=False)


def test_numpy_refuses_tensors_whose_gradient_or_device_it_would_lose():
    x = md.tensor([1.0], requires_grad=True)
    for read in (lambda t: t.numpy(), np.asarray):
        with pytest.raises(RuntimeError, match=r"use \.detach\(\)\.numpy\(\)"):
            read(x)
        with pytest.raises(TypeError, match=r"on strict; use \.cpu\(\)\.numpy\(\)"):
            read(x.detach().to("strict"))


@pytest.mark.parametrize(
    "operate",
    [
        lambda a, b: a + b,
        lambda a, b: a - b,
        lambda a, b: a * b,
        lambda a, b: a / b,
        lambda a, b: a @ b,
        lambda a, b: a > b,
        lambda a, b: a == b,
    ],
)
def test_an_operator_between_a_numpy_array_and_a_tensor_is_the_tensors(operate):
    array = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    x = md.tensor(array + 1, requires_grad=True)
    for result, expected in (
        (operate(array, x), operate(array, array + 1)),
        (operate(x, array), operate(array + 1, array)),
    ):
        assert isinstance(result, md.Tensor)
        assert np.array_equal(result.detach().numpy(), expected)
        assert result.requires_grad == result.is_floating_point()


def test_numpy_scalars_beside_a_tensor_neither_swallow_it_nor_change_its_dtype():
    x = md.tensor([1.0, 2.0], requires_grad=True)
    for result in (np.float64(2.0) * x, x * np.float64(2.0), np.float64(4.0) / x, np.int64(1) + x):
        assert isinstance(result, md.Tensor)
        assert result.dtype == np.float32
        assert result.requires_grad


# -- DLPack ---------------------------------------------------------------------------------------


def test_dlpack_shares_memory_with_numpy_both_ways():
    x = md.tensor([1.0, 2.0])
    array = np.from_dlpack(x)
    assert np.shares_memory(array, x.data)
    source = np.arange(6.0).reshape(2, 3)
    y = md.autograd.from_dlpack(source)
    assert isinstance(y, md.Tensor)
    assert np.shares_memory(y.data, source)
    assert y.shape == (2, 3)


def test_dlpack_shares_memory_with_torch_both_ways():
    torch = pytest.importorskip("torch", reason="needs the extra `reference`")
    x = md.tensor(np.arange(6, dtype=np.float32).reshape(2, 3).T)
    t = torch.from_dlpack(x)
    assert tuple(t.shape) == (3, 2)
    x.data[0, 1] = 50
    assert t[0, 1] == 50
    source = torch.arange(4).reshape(2, 2)
    y = md.autograd.from_dlpack(source)
    assert y.dtype == np.int64
    source[1, 1] = 9
    assert y.tolist() == [[0, 1], [2, 9]]


def test_dlpack_refuses_a_tensor_whose_gradient_would_be_lost():
    with pytest.raises(RuntimeError, match="requires a gradient"):
        np.from_dlpack(md.tensor([1.0], requires_grad=True))


# -- pickles and copies ---------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "strict"])
def test_pickling_keeps_values_dtype_device_and_requires_grad(device):
    for x in (
        md.tensor([[1.0, 2.0]], requires_grad=True, device=device),
        md.tensor(3, device=device),
        md.tensor(np.arange(6.0).reshape(2, 3), device=device).T,
    ):
        y = pickle.loads(pickle.dumps(x))
        assert y.tolist() == x.tolist()
        assert (y.dtype, y.shape, y.device) == (x.dtype, x.shape, x.device)
        assert y.requires_grad == x.requires_grad
        assert y.is_leaf


def test_deepcopy_copies_memory_and_gradient():
    x = md.tensor([1.0, 2.0], requires_grad=True)
    (x * 3.0).backward(md.tensor([1.0, 1.0]))
    y = copy.deepcopy(x)
    assert y.requires_grad
    assert y.tolist() == x.tolist()
    assert y.grad.tolist() == [3.0, 3.0]
    assert not np.shares_memory(y.data, x.data)
    assert not np.shares_memory(y.grad.data, x.grad.data)
    pair = copy.deepcopy([x, x])
    assert pair[0] is pair[1]


def test_results_of_recorded_operations_are_neither_pickled_nor_deep_copied():
    y = md.tensor([1.0], requires_grad=True) * 2.0
    with pytest.raises(RuntimeError, match=r"use \.detach\(\)\.clone\(\)"):
        copy.deepcopy(y)
    with pytest.raises(RuntimeError, match=r"use \.detach\(\)"):
        pickle.dumps(y)
    assert pickle.loads(pickle.dumps(y.detach())).tolist() == [2.0]


def test_a_subclass_keeps_its_class_and_attributes():
    class Named(md.Tensor):
        pass

    Named.__qualname__ = "Named"
    globals()["Named"] = Named
    x = Named([1.0], requires_grad=True)
    x.notes = ["weight"]
    x.itself = x
    for y in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert type(y) is Named
        assert y.notes == ["weight"]
        assert y.notes is not x.notes
    assert copy.deepcopy(x).itself is not x


# -- text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: md.tensor([1.0, 2.5]), "tensor([1. , 2.5])"),
        (lambda: md.tensor([1, 2]), "tensor([1, 2])"),
        (lambda: md.tensor(True), "tensor(True)"),
        (lambda: md.tensor([1.0], dtype=np.float64), "tensor([1.], dtype=float64)"),
        (lambda: md.tensor([1.0], requires_grad=True), "tensor([1.], requires_grad=True)"),
        (lambda: md.tensor([1.0], requires_grad=True) * 2.0, "tensor([2.], grad_fn=<Mul>)"),
        (lambda: md.tensor([1.0], device="strict"), "tensor([1.], device='strict')"),
        (lambda: md.tensor(np.zeros((0, 2), np.float32)), "tensor([], size=(0, 2))"),
    ],
)
def test_repr_shows_values_and_what_is_not_the_default(make, text):
    assert repr(make()) == text


def test_long_tensors_are_abridged_and_matrices_aligned():
    text = repr(md.tensor(np.arange(1000.0)))
    assert "..." in text
    assert len(text) < 200
    lines = repr(md.tensor([[1.0, 2.0], [3.0, 4.0]])).splitlines()
    assert lines == ["tensor([[1., 2.],", "        [3., 4.]])"]


def test_format_of_a_single_number_takes_a_number_format():
    x = md.tensor(3.14159)
    assert f"{x:.2f}" == "3.14"
    assert f"{md.tensor([1.0])}" == "tensor([1.])"


# -- numbers --------------------------------------------------------------------------------------


def test_one_element_is_a_number():
    x = md.tensor([[2.5]])
    assert x.item() == float(x) == 2.5
    assert int(x) == 2
    assert bool(x)
    assert not bool(md.tensor(0.0))
    assert isinstance(md.tensor(1).item(), int)
    assert [10, 20, 30][md.tensor(1)] == 20
    assert list(range(md.tensor(2))) == [0, 1]
    assert json.dumps(x.tolist()) == "[[2.5]]"


def test_several_elements_or_floats_are_no_number_or_index():
    x = md.tensor([1.0, 2.0])
    for convert in (float, int, lambda t: t.item()):
        with pytest.raises(ValueError, match=r"a tensor of shape \(2,\) is not one number"):
            convert(x)
    with pytest.raises(ValueError, match=r"ambiguous; use \.any\(\) or \.all\(\)"):
        bool(x)
    with pytest.raises(TypeError, match="only integer tensors are indices, this one is float32"):
        [1, 2][md.tensor(1.0)]


def test_length_iteration_and_membership():
    x = md.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert len(x) == 2
    a, b = x
    assert (a.tolist(), b.tolist()) == ([1.0, 2.0], [3.0, 4.0])
    assert np.shares_memory(a.data, x.data)
    assert [row.tolist() for row in x] == x.tolist()
    for use in (len, list):
        with pytest.raises(TypeError, match="0-d tensor"):
            use(md.tensor(1.0))


def test_iteration_is_one_operation_whose_gradient_is_whole():
    x = md.tensor([1.0, 2.0, 3.0], requires_grad=True)
    a, b, _ = x
    (a * b).backward()
    assert x.grad.tolist() == [2.0, 1.0, 0.0]
    assert a.grad_fn is b.grad_fn


def test_tensors_are_hashed_by_identity():
    x, y = md.tensor([1.0]), md.tensor([1.0])
    assert len({x, y, x}) == 2
    assert x in {x: 1}


# -- views and versions ---------------------------------------------------------------------------


def test_detach_shares_memory_and_version_but_not_the_graph():
    x = md.tensor([1.0], requires_grad=True)
    y = (x * 2.0).detach()
    assert not y.requires_grad
    assert y.is_leaf
    z = x * 2.0
    assert np.shares_memory(z.detach().data, z.data)
    assert z.detach()._version is z._version


def test_adopting_replaces_memory_and_graph_and_leaves_the_old_memory_alone():
    x = md.tensor([1.0, 2.0], requires_grad=True)
    y = x * 1.0
    old, version = y.data, y._version
    y.adopt(x * 5.0)
    assert y.tolist() == [5.0, 10.0]
    assert y.data is not old
    assert y._version is not version
    y.backward(md.tensor([1.0, 1.0]))
    assert x.grad.tolist() == [5.0, 5.0]
    with pytest.raises(RuntimeError, match="a leaf tensor that requires a gradient"):
        x.adopt(md.tensor([0.0, 0.0]))
    base = x * 1.0
    with pytest.raises(RuntimeError, match="made by Permute"):
        base.T.check_change()


def test_wrap_turns_numpy_scalars_into_0d_arrays():
    x = wrap(np.float32(2.0))
    assert isinstance(x.data, np.ndarray)
    assert x.shape == ()
    assert x.dtype == np.float32


def test_requires_grad_cannot_be_switched_off_on_a_result():
    x = md.tensor([1.0], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"use \.detach\(\)"):
        (x * 2.0).requires_grad_(False)
    assert not x.requires_grad_(False).requires_grad
    with pytest.raises(TypeError, match="int64"):
        md.tensor([1]).requires_grad_()


def test_what_names_a_device_or_is_a_tensor_stays_there_whatever_the_default_is():
    x = md.tensor([1.0], requires_grad=True)
    with md.use("strict"):
        assert md.tensor([1.0]).device == md.Tensor(np.ones(1)).device == "strict"
        assert md.tensor([1.0], device="cpu").device == "cpu"
        assert md.tensor(x).device == md.Tensor(x).device == "cpu"
        assert md.Tensor(x, device="strict").device == "strict"
        assert copy.deepcopy(x).device == pickle.loads(pickle.dumps(x)).device == "cpu"
        assert (x * 2.0).device == x.clone().device == "cpu"
