"""Those who watch the engine: listen, profile, record, detect_anomaly."""

import gc
import inspect
import pathlib
import weakref

import numpy as np
import pytest

import minidl as md
from minidl.autograd import Function, engine, events, function, listen

HERE = pathlib.Path(__file__).name


def line_of_caller(offset=0):
    return f"{HERE}:{inspect.currentframe().f_back.f_lineno + offset}"


def leaf(*values, dtype="float32"):
    return md.tensor(list(values), dtype=dtype, requires_grad=True)


def names(record):
    return [(event.phase, event.op) for event in record]


class Stumble(Function):
    """The identity, whose backward fails."""

    def forward(self, x):
        return x + 0.0

    def backward(self, grad):
        raise KeyError("stumbled")


WATCHERS = {
    "listen": lambda: listen(lambda event: None),
    "profile": md.profile,
    "record": md.record,
    "record, inside": lambda: md.record(inside=True),
    "detect_anomaly": md.detect_anomaly,
}


# -- events ---------------------------------------------------------------------------------------


def test_an_event_tells_what_ran_on_what_and_what_was_kept():
    heard = []
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    with listen(heard.append):
        y = x * w
        y.backward(md.ones(2))
    forward, backward = [e for e in heard if not e.within]
    assert (forward.phase, forward.op) == ("forward", "Mul")
    assert forward.inputs[0] is x
    assert forward.inputs[1] is w
    assert forward.outputs[0] is y
    assert forward.saved == x.nbytes + w.nbytes
    assert forward.seconds > 0
    assert (backward.phase, backward.op, backward.node) == ("backward", "Mul", forward.node)
    assert [g.data.tolist() for g in backward.inputs] == [[1.0, 1.0]]
    assert [g.data.tolist() for g in backward.outputs] == [[3.0, 4.0], [1.0, 2.0]]
    inside = [e for e in heard if e.within]
    assert {e.within for e in inside} == {"Mul"}
    assert {e.phase for e in inside} == {"forward"}


def test_parameters_of_an_operation_are_on_its_node():
    with md.record() as r:
        md.zeros(2, 3, 4).sum(dim=(0, 2))
    assert r.events[0].node.axes == (0, 2)


def test_operations_that_are_not_recorded_are_heard_and_keep_nothing():
    x = leaf(1.0, 2.0)
    with md.record() as r, md.no_grad():
        x * x
    assert names(r) == [("forward", "Mul")]
    assert r.events[0].saved == 0


def test_a_backward_that_is_recorded_itself_is_heard_twice():
    x = leaf(2.0)
    with md.record() as r:
        (slope,) = md.grad(x.exp(), x, create_graph=True)
        md.grad(slope, x)
    assert names(r)[:2] == [("forward", "Exp"), ("backward", "Exp")]
    assert ("backward", "Mul") in names(r), "the product in the first backward has one of its own"


def test_several_watchers_hear_the_same():
    with md.record() as outer:
        leaf(1.0).exp()
        with md.record() as inner, md.profile() as p:
            leaf(1.0).log()
        leaf(1.0).sin()
    assert [op for _, op in names(outer)] == ["Exp", "Log", "Sin"]
    assert [op for _, op in names(inner)] == ["Log"]
    assert [entry.op for entry in p.ops] == ["Log"]


# -- nothing left behind, nothing paid ------------------------------------------------------------


@pytest.mark.parametrize("watcher", WATCHERS.values(), ids=WATCHERS)
def test_nothing_is_left_behind(watcher):
    x = leaf(1.0, 2.0)
    with watcher():
        assert len(events.listeners) == 1
        (x * x).sum().backward()
    assert not events.listeners
    assert events.here.backward == ""


@pytest.mark.parametrize("watcher", WATCHERS.values(), ids=WATCHERS)
def test_nothing_is_left_behind_by_an_error(watcher):
    x = leaf(1.0, 2.0)
    y = Stumble.apply(x).sum()
    with pytest.raises(KeyError, match="stumbled"), watcher():
        y.backward()
    assert not events.listeners
    assert events.here.backward == ""
    assert md.is_grad_enabled()


def test_a_listener_that_raises_stops_the_pass_and_leaves_the_engine_whole():
    def refuse(event):
        if event.phase == "backward" and event.op == "Mul":
            raise ValueError("no")

    x = leaf(3.0)
    y = (x * x).sum()
    with pytest.raises(ValueError, match="no"), listen(refuse):
        y.backward()
    assert events.here.backward == ""
    assert md.is_grad_enabled()
    (x * x).sum().backward()
    assert x.grad.item() == 6.0


@pytest.mark.parametrize("watcher", ["listen", "profile", "detect_anomaly"])
def test_no_tensor_is_kept_alive(watcher):
    with WATCHERS[watcher]():
        y = leaf(1.0, 2.0).exp()
        node = weakref.ref(y.grad_fn)
        y.sum().backward()
    del y
    gc.collect()
    assert node() is None


def test_without_a_listener_no_event_is_made_and_no_clock_is_read(monkeypatch):
    def must_not_run(*args):
        raise AssertionError("somebody was told, though nobody listens")

    monkeypatch.setattr(events, "Event", must_not_run)
    monkeypatch.setattr(events, "emit", must_not_run)
    monkeypatch.setattr(function, "perf_counter", must_not_run)
    monkeypatch.setattr(engine, "perf_counter", must_not_run)
    monkeypatch.setattr(engine, "_watched", must_not_run)
    model = md.nn.Sequential(md.nn.Linear(3, 4), md.nn.BatchNorm1d(4), md.nn.ReLU())
    model(md.randn(5, 3)).square().mean().backward()


# -- profile --------------------------------------------------------------------------------------


def test_a_profile_adds_up_calls_times_and_kept_memory():
    x = leaf(*[1.0] * 100)
    with md.profile() as p:
        y = x * x
        z = y * y
        z.exp().sum().backward()
    entries = {entry.op: entry for entry in p.ops}
    assert set(entries) == {"Mul", "Exp", "Sum"}, "what a backward is made of is not listed"
    assert entries["Mul"].calls == 2
    assert entries["Mul"].saved == 4 * x.nbytes
    assert all(entry.forward > 0 and entry.backward > 0 for entry in p.ops)
    busy = sum(entry.forward + entry.backward for entry in p.ops)
    assert busy < p.total
    costs = [entry.forward + entry.backward for entry in p.ops]
    assert costs == sorted(costs, reverse=True)


def test_a_profile_prints_a_table():
    x = leaf(1.0)
    with md.profile() as p:
        x.exp().backward()
    head, *rows, last = str(p).splitlines()
    assert head.split()[:2] == ["operation", "calls"]
    assert [row.split()[0] for row in rows] == ["Exp"]
    assert rows[0].split()[1] == "1"
    assert "100.0%" in rows[0]
    assert last.startswith("total ")


def test_a_profile_of_nothing_prints_too():
    with md.profile() as p:
        pass
    assert p.ops == []
    assert "total" in str(p)


# -- record ---------------------------------------------------------------------------------------


def test_a_record_has_every_operation_in_order_with_its_line():
    x = leaf(1.0, 2.0)
    with md.record() as r:
        y = x.exp()
        here = line_of_caller(-1)
        y.sum().backward()
        there = line_of_caller(-1)
    assert names(r) == [
        ("forward", "Exp"),
        ("forward", "Sum"),
        ("backward", "Sum"),
        ("backward", "Exp"),
    ]
    assert len(r) == 4
    assert [line.replace("\\", "/").rsplit("/", 1)[-1] for line in r.lines] == [here, *[there] * 3]
    text = str(r).splitlines()
    assert len(text) == 4
    assert "Exp" in text[0]
    assert "(2,) -> (2,)" in text[0]
    assert text[0].endswith(here)


def test_a_record_may_look_inside_backward_passes():
    x = leaf(1.0, 2.0)
    with md.record(inside=True) as r:
        x.tanh().sum().backward()
    within = [event.op for event in r if event.within == "Tanh"]
    assert within, "tanh's backward is made of operations"
    assert names(r)[-1] == ("backward", "Tanh"), "they come before the event of the whole"


# -- detect_anomaly -------------------------------------------------------------------------------


def caught(compute, **options):
    with pytest.raises(FloatingPointError) as error, md.detect_anomaly(**options):
        compute()
    return str(error.value)


def test_the_operation_and_the_line_that_made_the_first_nan_are_named():
    def compute():
        x = leaf(1.0, -2.0)
        y = x + 1.0
        y.log().sum()

    message = caught(compute)
    lines, start = inspect.getsourcelines(compute)
    guilty = start + next(i for i, line in enumerate(lines) if "log" in line)
    assert message.startswith("Log: NaN in output 0 of shape (2,), from inputs (2,) in [-1, 2]")
    assert message.endswith(f"{HERE}:{guilty}")


def test_an_infinity_of_a_backward_is_named_with_the_line_of_its_forward():
    def compute():
        x = leaf(0.0, 4.0)
        y = x.sqrt()
        (y * 2.0).sum().backward()

    message = caught(compute)
    lines, start = inspect.getsourcelines(compute)
    guilty = start + next(i for i, line in enumerate(lines) if "sqrt" in line)
    assert message.startswith("Sqrt.backward: infinity in input 0's gradient of shape (2,)")
    assert "from gradients (2,) in [2, 2]" in message
    assert message.endswith(f"{HERE}:{guilty}")


def test_a_nan_of_a_second_backward_is_found():
    def compute():
        x = leaf(0.0, 1.0, dtype="float64")
        (slope,) = md.grad((x**1.5).sum(), x, create_graph=True)
        md.grad(slope.sum(), x)  # the second derivative, 0.75 x^-0.5, is infinite at 0

    message = caught(compute)
    assert ".backward: " in message
    assert "infinity" in message
    assert HERE in message


def test_a_backward_may_run_into_a_nan_and_mend_it_itself():
    # The deviation of equal numbers is 0, and so is its gradient: 0 / 0, masked.
    x = leaf(1.0, 1.0)
    with md.detect_anomaly():
        x.std().backward()
    assert x.grad.tolist() == [0.0, 0.0]


def test_infinities_count_unless_they_are_meant():
    x = leaf(0.0, 1.0)
    assert "Log: infinity" in caught(lambda: x.log())
    with md.detect_anomaly(check_inf=False):
        x.log()
    assert "Sub: NaN" in caught(lambda: x.log() - x.log(), check_inf=False)


def test_what_the_user_put_in_is_not_reported():
    scores = leaf(1.0, 2.0, 3.0)
    mask = md.tensor([False, True, False])
    bad = md.tensor([float("nan"), float("inf")], requires_grad=True)
    with md.detect_anomaly():
        scores.masked_fill(mask, -float("inf")).softmax(0).square().sum().backward()
        (bad * 2.0).sum().backward()
    assert scores.grad[1].item() == 0.0


def test_a_nan_that_comes_of_infinities_that_were_meant_is_reported():
    row = md.tensor([-float("inf"), -float("inf")])
    assert caught(lambda: row.softmax(0)).startswith("Softmax: NaN")


def test_a_graph_made_before_the_block_is_watched_too():
    y = leaf(0.0).sqrt()
    message = caught(lambda: y.backward())
    assert message.startswith("Sqrt.backward: infinity")
    assert message.endswith("a line that ran before detect_anomaly")


def test_the_first_nan_in_a_network_is_found_in_training():
    model = md.nn.Sequential(md.nn.Linear(3, 4), md.nn.ReLU(), md.nn.Linear(4, 2))
    x, target = md.randn(5, 3), md.tensor([0, 1, 0, 1, 0])
    with md.detect_anomaly():
        md.nn.functional.cross_entropy(model(x), target).backward()
    with md.no_grad():
        model[0].weight.fill_(1e30)
        model[2].weight.fill_(1e30)
    message = caught(lambda: md.nn.functional.cross_entropy(model(x), target).backward())
    assert message.startswith("Linear: ")


def test_an_anomaly_is_found_on_other_devices_too():
    x = md.tensor([1.0, -1.0], device="strict", requires_grad=True)
    assert caught(lambda: x.log()).startswith("Log: NaN")


def test_integers_are_never_anomalies():
    with md.detect_anomaly():
        md.arange(4).sum()
        assert np.array_equal((md.arange(3) * 2).data, [0, 2, 4])
