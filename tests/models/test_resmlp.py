"""ResMLP."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from minidl.models.classification.resmlp import Affine, ResMLP


def test_the_deepest_has_its_number_of_parameters():
    with nn.init.skip_init():
        count = sum(p.numel() for p in models.resmlp_s36().parameters())
    assert count == 44_690_488  # "45 M", table 1


@pytest.mark.parametrize(("name", "published"), [("resmlp_s12", 3.0e9), ("resmlp_s24", 6.0e9)])
def test_multiply_adds_are_those_of_table_1(name, published):
    with nn.init.skip_init():
        found = md.summary(getattr(models, name)(), (1, 3, 224, 224)).multiply_adds
    assert found == pytest.approx(published, rel=0.02)


def test_affine_is_the_identity_at_first_and_belongs_to_channels():
    affine = Affine(3)
    x = md.randn(2, 4, 3)
    np.testing.assert_array_equal(affine(x).data, x.data)
    affine.alpha.data[...] = [[[1, 2, 3]]]
    affine.beta.data[...] = [[[0, 1, 0]]]
    np.testing.assert_allclose(affine(x).data, x.data * [1, 2, 3] + [0, 1, 0], rtol=1e-6)


def test_a_new_layer_is_close_to_the_identity():
    net = ResMLP(3, 2, 8, 1e-4, 4, 8)
    tokens = net.stem(md.randn(2, 3, 8, 8))
    assert np.abs(net.blocks(tokens).data - tokens.data).max() < 1e-2


def test_there_is_no_normalisation_by_statistics():
    assert not any("Norm" in type(m).__name__ for m in ResMLP(3, 1, 8, 1.0, 4, 8).modules())
