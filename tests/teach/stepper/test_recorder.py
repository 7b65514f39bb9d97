"""`minidl.record`: what is written down, and that it stays what it was."""

import numpy as np

import minidl as md
from minidl import nn
from minidl.nn import functional as F


def leaf(*values):
    return md.tensor(list(values), requires_grad=True)


def numbers(sample):
    return sample.values.tolist()


def test_record_is_the_plain_one_and_more():
    from minidl.autograd.recorder import record

    assert issubclass(md.record, record)
    assert md.record is md.teach.record


def test_steps_are_the_events_with_inputs_outputs_and_gradients():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    with md.record() as tape:
        (x * w).sum().backward()
    assert [(s.phase, s.operation.name) for s in tape._steps] == [
        ("forward", "Mul"),
        ("forward", "Sum"),
        ("backward", "Sum"),
        ("backward", "Mul"),
    ]
    forward, _, _, backward = tape._steps
    assert [(a.name, numbers(a.value.sample)) for a in forward.operation.inputs] == [
        ("a", [1.0, 2.0]),
        ("b", [3.0, 4.0]),
    ]
    assert numbers(forward.operation.outputs[0].sample) == [3.0, 8.0]
    assert backward.operation is forward.operation
    assert [numbers(g) for g in backward.given] == [[1.0, 1.0]]
    assert [numbers(g) for g in backward.made] == [[3.0, 4.0], [1.0, 2.0]]


def test_names_are_those_of_the_function_that_recorded_and_of_its_modules():
    image, net = md.randn(1, 4), nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    with md.record() as tape:
        scores = net(image)
    x, weight, bias = [a.value for a in tape._steps[0].operation.inputs]
    assert (x.name, weight.name, bias.name) == ("image", "net.0.weight", "net.0.bias")
    assert tape._steps[-1].operation.outputs[0].name == "scores"
    assert tape._steps[0].operation.outputs[0].name == "", "the program has no name for it"
    assert scores.shape == (1, 3)


def test_a_value_links_the_operation_that_made_it_to_those_that_use_it():
    x = leaf(1.0)
    with md.record() as tape:
        y = x.exp()
        y * y
    exp, square = [s.operation for s in tape._steps]
    a, b = [argument.value for argument in square.inputs]
    assert a is b is exp.outputs[0]
    assert a.maker is exp
    assert exp.inputs[0].value.maker is None


def test_a_parameter_that_is_changed_in_place_is_shown_as_it_was():
    w = leaf(1.0)
    with md.record() as tape:
        for _ in range(3):
            loss = (w * 2).sum()
            w.grad = None
            loss.backward()
            with md.no_grad():
                w -= 0.25 * w.grad
    seen = [s.operation for s in tape._steps if s.phase == "forward" and s.operation.name == "Mul"]
    of_w = [numbers(o.inputs[0].value.sample) for o in seen if o.inputs[0].value.name == "w"]
    assert of_w[-1] == [0.0]
    values = [numbers(o.inputs[0].value.sample)[0] for o in seen]
    assert {1.0, 0.5, 0.0} <= set(values)


def test_contributions_to_a_gradient_are_added_up():
    x = leaf(3.0)
    with md.record() as tape:
        (x * x + x.exp()).sum().backward()
    given = {s.operation.name: s for s in tape._steps if s.phase == "backward"}
    exp = np.float32(np.exp(np.float32(3)))
    # Exp ran last forward, so it is first backward: nothing to add up yet.
    assert given["Exp"].sums == [None]
    first, second = given["Mul"].sums
    np.testing.assert_allclose(numbers(first), [exp + 3], rtol=1e-6)
    np.testing.assert_allclose(numbers(second), [exp + 6], rtol=1e-6)
    np.testing.assert_allclose(numbers(second), x.grad.numpy(), rtol=1e-6)


def test_a_second_pass_begins_from_nothing():
    x = leaf(3.0)
    with md.record() as tape:
        y = x * x
        y.backward(retain_graph=True)
        y.backward()
    for step in tape._steps[1:]:
        assert step.sums[0] is None
        assert numbers(step.sums[1]) == [6.0]


def test_a_backward_whose_forward_was_not_recorded_is_shown_alone():
    x = leaf(3.0)
    y = x * 2.0
    with md.record() as tape:
        y.backward()
    (step,) = tape._steps
    assert step.operation.outputs == []
    assert [numbers(g) for g in step.made if g is not None] == [[2.0]]


def test_parameters_and_facts_are_kept():
    x = md.randn(4, 3, 5, 5, requires_grad=True)
    with md.record() as tape:
        y = F.conv2d(x, md.randn(2, 3, 3, 3), stride=2)
        F.batch_norm(y, None, None, training=True).sum().backward()
    conv = tape._steps[0].operation
    assert conv.parameters["geometry"].stride == (2, 2)
    norm = next(s for s in tape._steps if s.operation.name == "BatchNorm")
    mean = y.numpy().mean((0, 2, 3)) if not y.requires_grad else y.detach().numpy().mean((0, 2, 3))
    np.testing.assert_allclose(norm.operation.facts["mean"].values, mean, rtol=1e-4, atol=1e-6)


def test_recording_changes_nothing():
    def run():
        md.manual_seed(1)
        x = md.randn(2, 3, 8, 8, requires_grad=True)
        w = md.randn(4, 3, 3, 3, requires_grad=True)
        F.max_pool2d(F.conv2d(x, w).relu(), 2).mean().backward()
        return x.grad.numpy(), w.grad.numpy()

    plain = run()
    with md.record():
        watched = run()
    for a, b in zip(plain, watched, strict=True):
        assert np.array_equal(a, b)


def test_an_array_of_another_device_is_brought_to_the_host():
    x = md.ones(2, 3, device="strict", requires_grad=True)
    with md.record() as tape:
        (x * 2.0).sum().backward()
    assert isinstance(tape._steps[0].operation.outputs[0].sample.values, np.ndarray)
    assert numbers(tape._steps[-1].made[0]) == [[2.0] * 3] * 2
