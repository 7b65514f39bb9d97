"""Casts and moves: `x.to(...)` and its short forms."""

import numpy as np
import pytest

import minidl as md


def test_to_understands_dtypes_devices_and_tensors_as_torch_does():
    x = md.tensor([1.5, -2.0])
    like = md.tensor([1], device="strict")
    assert x.to(np.float64).dtype == np.float64
    assert x.to("float16").dtype == np.float16
    assert x.to(dtype=int).tolist() == [1, -2]
    assert x.to("strict").device == "strict"
    assert x.to(device=md.device("strict")).device == "strict"
    both = x.to("strict", np.float64)
    assert (both.device, both.dtype) == ("strict", np.float64)
    both = x.to(like)
    assert (both.device, both.dtype) == ("strict", np.int64)
    assert both.to("cpu", non_blocking=True).tolist() == [1, -2]
    assert both.cpu().device == "cpu"


def test_to_returns_the_tensor_itself_where_nothing_changes():
    x = md.tensor([1.0])
    assert x.to("cpu") is x
    assert x.to(np.float32) is x
    assert x.to(x) is x
    assert x.float() is x
    copy = x.to("cpu", copy=True)
    assert copy is not x
    assert not np.shares_memory(copy.numpy(), x.numpy())


def test_the_short_forms_name_their_dtype():
    x = md.tensor([1.5, 0.0])
    for name, dtype in [
        ("float", np.float32),
        ("double", np.float64),
        ("half", np.float16),
        ("long", np.int64),
        ("int", np.int32),
        ("bool", np.bool_),
    ]:
        assert getattr(x, name)().dtype == dtype
    assert x.type(np.float64).dtype == np.float64
    assert x.bool().tolist() == [True, False]


def test_gradients_are_cast_and_moved_back():
    x = md.tensor([1.0, 2.0], requires_grad=True)
    y = (x.double() * 3.0).to("strict") * 2.0
    assert (y.dtype, y.device) == (np.float64, "strict")
    y.backward(md.tensor(np.array([1.0, 10.0]), device="strict"))
    assert (x.grad.dtype, x.grad.device) == (np.float32, "cpu")
    assert x.grad.tolist() == [6.0, 60.0]


def test_casts_to_integers_have_no_gradient():
    x = md.tensor([1.5], requires_grad=True)
    assert not x.long().requires_grad
    assert not x.bool().requires_grad


def test_what_is_neither_dtype_nor_device_is_refused():
    x = md.tensor([1.0])
    with pytest.raises(TypeError, match="neither a dtype, a device nor a tensor"):
        x.to("gpu")
    with pytest.raises(TypeError, match="neither a dtype"):
        x.to([1])
    with pytest.raises(TypeError, match="booleans, integers or floats"):
        x.to(np.complex64)
    with pytest.raises(ValueError, match="unknown device 'tpu'"):
        x.to(device="tpu")


def test_mixed_devices_are_refused_with_the_remedy():
    with pytest.raises(RuntimeError, match=r"different devices .* use \.to\(device\)"):
        md.tensor([1.0]) + md.tensor([1.0], device="strict")
