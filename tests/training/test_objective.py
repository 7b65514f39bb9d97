"""What a batch costs: by a criterion, or by the model's own losses."""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.training import AuxiliaryLoss
from minidl.training.batches import Batch
from minidl.training.objective import brings_losses, losses_of


class Own(nn.Module):
    """Losses of its own."""

    def __init__(self, made):
        super().__init__()
        self.made = made

    def losses(self, *inputs, **named):
        return self.made(*inputs, **named)


def batch(*parts):
    return Batch.of(parts, "cpu")


def test_a_criterion_is_given_output_and_target():
    x, y = md.randn(3, 4), md.tensor(np.array([0, 1, 1]))
    model = nn.Linear(4, 2)
    losses, output = losses_of(model, nn.CrossEntropyLoss(), batch(x, y))
    assert np.array_equal(output.data, model(x).data)
    assert list(losses) == ["loss"]
    assert losses["loss"].item() == nn.CrossEntropyLoss()(output, y).item()


def test_several_outputs_need_a_criterion_that_takes_them():
    class Two(nn.Module):
        def forward(self, x):
            return x, x

    x, y = md.randn(3, 4), md.tensor(np.array([0, 1, 1]))
    with pytest.raises(ValueError, match="AuxiliaryLoss"):
        losses_of(Two(), nn.CrossEntropyLoss(), batch(x, y))
    losses, _ = losses_of(Two(), AuxiliaryLoss(nn.CrossEntropyLoss(), 0.5), batch(x, y))
    assert losses["loss"].item() == pytest.approx(1.5 * nn.CrossEntropyLoss()(x, y).item())


def test_of_own_losses_the_sum_is_minimised():
    x, y = md.randn(3), md.randn(3)
    w = md.tensor(2.0, requires_grad=True)
    model = Own(lambda x, y: {"square": (w * x).sum(), "linear": (w * y).sum()})
    losses, output = losses_of(model, None, batch(x, y))
    assert output is None
    assert set(losses) == {"loss", "square", "linear"}
    losses["loss"].backward()
    assert w.grad.item() == pytest.approx(float(x.data.sum() + y.data.sum()), rel=1e-5)


def test_own_losses_are_given_all_inputs_and_the_target_last():
    seen = []
    model = Own(lambda *a, **k: seen.append((a, k)) or {"one": md.tensor(1.0)})
    losses_of(model, None, batch(md.tensor(1.0), md.tensor(2.0), md.tensor(3.0)))
    losses_of(model, None, Batch.of({"a": md.tensor(1.0), "target": md.tensor(3.0)}, "cpu"))
    assert [t.item() for t in seen[0][0]] == [1.0, 2.0, 3.0]
    assert [t.item() for t in seen[1][0]] == [3.0]
    assert list(seen[1][1]) == ["a"]


@pytest.mark.parametrize("made", [{}, None, 1.0])
def test_losses_without_names_are_refused(made):
    with pytest.raises(TypeError, match=r"Own\.losses must return a dictionary"):
        losses_of(Own(lambda *_: made), None, batch(md.tensor(1.0), md.tensor(2.0)))


def test_who_brings_losses_is_known():
    assert brings_losses(Own(dict))
    assert not brings_losses(nn.Linear(2, 2))
