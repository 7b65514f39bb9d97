"""The backward pass: order, ownership of gradients, freeing, hooks, errors."""

import collections
import contextlib
import gc
import threading
import weakref

import numpy as np
import pytest

import minidl as md
from minidl.autograd import Function, enable_grad, no_grad, set_grad_enabled, wrap


def leaf(*values):
    return md.tensor(list(values), dtype="float64", requires_grad=True)


def ones(x):
    return md.Tensor(np.ones(x.shape, x.dtype))


class Double(Function):
    """2x, as a Function of the test's own."""

    def forward(self, x):
        return x * 2.0

    def backward(self, grad):
        return grad * 2.0


class Twins(Function):
    """(x, 3x): two outputs."""

    def forward(self, x):
        return x + 0.0, x * 3.0

    def backward(self, a, b):
        return a + b * 3.0


def test_gradients_of_all_paths_add_up():
    x = leaf(1.0, 2.0)
    y = x * x  # used three times
    z = y + y * x + y
    z.backward(ones(z))
    assert np.allclose(x.grad.data, 4 * x.data + 3 * x.data**2)


def test_a_chain_of_ten_thousand_operations_runs_backward():
    x = leaf(1.0)
    y = x
    for _ in range(10_000):
        y = y + x
    y.backward()
    assert x.grad.item() == 10_001.0


def test_a_wide_graph_that_doubles_at_each_step_runs_each_operation_once():
    x = leaf(1.0)
    y = x
    for _ in range(60):
        y = y + y  # 2^60 paths
    y.backward()
    assert x.grad.item() == 2.0**60


def test_leaves_never_share_a_gradient_array():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    c = a + b
    u = ones(c)
    c.backward(u)
    assert not np.shares_memory(a.grad.data, b.grad.data)
    assert not np.shares_memory(a.grad.data, u.data)
    a.grad.data *= 0.0
    assert np.array_equal(b.grad.data, [1.0, 1.0])


def test_gradients_accumulate_over_calls_and_in_place_from_the_second():
    x = leaf(1.0, 2.0)
    for _ in range(3):
        (x * 2.0).backward(md.Tensor(np.ones(2)))
    assert np.array_equal(x.grad.data, [6.0, 6.0])
    before = x.grad.data
    (x * 2.0).backward(md.Tensor(np.ones(2)))
    assert x.grad.data is before
    x.grad = None
    (x * 2.0).backward(md.Tensor(np.ones(2)))
    assert np.array_equal(x.grad.data, [2.0, 2.0])


def test_the_given_gradient_is_not_changed_by_accumulation():
    x = leaf(1.0)
    u = md.tensor([5.0], dtype="float64")
    x.backward(u)
    x.backward(u)
    x.backward(u)
    assert u.item() == 5.0
    assert x.grad.item() == 15.0


def test_a_gradient_that_the_user_put_there_is_not_changed():
    x, mine = leaf(1.0), leaf(5.0)
    for _ in range(2):
        (x * 2.0).backward()
        x.grad = mine
        (x * 2.0).backward()
        assert (x.grad.item(), mine.item()) == (7.0, 5.0)


def test_a_second_backward_through_a_freed_graph_is_an_error_that_says_so():
    x = leaf(1.0)
    y = x * x
    y.backward()
    with pytest.raises(RuntimeError, match=r"already been freed at Mul.*retain_graph=True"):
        y.backward()
    with pytest.raises(RuntimeError, match="already been freed"):
        md.grad(y, x)


def test_retain_graph_keeps_it():
    x = leaf(3.0)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 12.0


def test_saved_arrays_are_freed_as_they_are_consumed():
    x = leaf(1.0, 2.0)
    y = x * 2.0
    z = y * y
    array = weakref.ref(y)
    u = ones(z)
    del y
    z.backward(u)
    gc.collect()
    assert array() is None
    assert z.grad_fn.freed


def test_the_graph_has_no_reference_circles():
    x = leaf(1.0, 2.0)
    gc.collect()
    gc.disable()
    try:
        y = md.ops.elementwise.exp(x * 2.0)  # saves its own output
        node = weakref.ref(y.grad_fn)
        del y
        assert node() is None
    finally:
        gc.enable()


def test_second_derivatives():
    x = leaf(2.0)
    (first,) = md.grad(x * x * x, x, create_graph=True)
    (second,) = md.grad(first, x, create_graph=True)
    (third,) = md.grad(second, x)
    assert [t.item() for t in (first, second, third)] == [12.0, 12.0, 6.0]


def test_backward_with_create_graph_gives_a_differentiable_grad():
    x = leaf(2.0)
    (x * x * x).backward(create_graph=True)
    g, x.grad = x.grad, None
    g.backward()
    assert x.grad.item() == 12.0


def test_grad_touches_no_leaf():
    x, w = leaf(1.0), leaf(2.0)
    (g,) = md.grad(x * w, x)
    assert g.item() == 2.0
    assert x.grad is None
    assert w.grad is None


def test_grad_with_respect_to_an_intermediate_result():
    x = leaf(3.0)
    y = x * 2.0
    z = y * y
    gy, gx = md.grad(z, [y, x])
    assert gy.item() == 12.0
    assert gx.item() == 24.0


def test_grad_runs_only_what_leads_to_the_inputs():
    ran = []

    class Spy(Double):
        def backward(self, grad):
            ran.append(1)
            return grad * 2.0

    x, w = leaf(1.0), leaf(2.0)
    (g,) = md.grad(Spy.apply(w) + x, x)
    assert g.item() == 1.0
    assert not ran


def test_unused_inputs_are_named_or_allowed():
    x, w = leaf(1.0), leaf(2.0)
    with pytest.raises(RuntimeError, match=r"input 1 of shape \(1,\) was not used.*allow_unused"):
        md.grad(x * 2.0, [x, w])
    assert md.grad(x * 2.0, [x, w], allow_unused=True)[1] is None


def test_an_output_without_gradient_counts_as_zero():
    x = leaf(1.0)
    a, b = Twins.apply(x)
    b.backward()
    assert x.grad.item() == 3.0
    (g,) = md.grad(Twins.apply(x)[0], x)
    assert g.item() == 1.0
    del a


def test_hooks_see_and_replace_gradients_of_leaves_and_results():
    x = leaf(1.0)
    y = x * 2.0
    seen = []
    y.register_hook(lambda g: seen.append(g.item()))
    handle = y.register_hook(lambda g: g * 10.0)
    x.register_hook(lambda g: g + 1.0)
    (y * 3.0).backward(retain_graph=True)
    assert seen == [3.0]
    assert x.grad.item() == 61.0
    handle.remove()
    x.grad = None
    (y * 3.0).backward()
    assert x.grad.item() == 7.0


def test_a_leafs_hook_runs_once_on_the_whole_gradient():
    x = leaf(1.0)
    seen = []
    x.register_hook(lambda g: seen.append(g.item()))
    (x * 2.0 + x * 3.0).backward()
    assert seen == [5.0]


def test_retain_grad_keeps_the_gradient_of_a_result():
    x = leaf(1.0)
    y = x * 2.0
    y.retain_grad()
    (y * y).backward()
    assert y.grad.item() == 4.0
    assert x.grad.item() == 8.0


def test_no_grad_and_enable_grad_switch_recording():
    x = leaf(1.0)
    with no_grad():
        assert not (x * 2.0).requires_grad
        with enable_grad():
            assert (x * 2.0).requires_grad
    assert (x * 2.0).requires_grad

    @no_grad()
    def f():
        return x * 2.0

    assert not f().requires_grad
    with set_grad_enabled(False):
        assert not (x * 2.0).requires_grad
    assert (x * 2.0).requires_grad


def test_recording_is_a_matter_of_each_thread():
    x, found = leaf(1.0), []
    with no_grad():
        thread = threading.Thread(target=lambda: found.append((x * 2.0).requires_grad))
        thread.start()
        thread.join()
    assert found == [True]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: md.tensor([1.0]).backward(), "does not require a gradient"),
        (lambda x: (x * 2.0).detach().backward(), "does not require a gradient"),
        (lambda x: md.grad(x * 2.0, md.tensor([1.0])), "input 0 does not require a gradient"),
        (lambda x: (x * leaf(1.0, 2.0)).backward(), r"shape \(2,\) is not one number"),
        (lambda x: (x * 2.0).backward(leaf(1.0, 2.0)), r"gradient of shape \(2,\)"),
        (lambda x: (x * 2.0).backward(md.tensor([1.0])), "gradient of dtype float32"),
        (lambda x: (x * 2.0).backward(ones(x).to("strict")), "gradient on strict"),
        (lambda x: md.autograd.backward([x, x], [ones(x)]), "1 gradients for 2 tensors"),
        (lambda x: x.adopt(x * 2.0), "no_grad"),
        (lambda x: (x * 2.0).requires_grad_(False), "detach"),
        (lambda x: md.tensor([1.0]).retain_grad(), "does not require"),
        (lambda x: md.tensor([1.0]).register_hook(print), "does not require"),
    ],
)
def test_misuse_is_explained(call, message):
    with pytest.raises(RuntimeError, match=message):
        call(leaf(1.0))


def test_integers_cannot_require_gradients():
    with pytest.raises(TypeError, match="floating-point"):
        md.tensor([1, 2], requires_grad=True)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda g: md.Tensor(np.ones(3)), r"shape \(3,\).*input 0 of shape \(1,\)"),
        (lambda g: md.Tensor(np.ones(1, np.float32)), "dtype float32"),
        (lambda g: (), "returned 0 gradients for 1 inputs"),
        (lambda g: (g, g), "returned 2 gradients for 1 inputs"),
        (lambda g: g.data, "returned a ndarray for input 0, not a Tensor"),
        (lambda g: 1.0, "returned a float for input 0, not a Tensor"),
    ],
)
def test_a_backward_that_returns_the_wrong_thing_is_named(result, message):
    class Wrong(Double):
        def backward(self, grad):
            return result(grad)

    with pytest.raises((RuntimeError, TypeError), match=f"Wrong.backward.*{message}"):
        Wrong.apply(leaf(1.0)).backward()


def test_a_backward_may_return_a_list_and_nothing_for_arguments_that_are_not_tensors():
    class Scale(Function):
        def forward(self, x, factor, unused):
            self.factor = factor
            return x * factor

        def backward(self, grad):
            return self.result(grad * self.factor)

    for result in (lambda g: [g], lambda g: g, lambda g: (g, None), lambda g: (g, None, None)):
        Scale.result = staticmethod(result)
        x = leaf(1.0)
        Scale.apply(x, 3.0, None).backward()
        assert x.grad.item() == 3.0


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        (lambda x: [x], "list"),
        (lambda x: (x, None), "NoneType"),
        (lambda x: float(x[0]), "float"),
        (lambda x: md.Tensor(x), "Tensor"),
    ],
)
def test_a_forward_that_returns_no_array_is_named(result, kind):
    class Wrong(Double):
        def forward(self, x):
            return result(x)

    with pytest.raises(TypeError, match=f"Wrong.forward returned a {kind}; it must return an arr"):
        Wrong.apply(leaf(1.0))


def test_a_forward_may_return_a_named_tuple_and_one_array_twice():
    Pair = collections.namedtuple("Pair", "first second")

    class Both(Twins):
        def forward(self, x):
            y = x * 3.0
            return Pair(y, y)

        def backward(self, a, b):
            return (a + b) * 3.0

    x = leaf(2.0)
    a, b = Both.apply(x)
    assert a.data is not b.data, "arrays are recognised by identity"
    (a * b).backward()
    assert x.grad.item() == 36.0


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda g: md.Tensor(np.ones(3)), r"hook: returned a gradient of shape \(3,\)"),
        (lambda g: g.float(), "hook: returned a gradient of shape .* and dtype float32"),
        (lambda g: g.data, "hook: returned a ndarray"),
        (lambda g: 2.0, "hook: returned a float"),
    ],
)
def test_a_hook_that_returns_the_wrong_thing_is_refused(result, message):
    x = leaf(1.0)
    x.register_hook(result)
    with pytest.raises((RuntimeError, TypeError), match=message):
        (x * 2.0).backward()
    y = leaf(1.0) * 2.0
    y.register_hook(result)
    with pytest.raises((RuntimeError, TypeError), match=message):
        (y * 2.0).backward()


def test_what_a_hook_or_a_listener_keeps_does_not_change_afterwards():
    x, seen = leaf(1.0, 2.0), []
    handle = x.register_hook(seen.append)
    (x * 2.0).backward(ones(x))
    handle.remove()
    with md.record() as r:
        (x * 2.0).backward(ones(x))
    (x * 2.0).backward(ones(x))
    assert seen[0].tolist() == [2.0, 2.0]
    assert r.events[-1].outputs[0].tolist() == [2.0, 2.0]
    assert x.grad.tolist() == [6.0, 6.0]


def test_leaves_never_share_a_gradient_array_with_create_graph_either():
    a, b = leaf(1.0), leaf(2.0)
    u = ones(a)
    (a + b).backward(u, create_graph=True)
    assert a.grad is not b.grad
    assert not np.shares_memory(a.grad.data, b.grad.data)
    assert not np.shares_memory(a.grad.data, u.data)


def test_a_changed_saved_tensor_is_detected_with_the_operations_name():
    x, w = leaf(1.0), leaf(2.0)
    y = x * 2.0
    z = y * w
    with no_grad():
        y.data += 1.0
        y.bump_version()
    with pytest.raises(RuntimeError, match=r"Mul: a tensor of shape \(1,\).*changed in place"):
        z.backward()


def test_a_change_through_a_view_is_detected_too():
    x, w = leaf(1.0, 2.0), leaf(2.0, 3.0)
    y = x * 1.0
    z = y * w
    with no_grad():
        part = y.detach()
        part.data[0] = 7.0
        part.bump_version()
    with pytest.raises(RuntimeError, match="changed in place"):
        z.backward(ones(z))


def test_an_error_in_backward_leaves_recording_on():
    class Fails(Double):
        def backward(self, grad):
            raise ArithmeticError("no")

    with pytest.raises(ArithmeticError):
        Fails.apply(leaf(1.0)).backward()
    assert md.autograd.is_grad_enabled()


def test_detached_and_original_are_different_variables_of_one_memory():
    x = leaf(3.0)
    y = x * x.detach()
    (g,) = md.grad(y, x, create_graph=True)
    assert g.item() == 3.0
    with pytest.raises(RuntimeError):
        md.grad(g, x)  # dg/dx = 0: the other factor is a constant


def test_a_function_that_returns_its_input_works():
    class Same(Function):
        def forward(self, x):
            self.save_for_backward(x)
            return x

        def backward(self, grad):
            return grad

    x = leaf(2.0)
    y = Same.apply(x)
    (y * y).backward()
    assert x.grad.item() == 4.0


def test_static_methods_in_torchs_style_work():
    class Cube(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return grad * 3.0 * x * x

    assert md.gradcheck(Cube.apply, leaf(1.5))
    assert md.gradgradcheck(Cube.apply, leaf(1.5))


def test_wrap_makes_arrays_of_numpys_scalars():
    assert type(wrap(np.float32(1.0)).data) is np.ndarray


# -- what torch's users rely on -------------------------------------------------------------------


def test_backward_takes_one_tensor_or_several_and_may_be_limited_to_some_inputs():
    x, w = leaf(3.0), leaf(2.0)
    y = x * w
    z = y * y
    md.autograd.backward(z, ones(z), retain_graph=True, inputs=[x, y])
    assert (x.grad.item(), y.grad.item(), w.grad) == (24.0, 12.0, None)
    z.backward(inputs=w)
    assert w.grad.item() == 36.0
    x.grad = None
    md.autograd.backward([x * 2.0, x * 3.0], [ones(x), ones(x) * 10.0])
    assert x.grad.item() == 32.0


def test_the_gradient_of_a_result_is_found_though_what_made_it_was_freed():
    x, w = leaf(3.0), leaf(1.0)
    y = x * 2.0
    (y * 3.0).backward()
    z = y * y * w
    (g,) = md.grad(z, y, retain_graph=True)
    assert g.item() == 12.0
    with pytest.raises(RuntimeError, match="already been freed"):
        md.grad(z, [y, x], retain_graph=True)
    with pytest.raises(RuntimeError, match="already been freed"):
        md.grad(z, [y, w])  # w could have gone into y, too


def test_a_leaf_that_no_longer_requires_a_gradient_gets_none():
    x, w = leaf(3.0), leaf(2.0)
    y = x * w
    x.requires_grad_(False)
    y.backward()
    assert x.grad is None
    assert w.grad.item() == 3.0


def test_one_input_asked_for_twice_and_an_input_that_is_an_output():
    x = leaf(3.0)
    y = x * x
    first, second, own = md.grad(y, [x, x, y])
    assert (first.item(), second.item(), own.item()) == (6.0, 6.0, 1.0)
    assert md.grad(x, x)[0].item() == 1.0
    y = x * x
    assert md.grad([y, y], x)[0].item() == 12.0


def test_retain_grad_follows_a_tensor_through_changes_in_place():
    x = leaf(3.0)
    y = x * 2.0
    y.retain_grad()
    y.mul_(5.0)
    (y * y).backward()
    assert y.grad.item() == 60.0


def test_a_hook_stays_with_the_value_it_was_registered_on():
    x, seen = leaf(3.0), []
    y = x * 2.0
    y.register_hook(lambda g: seen.append(g.item()))
    y.mul_(5.0)
    (y * y).backward()
    assert seen == [300.0]


def test_a_backward_within_a_backward_is_a_pass_of_its_own():
    class Checkpoint(Function):
        """x^3, computed again in backward."""

        def forward(self, x):
            self.save_for_backward(x)
            return x**3

        def backward(self, grad):
            (x,) = self.saved_tensors
            again = x.detach().requires_grad_()
            with enable_grad():
                y = again * again * again
            y.backward(grad)
            return again.grad

    x, other = leaf(2.0), leaf(5.0)

    def hook(g):
        with enable_grad():
            (other * other).backward()
        return g * other.grad

    y = Checkpoint.apply(Checkpoint.apply(x))
    x.register_hook(hook)
    y.backward()
    assert x.grad.item() == 9 * 2.0**8 * 10.0
    assert md.is_grad_enabled()


def test_an_error_in_the_middle_of_a_pass_adds_nothing_to_any_leaf():
    x, w = leaf(1.0), leaf(2.0)
    y = x * 2.0
    y.register_hook(lambda g: g / {})
    with pytest.raises(TypeError):
        (y * w).backward()
    assert x.grad is None
    assert w.grad is None


def test_no_grad_may_be_entered_again_within_itself_and_decorates_without_parentheses():
    off = no_grad()
    with off, off:
        assert not md.is_grad_enabled()
    assert md.is_grad_enabled()

    @no_grad
    def f(x):
        return x * 2.0

    @set_grad_enabled(False)
    def g(x):
        return x * 2.0

    assert md.is_grad_enabled()
    assert not f(leaf(1.0)).requires_grad
    assert not g(leaf(1.0)).requires_grad
    assert f.__name__ == "f"


# -- memory ---------------------------------------------------------------------------------------


def test_a_tensor_made_of_a_tensor_shares_its_memory_and_its_version():
    x, w = leaf(3.0), leaf(2.0)
    y = x * 1.0
    z = y * w
    with no_grad():
        md.Tensor(y).add_(1.0)
    with pytest.raises(RuntimeError, match="changed in place"):
        z.backward()
    copied = md.Tensor(y, dtype="float32")
    copied.add_(1.0)
    assert copied._version is not y._version


def test_an_optimisers_step_between_forward_and_backward_is_detected():
    x, w = leaf(3.0), leaf(2.0)
    optimizer = md.optim.SGD([w], lr=0.1)
    for _ in range(2):  # the first step moves the parameters into one array
        z = x * w
        w.grad = ones(w)
        optimizer.step()
        with pytest.raises(RuntimeError, match=r"Mul: .*(changed in place|replaced)"):
            z.backward()


def test_neither_hooks_nor_watchers_nor_errors_make_reference_circles():
    def step():
        x = leaf(1.0, 2.0)
        y = x * 2.0
        y.register_hook(lambda g: g * 2.0).remove()
        with md.record(), md.profile(), md.detect_anomaly():
            y.sum().backward(create_graph=True)
        z = x.exp()
        z.register_hook(lambda g: g / {})
        with pytest.raises(TypeError):
            z.sum().backward()

    step()
    gc.collect()
    gc.disable()
    try:
        before = len([o for o in gc.get_objects() if isinstance(o, (md.Tensor, Function))])
        step()
        after = len([o for o in gc.get_objects() if isinstance(o, (md.Tensor, Function))])
    finally:
        gc.enable()
    assert after == before


def test_a_graph_of_a_hundred_thousand_operations_is_dropped_without_recursion():
    y = leaf(1.0)
    for _ in range(100_000):
        y = Double.apply(y)
    node = weakref.ref(y.grad_fn)
    del y
    assert node() is None


# -- threads --------------------------------------------------------------------------------------


def in_threads(work, count=4):
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_threads_that_run_backward_at_the_same_time_are_told_apart():
    def work():
        for _ in range(50):
            x = leaf(1.0, 2.0)
            ((x * x).exp() * x).sum().backward()

    with md.profile() as p:
        in_threads(work)
    calls = {entry.op: entry.calls for entry in p.ops}
    assert (calls["Mul"], calls["Exp"], calls["Sum"]) == (400, 200, 200)


def test_no_gradient_is_lost_when_threads_add_to_one_leaf(monkeypatch):
    x = leaf(1.0)
    meet = threading.Barrier(2, timeout=0.2)

    def slow_wrap(array):
        """Gives the other thread the time to find `.grad` still missing."""
        if threading.current_thread() is not threading.main_thread():
            with contextlib.suppress(threading.BrokenBarrierError):
                meet.wait()
        return wrap(array)

    losses = [x * 2.0, x * 3.0]
    starts = [ones(x), ones(x)]
    monkeypatch.setattr("minidl.autograd.engine.wrap", slow_wrap)
    in_threads(lambda: losses.pop().backward(starts.pop()), 2)
    assert x.grad.item() == 5.0


def test_a_pass_to_one_input_computes_no_gradient_of_another():
    asked = []

    class Product(Function):
        def forward(self, a, b):
            self.save_for_backward(a, b)
            return a * b

        def backward(self, grad):
            asked.append(self.needs_input_grad)
            a, b = self.saved_tensors
            return grad * b, grad * a

    a = md.tensor([2.0], requires_grad=True)
    b = md.tensor([3.0], requires_grad=True)
    inner = a * 4
    y = Product.apply(inner, b)
    assert md.grad(y, [b], retain_graph=True)[0].item() == 8
    assert md.grad(y, [a], retain_graph=True)[0].item() == 12
    assert md.grad(y, [inner, b], retain_graph=True)[0].item() == 3
    y.backward()
    assert asked == [(False, True), (True, False), (True, True), (True, True)]
