"""Containers and shape layers against torch's: names, text, slices, order."""

from collections import OrderedDict

import numpy as np
import pytest

from minidl import nn
from minidl.autograd import Tensor

from .compare import compare


def chain(library):
    return library.Sequential(
        library.Linear(2, 3), library.ReLU(), library.Linear(3, 3), library.ReLU()
    )


def test_a_sequence_calls_its_modules_in_order():
    net = nn.Sequential(
        OrderedDict([("twice", nn.Linear(1, 1, bias=False)), ("flat", nn.Flatten())])
    )
    net.twice.weight.data[...] = 2
    assert net(Tensor(np.ones((2, 3, 1), np.float32))).tolist() == [[2.0] * 3] * 2
    assert list(net.state_dict()) == ["twice.weight"]
    assert net[1] is net.flat
    assert net[-2] is net.twice


def test_changes_of_a_sequence_are_torchs():
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")

    def run(library):
        states = []

        def note(net):
            states.append((list(net.state_dict()), repr(net), len(net)))

        net = chain(library)
        note(net)
        note(net[1:3])
        note(net[::2])
        net.append(library.Identity())
        net.insert(1, library.Flatten())
        net.extend([library.Linear(3, 1)])
        note(net)
        del net[0]
        note(net)
        net[1] = library.Tanh()
        note(net)
        net.pop(-1)
        note(net)
        del net[1:3]
        note(net)
        note(chain(library) + chain(library))
        note(library.Sequential(OrderedDict(a=library.ReLU(), b=library.Linear(1, 2)))[1:])
        note(library.Sequential(OrderedDict()))
        note(chain(library)[4:])
        return states

    # torch's Linear and ours print alike, so the text can be compared, too
    assert run(nn) == run(torch.nn)


def test_changes_of_a_list_are_torchs():
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")

    def run(library):
        states = []

        def note(net):
            states.append((list(net.state_dict()), repr(net), len(net)))

        net = library.ModuleList([library.Linear(1, 2) for _ in range(3)])
        note(net)
        note(net[1:])
        net.append(library.ReLU())
        net.insert(0, library.Linear(2, 2))
        net.extend([library.Linear(1, 2), library.Linear(1, 2)])
        note(net)
        net[-1] = library.Identity()
        del net[1]
        note(net)
        net.pop(0)
        net += [library.Tanh()]
        note(net)
        note(net + [library.Tanh()])
        note(library.ModuleList())
        return states

    assert run(nn) == run(torch.nn)


def test_a_list_is_a_list():
    layers = [nn.ReLU(), nn.Tanh()]
    net = nn.ModuleList(layers)
    assert list(net) == layers
    assert layers[0] in net
    assert nn.ReLU() not in net
    with pytest.raises(IndexError, match="ModuleList: index 2 of 2 modules"):
        net[2]
    with pytest.raises(TypeError, match="int is not a Module"):
        net.insert(0, 3)
    with pytest.raises(NotImplementedError):
        net(1)


def test_a_dictionary_of_modules_keeps_order_and_names():
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")

    def run(library):
        net = library.ModuleDict({"up": library.Linear(1, 2), "act": library.ReLU()})
        net["down"] = library.Linear(2, 1)
        net.update([("up", library.Linear(1, 4))])
        return net

    ours, theirs = run(nn), run(torch.nn)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert list(ours) == list(theirs) == list(ours.keys())
    assert "act" in ours
    assert len(ours) == 3
    assert [name for name, _ in ours.items()] == list(theirs.keys())
    assert isinstance(ours.pop("act"), nn.ReLU)
    del ours["up"]
    assert [type(m).__name__ for m in ours.values()] == ["Linear"]
    ours.clear()
    assert not len(ours)


def test_parameters_in_lists_and_dictionaries_are_trained():
    net = nn.ParameterList([Tensor(np.ones(2, np.float32)), nn.Parameter(Tensor(np.ones(3)))])
    net.append(Tensor(np.zeros(1, np.float32)))
    assert list(net.state_dict()) == ["0", "1", "2"]
    assert all(isinstance(p, nn.Parameter) for p in net)
    net[0] = Tensor(np.zeros(4, np.float32))
    assert net[0].shape == (4,)
    assert len(net) == 3
    assert "(0): Parameter of shape (4,)" in repr(net)
    table = nn.ParameterDict({"gain": Tensor(np.ones(1, np.float32))})
    table["shift"] = Tensor(np.zeros(1, np.float32))
    assert list(table.state_dict()) == ["gain", "shift"]
    assert "gain" in table
    assert [len(table), list(table), list(table.keys())] == [2, ["gain", "shift"]] + [
        ["gain", "shift"]
    ]
    assert [p.shape for p in table.values()] == [(1,), (1,)]
    assert dict(table.items())["gain"] is table["gain"]
    del table["gain"]
    assert list(table) == ["shift"]
    assert "Parameter of shape" in repr(table)


@pytest.mark.parametrize(
    ("name", "args", "shape"),
    [
        ("Flatten", (), (2, 3, 4)),
        ("Flatten", (0,), (2, 3, 4)),
        ("Flatten", (1, 2), (2, 3, 4, 5)),
        ("Identity", (), (2, 3)),
        ("Unflatten", (1, (2, 3)), (4, 6, 5)),
        ("Unflatten", (-1, (2, -1)), (4, 6)),
    ],
)
def test_layers_of_shape_are_torchs(name, args, shape):
    compare(name, args, {}, shape)
