"""Module: registration, listing, state, modes, moves, hooks, copies; compared with torch."""

import copy
import pickle

import numpy as np
import pytest

from minidl import nn
from minidl.autograd import Tensor
from minidl.autograd.modes import no_grad


class Leaf(nn.Module):
    def __init__(self, size=2):
        super().__init__()
        self.weight = nn.Parameter(Tensor(np.ones(size, np.float32)))
        self.bias = nn.Parameter(Tensor(np.zeros(size, np.float32)))
        self.register_buffer("mean", Tensor(np.zeros(size, np.float32)))
        self.register_buffer("scratch", Tensor(np.zeros(size, np.float32)), persistent=False)
        self.register_buffer("count", Tensor(np.zeros((), np.int64)))

    def forward(self, x):
        return x * self.weight + self.bias


class Tree(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(Tensor(np.float32(2.0)))
        self.left = Leaf()
        self.right = nn.Sequential(Leaf(), nn.Identity())

    def forward(self, x):
        return self.right(self.left(x)) * self.scale


PATHS = ["scale", "left.weight", "left.bias", "right.0.weight", "right.0.bias"]
STATE = [
    "scale",
    "left.weight",
    "left.bias",
    "left.mean",
    "left.count",
    "right.0.weight",
    "right.0.bias",
    "right.0.mean",
    "right.0.count",
]


# -- registration ---------------------------------------------------------------------------------


def test_parameters_buffers_and_modules_are_listed_in_the_order_of_assignment():
    tree = Tree()
    assert [name for name, _ in tree.named_parameters()] == PATHS
    assert list(tree.state_dict()) == STATE
    assert [name for name, _ in tree.named_modules()] == ["", "left", "right", "right.0", "right.1"]
    assert [name for name, _ in tree.named_children()] == ["left", "right"]
    buffers = [name for name, _ in tree.named_buffers()]
    assert buffers[:3] == ["left.mean", "left.scratch", "left.count"]
    assert [name for name, _ in tree.named_parameters(recurse=False)] == ["scale"]
    assert next(name for name, _ in tree.named_parameters(prefix="net")) == "net.scale"
    assert len(list(tree.parameters())) == 5
    assert len(list(tree.modules())) == 5
    assert len(list(tree.children())) == 2


def test_a_shared_parameter_is_listed_once_but_stored_under_both_paths():
    tree = Tree()
    tree.right[0].weight = tree.left.weight
    names = [name for name, _ in tree.named_parameters()]
    assert names == ["scale", "left.weight", "left.bias", "right.0.bias"]
    every = [name for name, _ in tree.named_parameters(remove_duplicate=False)]
    assert every == PATHS
    assert list(tree.state_dict()) == STATE


def test_a_shared_module_is_listed_once():
    shared = Leaf()
    net = nn.Sequential(shared, shared)
    assert [name for name, _ in net.named_modules()] == ["", "0"]
    assert len(list(net.children())) == 1
    assert len(list(net.parameters())) == 2


def test_a_typo_names_the_class_and_the_attribute():
    with pytest.raises(AttributeError, match="'Leaf' object has no attribute 'wieght'"):
        Leaf().wieght  # noqa: B018
    assert not hasattr(Leaf(), "wieght")
    assert "weight" in dir(Leaf())
    assert "left" in dir(Tree())


def test_assigning_before_init_is_an_error_that_says_what_to_call():
    class Forgot(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(Tensor(np.ones(1, np.float32)))

    with pytest.raises(AttributeError, match="super"):
        Forgot()

    class Reads(nn.Module):
        def __init__(self):
            self.size = self.other

    with pytest.raises(AttributeError, match=r"has not called super\(\).__init__\(\)"):
        Reads()


def test_only_parameters_replace_parameters():
    leaf = Leaf()
    with pytest.raises(TypeError, match=r"Leaf\.weight is a parameter"):
        leaf.weight = Tensor(np.ones(2, np.float32))
    with pytest.raises(TypeError, match=r"Leaf\.mean is a buffer"):
        leaf.mean = np.ones(2)
    tree = Tree()
    with pytest.raises(TypeError, match=r"Tree\.left is a module"):
        tree.left = 3


def test_none_empties_a_place_and_keeps_it():
    leaf = Leaf()
    leaf.bias = None
    assert leaf.bias is None
    assert [name for name, _ in leaf.named_parameters()] == ["weight"]
    leaf.bias = nn.Parameter(Tensor(np.zeros(2, np.float32)))
    assert [name for name, _ in leaf.named_parameters()] == ["weight", "bias"]
    leaf.mean = None
    assert "mean" not in leaf.state_dict()
    tree = Tree()
    tree.left = None
    assert [name for name, _ in tree.named_children()] == ["right"]
    tree.left = Leaf()
    assert [name for name, _ in tree.named_children()] == ["left", "right"]


def test_replacing_keeps_the_place_in_the_order():
    leaf = Leaf()
    leaf.weight = nn.Parameter(Tensor(np.zeros(2, np.float32)))
    assert [name for name, _ in leaf.named_parameters()] == ["weight", "bias"]
    leaf.mean = Tensor(np.ones(2, np.float32))
    assert list(leaf.state_dict()) == ["weight", "bias", "mean", "count"]


def test_an_attribute_can_change_its_kind():
    leaf = Leaf()
    leaf.mean = nn.Parameter(Tensor(np.ones(2, np.float32)))
    assert [name for name, _ in leaf.named_parameters()] == ["weight", "bias", "mean"]
    assert "mean" not in dict(leaf.named_buffers())
    leaf.extra = None
    leaf.extra = Leaf()
    assert [name for name, _ in leaf.named_children()] == ["extra"]
    leaf.weight = Leaf()
    assert "weight" not in dict(leaf.named_parameters())


def test_deleting_forgets():
    leaf = Leaf()
    del leaf.bias, leaf.scratch, leaf.mean
    assert list(leaf.state_dict()) == ["weight", "count"]
    with pytest.raises(AttributeError):
        del leaf.bias
    leaf.register_buffer("scratch", Tensor(np.zeros(1, np.float32)))
    assert "scratch" in leaf.state_dict()


def test_names_that_cannot_be_paths_or_are_taken_are_refused():
    leaf = Leaf()
    for register in (leaf.register_parameter, leaf.register_buffer, leaf.add_module):
        for name in ("", "a.b", 3):
            with pytest.raises(KeyError, match="non-empty string without dots"):
                register(name, None)
        with pytest.raises(KeyError, match="already has an attribute 'training'"):
            register("training", None)
    with pytest.raises(TypeError, match="wrap it in Parameter"):
        leaf.register_parameter("w", Tensor(np.ones(1)))
    with pytest.raises(TypeError, match="not a Tensor or None"):
        leaf.register_buffer("b", np.ones(1))
    with pytest.raises(TypeError, match="not a Module"):
        leaf.add_module("m", nn.Linear)


def test_a_parameter_shares_its_data_and_must_be_a_float():
    x = Tensor(np.ones(2, np.float32))
    p = nn.Parameter(x)
    assert p.requires_grad
    assert np.shares_memory(p.data, x.data)
    assert not nn.Parameter(Tensor(np.arange(3)), requires_grad=False).requires_grad
    with pytest.raises(TypeError, match="floating-point"):
        nn.Parameter(Tensor(np.arange(3)))
    assert repr(p).startswith("Parameter containing:\ntensor(")
    assert nn.Parameter().shape == (0,)


def test_paths_are_followed_and_a_wrong_one_says_where_it_ends():
    tree = Tree()
    assert tree.get_submodule("") is tree
    assert tree.get_submodule("right.0") is tree.right[0]
    assert tree.get_parameter("right.0.weight") is tree.right[0].weight
    assert tree.get_buffer("left.mean") is tree.left.mean
    with pytest.raises(
        AttributeError, match=r"right \(Sequential\) has no module '7'; it has 0, 1"
    ):
        tree.get_submodule("right.7.conv")
    with pytest.raises(AttributeError, match="Leaf has no parameter 'gain'"):
        tree.get_parameter("left.gain")
    with pytest.raises(AttributeError, match="Leaf has no buffer 'weight'"):
        tree.get_buffer("left.weight")


# -- state ----------------------------------------------------------------------------------------


def test_a_state_goes_into_another_network():
    one, two = Tree(), Tree()
    for p in one.parameters():
        p.data += np.float32(3)
    one.left.count.data += 5
    result = two.load_state_dict(one.state_dict())
    assert str(result) == "<All keys matched successfully>"
    for name, x in two.state_dict().items():
        np.testing.assert_array_equal(x.data, one.state_dict()[name].data)
        assert not np.shares_memory(x.data, one.state_dict()[name].data)


def test_a_state_shares_memory_unless_copied_and_does_not_require_gradients():
    tree = Tree()
    state = tree.state_dict()
    assert np.shares_memory(state["left.weight"].data, tree.left.weight.data)
    assert not state["left.weight"].requires_grad
    assert tree.state_dict(keep_vars=True)["left.weight"] is tree.left.weight
    assert next(iter(tree.state_dict(prefix="net"))) == "net.scale"


def test_every_mismatch_is_listed_and_nothing_is_changed():
    tree = Tree()
    state = copy.deepcopy(tree.state_dict())
    for x in state.values():
        x.data[...] = 7
    del state["scale"], state["left.count"]
    state["left.gain"] = Tensor(np.ones(1))
    state["left.weight"] = Tensor(np.ones((2, 1), np.float32))
    state["right.0.bias"] = Tensor(np.ones(5, np.float32))
    state["right.0.count"] = Tensor(np.float32(1.5))
    before = {name: x.data.copy() for name, x in tree.state_dict().items()}
    with pytest.raises(RuntimeError) as error:
        tree.load_state_dict(state)
    text = str(error.value)
    assert "does not fit Tree, nothing was changed" in text
    assert "missing in the state (2): scale, left.count" in text
    assert "unexpected in the state (1): left.gain" in text
    assert "left.weight: shape (2, 1) in the state, (2,) here" in text
    assert "right.0.bias: shape (5,) in the state, (2,) here" in text
    assert "right.0.count: dtype float32 in the state, int64 here" in text
    for name, x in tree.state_dict().items():
        np.testing.assert_array_equal(x.data, before[name])


def test_loading_without_strictness_takes_what_fits_but_no_other_shapes():
    tree = Tree()
    partial = {"left.weight": np.full(2, 9.0), "other": np.ones(1)}
    result = tree.load_state_dict(partial, strict=False)
    assert result.unexpected_keys == ["other"]
    assert "scale" in result.missing_keys
    assert "left.weight" not in result.missing_keys
    np.testing.assert_array_equal(tree.left.weight.data, np.float32([9, 9]))
    with pytest.raises(RuntimeError, match=r"left.weight: shape \(3,\)"):
        tree.load_state_dict({"left.weight": np.ones(3)}, strict=False)


def test_values_are_cast_to_the_dtype_that_is_here():
    tree = Tree()
    state = {name: x.data.astype(np.float64) for name, x in tree.state_dict().items()}
    for name in ("left.count", "right.0.count"):
        state[name] = np.int32(4)
    tree.load_state_dict(state)
    assert tree.left.weight.dtype == np.float32
    assert tree.left.count.dtype == np.int64
    assert tree.left.count.item() == 4


def test_a_prefix_of_all_paths_is_pointed_out():
    tree = Tree()
    state = {f"module.{name}": x for name, x in tree.state_dict().items()}
    with pytest.raises(RuntimeError, match=r"once the prefix 'module\.' is taken off"):
        tree.load_state_dict(state)


def test_loading_keeps_the_arrays_and_raises_the_versions():
    tree = Tree()
    array, version = tree.scale.data, tree.scale._version[0]
    tree.load_state_dict(tree.state_dict())
    assert tree.scale.data is array
    assert tree.scale._version[0] == version + 1


def test_torchs_state_loads_as_it_is():
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    ours = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    ours.load_state_dict(theirs.state_dict())
    for name, x in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name].data, x.numpy())
    # and back
    back = {name: torch.tensor(x.data) for name, x in ours.state_dict().items()}
    theirs.load_state_dict(back)


# -- modes, gradients, moves ----------------------------------------------------------------------


def test_modes_reach_all_modules():
    tree = Tree()
    assert all(m.training for m in tree.modules())
    assert tree.eval() is tree
    assert not any(m.training for m in tree.modules())
    tree.left.train()
    assert tree.left.training
    assert not tree.training
    with pytest.raises(ValueError, match="True or False"):
        tree.train("yes")


def test_frozen_parameters_get_no_gradient():
    tree = Tree()
    tree.left.requires_grad_(False)
    y = tree(Tensor(np.ones(2, np.float32)))
    y.backward(Tensor(np.ones(2, np.float32)))
    assert tree.left.weight.grad is None
    assert tree.right[0].weight.grad is not None
    tree.zero_grad(set_to_none=False)
    assert not tree.right[0].weight.grad.data.any()
    assert tree.left.weight.grad is None
    tree.zero_grad()
    assert tree.right[0].weight.grad is None


def test_apply_reaches_children_before_parents():
    seen = []
    tree = Tree()
    assert tree.apply(lambda m: seen.append(type(m).__name__)) is tree
    assert seen == ["Leaf", "Leaf", "Identity", "Sequential", "Tree"]


def test_casts_change_floats_only_and_take_gradients_along():
    tree = Tree()
    tree(Tensor(np.ones(2, np.float32))).backward(Tensor(np.ones(2, np.float32)))
    assert tree.double() is tree
    assert {x.dtype for x in tree.parameters()} == {np.dtype(np.float64)}
    assert tree.left.mean.dtype == np.float64
    assert tree.left.count.dtype == np.int64
    assert tree.scale.grad.dtype == np.float64
    assert tree.half().scale.dtype == np.float16
    assert tree.float().scale.dtype == np.float32
    assert tree.to(Tensor(np.ones(1))).scale.dtype == np.float64
    assert tree.to(dtype=np.float32).scale.dtype == np.float32
    with pytest.raises(TypeError, match="floating-point dtype, not to int64"):
        tree.to(np.int64)


def test_a_module_moves_with_everything_it_has():
    tree = Tree()
    assert tree.to("strict") is tree
    assert {str(x.device) for x in [*tree.parameters(), *tree.buffers()]} == {"strict"}
    tree.to("cpu", np.float64)
    assert {str(x.device) for x in [*tree.parameters(), *tree.buffers()]} == {"cpu"}
    assert tree.scale.dtype == np.float64
    array = tree.scale.data
    assert tree.cpu().scale.data is array


def test_a_shared_parameter_stays_shared_after_a_move():
    tree = Tree()
    tree.right[0].weight = tree.left.weight
    tree.double()
    assert tree.right[0].weight is tree.left.weight
    assert tree.left.weight.dtype == np.float64


# -- hooks ----------------------------------------------------------------------------------------


def test_forward_hooks_see_and_may_change_arguments_and_output():
    leaf = Leaf()
    seen = []
    first = leaf.register_forward_pre_hook(lambda m, args: seen.append(args[0].item()))
    second = leaf.register_forward_pre_hook(lambda m, args: (args[0] + 1.0,))
    third = leaf.register_forward_hook(lambda m, args, out: out * 10.0)
    assert leaf(Tensor(np.float32(1.0))).tolist() == [20.0, 20.0]
    assert seen == [1.0]
    for handle in (first, second, third):
        handle.remove()
    assert leaf(Tensor(np.float32(1.0))).tolist() == [1.0, 1.0]
    with leaf.register_forward_hook(lambda m, args, out: None):
        assert leaf(Tensor(np.float32(1.0))).tolist() == [1.0, 1.0]
    assert not leaf._forward_hooks


class TwoInTwoOut(nn.Module):
    def forward(self, a, b, factor=1.0):
        return a * b * factor, a + b


def backward_run(library, module, tensor):
    seen = []

    def hook(m, grad_input, grad_output):
        def listed(gs):
            return [None if g is None else np.asarray(g.tolist()) for g in gs]

        seen.append((listed(grad_input), listed(grad_output)))

    module.register_full_backward_hook(hook)
    x = tensor([1.0, 2.0], True)
    y = tensor([3.0, 5.0], False)
    product, total = module(x * 2.0, y)
    (product * product + total * 3.0).sum().backward()
    return seen, np.asarray(x.grad.tolist())


def test_backward_hooks_get_what_torchs_get():
    torch = pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")

    class Twin(torch.nn.Module):
        forward = TwoInTwoOut.forward

    ours = backward_run(
        nn, TwoInTwoOut(), lambda v, g: Tensor(np.array(v, np.float32), requires_grad=g)
    )
    theirs = backward_run(torch, Twin(), lambda v, g: torch.tensor(v, requires_grad=g))
    np.testing.assert_allclose(ours[1], theirs[1])
    for mine, other in zip(ours[0][0], theirs[0][0], strict=True):
        for a, b in zip(mine, other, strict=True):
            # For an input that requires no gradient torch gives zeros, not None.
            np.testing.assert_allclose(np.zeros(2) if a is None else a, b)


def test_a_backward_hook_may_replace_the_gradient_of_the_input():
    leaf = Leaf()
    handle = leaf.register_full_backward_hook(lambda m, gi, go: (gi[0] * 100.0,))
    x = Tensor(np.ones(2, np.float32), requires_grad=True)
    leaf(x).sum().backward()
    assert x.grad.tolist() == [100.0, 100.0]
    assert leaf.weight.grad.tolist() == [1.0, 1.0]
    handle.remove()
    x.grad = None
    leaf(x).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_a_backward_hook_runs_where_no_input_requires_a_gradient():
    leaf = Leaf()
    seen = []
    leaf.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go[0].tolist())))
    leaf(Tensor(np.ones(2, np.float32))).sum().backward()
    assert seen == [((None,), [1.0, 1.0])]
    with no_grad():
        leaf(Tensor(np.ones(2, np.float32)))


def test_gradients_through_a_hooked_module_can_be_differentiated_again():
    from minidl import grad

    leaf = Leaf()
    leaf.register_full_backward_hook(lambda m, gi, go: None)
    x = Tensor(np.array([1.0, 2.0], np.float32), requires_grad=True)
    y = leaf(x * x)
    (first,) = grad(y.sum(), x, create_graph=True)
    (second,) = grad(first.sum(), x)
    assert second.tolist() == [2.0, 2.0]


# -- copies and text ------------------------------------------------------------------------------


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_has_its_own_tensors_and_keeps_sharing(clone):
    tree = Tree()
    tree.right[0].weight = tree.left.weight
    tree.left.eval()
    other = clone(tree)
    assert list(other.state_dict()) == STATE
    assert other.right[0].weight is other.left.weight
    assert isinstance(other.left.weight, nn.Parameter)
    assert not other.left.training
    other.left.weight.data += np.float32(1)
    assert tree.left.weight.tolist() == [1.0, 1.0]
    assert other(Tensor(np.ones(2, np.float32))).shape == (2,)
    assert "scratch" not in other.left.state_dict()


def test_text_shows_the_tree():
    assert repr(Leaf()) == "Leaf()"
    assert repr(Tree()) == (
        "Tree(\n  (left): Leaf()\n  (right): Sequential(\n    (0): Leaf()\n"
        "    (1): Identity()\n  )\n)"
    )


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match=r"Module.forward is not written"):
        nn.Module()(1)
