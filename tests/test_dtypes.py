"""float32 stays float32: through every operation, layer, loss, optimiser, schedule, initialiser.

Under NumPy 2 a stray `np.float64` number is enough to promote all that follows. A listener looks
at everything the engine computes, forward and backward and inside backward passes. float64 stays
float64 too, with nothing in single precision on the way; float16 stays float16, but may compute
its sums in float32.
"""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from minidl.autograd import listen
from minidl.nn import init
from minidl.optim import lr_scheduler

from .calls import CONTAINERS, FUNCTIONS, LAYERS, Call
from .ops.test_all_ops import ALL, arrays_of, as_tuple
from .ops.test_all_ops import tensors as tensors_of

DTYPES = ("float16", "float32", "float64")
# What may be computed on the way from a dtype to itself.
WITHIN = {"float16": {"float16", "float32"}, "float32": {"float32"}, "float64": {"float64"}}


class Watch(listen):
    """A listener that collects operations whose results are of a dtype that must not occur."""

    def __init__(self, dtype: str) -> None:
        super().__init__(self._look)
        self.allowed = {np.dtype(d) for d in WITHIN[dtype]}
        self.found: list[str] = []

    def _look(self, event) -> None:
        for k, x in enumerate(event.outputs):
            if isinstance(x, md.Tensor) and x.is_floating_point() and x.dtype not in self.allowed:
                inside = f" within {event.within}.backward" if event.within else ""
                self.found.append(f"{event.op} {event.phase}{inside}: output {k} is {x.dtype}")


def through(compute, inputs, dtype, order=2):
    """Run a computation and its derivatives; everything floating must stay what it is.

    Returns the results.
    """
    with Watch(dtype) as watch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outputs = as_tuple(compute(*inputs))
        smooth = [out for out in outputs if isinstance(out, md.Tensor) and out.requires_grad]
        wanted = [x for x in inputs if x.requires_grad]
        if smooth and wanted and order:
            cotangents = [md.ones_like(out, requires_grad=True) for out in smooth]
            again = order > 1 and dtype != "float16"
            grads = md.grad(smooth, wanted, cotangents, create_graph=again, allow_unused=True)
            for x, g in zip(wanted, grads, strict=True):
                assert g is None or g.dtype == x.dtype, f"a gradient is {g.dtype}"
            first = [g for g in grads if g is not None and g.requires_grad]
            if first:
                ones = [md.ones_like(g) for g in first]
                md.grad(first, wanted + cotangents, ones, allow_unused=True)
    assert not watch.found, "\n".join(watch.found)
    return outputs


class Stray(md.Function):
    """2x by way of a number of NumPy's, hidden by casts before and after."""

    def forward(self, x):
        return x * 2

    def backward(self, grad):
        return (grad * md.tensor(np.float64([2.0]))).to(grad.dtype).reshape(grad.shape)


def test_one_stray_number_in_a_backward_is_found():
    x = md.ones(3, requires_grad=True)
    with pytest.raises(AssertionError, match=r"within Stray\.backward: output 0 is float64"):
        through(Stray.apply, [x], "float32", order=1)


# -- operations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ALL, ids=str)
def test_operations_stay_in_their_dtype_with_all_that_their_derivatives_compute(case):
    for dtype in case.dtypes:
        inputs = tensors_of(arrays_of(case, dtype), grad=case.order > 0)
        if not any(x.is_floating_point() for x in inputs) or case.name.startswith("cast of"):
            continue  # nothing to keep
        for out in through(case.function, inputs, dtype, case.order):
            if isinstance(out, md.Tensor) and out.is_floating_point():
                assert out.dtype == dtype


def find(name):
    return getattr(md, name, None) or getattr(nn.functional, name)


@pytest.mark.parametrize("call", FUNCTIONS, ids=str)
def test_public_functions_stay_in_their_dtype(call: Call):
    for dtype in DTYPES:
        inputs = [md.tensor(a) for a in call.arrays(dtype)]
        if not any(x.is_floating_point() for x in inputs):
            continue
        for out in through(lambda *xs: call.run(find(call.name), *xs), inputs, dtype):
            if isinstance(out, md.Tensor) and out.is_floating_point():
                assert out.dtype == dtype


@pytest.mark.parametrize("name", ["zeros", "ones", "empty", "rand", "randn"])
def test_new_tensors_are_float32_unless_asked_otherwise(name):
    make = getattr(md, name)
    assert make(2, 3).dtype == md.float32
    for dtype in DTYPES:
        assert make(2, 3, dtype=dtype).dtype == dtype


def test_python_numbers_make_float32_and_int64():
    assert md.tensor(1.5).dtype == md.float32
    assert md.tensor([1, 2]).dtype == md.int64
    assert md.full((2,), 1.5).dtype == md.float32
    assert md.linspace(0, 1, 3).dtype == md.float32
    assert md.arange(0, 1, 0.5).dtype == md.float32
    assert md.eye(2).dtype == md.float32


@pytest.mark.parametrize("number", [2, 2.0, np.float64(2.0), np.float32(2.0), np.int64(2)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_number_changes_the_dtype_of_a_tensor(number, dtype):
    x = md.ones(3, dtype=dtype)
    results = [x + number, number + x, x * number, number * x, x - number, number - x]
    results += [x / number, number / x, x**number, number**x, x // number, x % number]
    results += [x.clamp(min=number), md.where(x > 0, x, number), x.masked_fill(x > 0, number)]
    results += [md.add(x, x, alpha=number), x.pow(number)]
    x += number
    x *= number
    for result in [*results, x]:
        assert result.dtype == dtype


# -- layers and losses ----------------------------------------------------------------------------


@pytest.mark.parametrize("call", LAYERS, ids=str)
def test_layers_and_losses_stay_in_their_dtype(call: Call):
    for dtype in DTYPES:
        for training in (True, False):
            layer = call.make(getattr(nn, call.name)).to(np.dtype(dtype)).train(training)
            inputs = [md.tensor(a) for a in call.arrays(dtype)]
            for x in inputs:
                x.requires_grad_(x.is_floating_point())
            parameters = list(layer.parameters())

            def compute(*xs, layer=layer):
                return call.run(layer, *xs[: len(call.inputs)])

            for out in through(compute, [*inputs, *parameters], dtype):
                assert not out.is_floating_point() or out.dtype == dtype
            for name, state in layer.state_dict().items():
                assert not state.is_floating_point() or state.dtype == dtype, name


def test_every_layer_is_in_the_table():
    classes = {name for name in nn.__all__ if isinstance(getattr(nn, name), type)}
    missing = classes - {call.name for call in LAYERS} - CONTAINERS
    assert not missing, f"no call for {sorted(missing)} in tests/calls.py"


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("call", [c for c in LAYERS if c.name.endswith("Loss")], ids=str)
def test_losses_stay_in_their_dtype_under_every_reduction(call, reduction):
    for dtype in DTYPES:
        inputs = [md.tensor(a) for a in call.arrays(dtype)]
        inputs[0].requires_grad_()
        (out,) = through(getattr(nn, call.name)(reduction=reduction), inputs, dtype)
        assert out.dtype == dtype


def test_a_layer_is_made_of_float32_unless_asked_otherwise():
    for call in LAYERS:
        for p in call.make(getattr(nn, call.name)).state_dict().values():
            assert not p.is_floating_point() or p.dtype == md.float32, call.name


# -- initial values -------------------------------------------------------------------------------

INITIALISERS = {
    "constant_": [{"val": 0.1}, {"val": np.float64(0.1)}],
    "dirac_": [{}, {"groups": 2}],
    "eye_": [{}],
    "kaiming_normal_": [{}, {"mode": "fan_out", "nonlinearity": "relu"}],
    "kaiming_uniform_": [{}, {"a": np.float64(0.1)}],
    "normal_": [{}, {"mean": np.float64(1), "std": 2}],
    "ones_": [{}],
    "orthogonal_": [{}, {"gain": np.float64(2)}],
    "trunc_normal_": [{}, {"std": 0.02, "a": -0.04, "b": 0.04}],
    "uniform_": [{}, {"a": np.float64(-1), "b": 1}],
    "xavier_normal_": [{}, {"gain": np.float64(2)}],
    "xavier_uniform_": [{}],
    "zeros_": [{}],
}


@pytest.mark.parametrize("name", INITIALISERS)
def test_initial_values_stay_in_the_dtype_of_their_tensor(name):
    shape = {"eye_": (4, 3), "dirac_": (4, 2, 3, 3)}.get(name, (4, 3, 2, 2))
    for dtype in DTYPES:
        for options in INITIALISERS[name]:
            x = md.zeros(shape, dtype=dtype)
            assert getattr(init, name)(x, **options) is x
            assert x.dtype == dtype


def test_every_initialiser_is_in_the_table():
    assert set(init.__all__) - {"calculate_gain", "skip_init"} == set(INITIALISERS)


# -- optimisers and schedules ---------------------------------------------------------------------

OPTIMISERS = {
    "SGD": [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4},
        {"momentum": 0.9, "dampening": 0.5, "maximize": True},
    ],
    "Adam": [{}, {"amsgrad": True, "weight_decay": 1e-4}, {"maximize": True, "eps": 1e-3}],
    "AdamW": [{}, {"amsgrad": True, "weight_decay": 0.1}, {"betas": (0.5, 0.9), "maximize": True}],
    "RMSprop": [{}, {"momentum": 0.9, "centered": True}, {"weight_decay": 1e-4, "maximize": True}],
    "LARS": [
        {},
        {"nesterov": True, "weight_decay": 1e-4},
        {"adapt_vectors": True, "maximize": True},
    ],
}

SCHEDULES = {
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, total_iters=2),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, total_iters=3),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [1, 3]),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 3, 2.0),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 3),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=10),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0),
    # a rule that gives NumPy's numbers
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda t: np.exp(np.float64(-t))),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o), lr_scheduler.StepLR(o, 1)], [2]
    ),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
}


def train(model, optimizer, dtype, steps=3, schedule=None):
    """A few steps in which nothing leaves the dtype."""
    x, target = md.randn(6, 4, dtype=dtype), md.tensor([0, 1, 2, 0, 1, 2])
    for _ in range(steps):
        optimizer.zero_grad()
        with Watch(dtype) as watch:
            loss = nn.functional.cross_entropy(model(x), target)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), np.float64(1.0))
            optimizer.step()
        if isinstance(schedule, lr_scheduler.ReduceLROnPlateau):
            schedule.step(loss.item())
        elif schedule is not None:
            schedule.step()
        assert not watch.found, "\n".join(watch.found)
        assert loss.dtype == dtype
        for name, p in model.named_parameters():
            assert p.dtype == dtype, name
            assert p.grad.dtype == dtype, name
    for entries in optimizer.state.values():
        for name, value in entries.items():
            if isinstance(value, md.Tensor):
                assert value.dtype == dtype, name


def network(dtype):
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)).to(
        np.dtype(dtype)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers_stay_in_the_dtype_of_their_parameters_under_all_options(name, dtype):
    for options in OPTIMISERS[name]:
        for lr in (1e-2, np.float64(1e-2)):
            model = network(dtype)
            optimizer = getattr(optim, name)(model.parameters(), lr=lr, **options)
            train(model, optimizer, dtype)
            twin = getattr(optim, name)(model.parameters(), lr=lr, **options)
            twin.load_state_dict(optimizer.state_dict())
            train(model, twin, dtype, steps=1)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_option_of_an_optimiser_is_in_the_table(name):
    options = set(inspect.signature(getattr(optim, name)).parameters) - {"params", "lr"}
    seldom = {"alpha", "trust_coefficient", "betas", "eps"}  # numbers that are always in use
    used = {option for options in OPTIMISERS[name] for option in options}
    assert options - seldom - {"momentum"} <= used, options - used


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_give_pythons_numbers_and_leave_the_dtype_alone(name):
    model = network("float32")
    optimizer = optim.SGD(model.parameters(), lr=np.float64(0.1), momentum=0.9)
    schedule = SCHEDULES[name](optimizer)
    train(model, optimizer, "float32", steps=6, schedule=schedule)
    for rate in schedule.get_last_lr():
        assert type(rate) is float


def test_every_optimiser_and_schedule_is_in_the_tables():
    classes = {name for name in optim.__all__ if inspect.isclass(getattr(optim, name))}
    assert classes - {"Optimizer", "EMA"} == set(OPTIMISERS)
    assert set(lr_scheduler.__all__) - {"LRScheduler"} == set(SCHEDULES)


@pytest.mark.parametrize("dtype", DTYPES)
def test_averages_of_weights_stay_in_the_dtype_of_the_weights(dtype):
    model = network(dtype)
    average = optim.EMA(model, decay=0.9, warmup=True)
    for _ in range(2):
        average.update()
    for name, x in average.average.items():
        assert x.dtype == dict([*model.named_parameters(), *model.named_buffers()])[name].dtype
    with average.averages():
        assert all(p.dtype == dtype for p in model.parameters())
    assert all(p.dtype == dtype for p in model.parameters())
