"""Matrix products: random shapes against torch and NumPy, errors, half precision."""

import numpy as np
import pytest

import minidl as md
from minidl.autograd import listen
from minidl.ops import matmul


def reference():
    return pytest.importorskip("torch", reason="parity needs the extra `reference`")


def same(function, theirs_too, *arrays):
    torch = reference()
    inputs = [md.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    out, expected = function(*inputs), theirs_too(torch, *theirs)
    assert out.shape == tuple(expected.shape)
    np.testing.assert_allclose(
        out.detach().numpy(), expected.detach().numpy(), rtol=1e-10, atol=1e-12
    )
    u = np.random.default_rng(0).standard_normal(out.shape)
    out.backward(md.tensor(u))
    expected.backward(torch.tensor(u))
    for x, t in zip(inputs, theirs, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("seed", range(100))
def test_matmul_of_random_shapes_is_torchs(seed):
    rng = np.random.default_rng(seed)
    m, k, n = rng.integers(0, 5, 3)
    lead = rng.integers(1, 4, int(rng.integers(0, 3)))
    shapes = []
    for matrix in ((m, k), (k, n)):
        if rng.random() < 0.25:
            shapes.append((k,))
            continue
        own = [1 if rng.random() < 0.3 else size for size in lead]
        shapes.append((*own[int(rng.integers(0, len(own) + 1)) :], *matrix))
    a, b = (rng.standard_normal(shape) for shape in shapes)
    same(lambda x, y: x @ y, lambda torch, x, y: x @ y, a, b)


@pytest.mark.parametrize("seed", range(30))
def test_linear_of_random_shapes_is_torchs(seed):
    rng = np.random.default_rng(seed)
    features, out = rng.integers(1, 6, 2)
    x = rng.standard_normal((*rng.integers(0, 4, int(rng.integers(0, 3))), features))
    parameters = [rng.standard_normal((out, features)), rng.standard_normal(out)]
    parameters = parameters[: int(rng.integers(1, 3))]
    same(
        matmul.linear,
        lambda torch, *arrays: torch.nn.functional.linear(*arrays),
        x,
        *parameters,
    )


@pytest.mark.parametrize("seed", range(150))
def test_einsum_of_random_equations_is_torchs(seed):
    rng = np.random.default_rng(seed)
    letters = list("abcdE")
    sizes = {c: int(rng.integers(1, 4)) for c in letters}
    terms, arrays = [], []
    hidden = rng.integers(1, 3, 2).tolist()
    for _ in range(int(rng.integers(1, 4))):
        chosen = rng.choice(letters, int(rng.integers(0, 4)), replace=bool(rng.random() < 0.3))
        term = "".join(chosen)
        shape = [1 if rng.random() < 0.1 else sizes[c] for c in term]
        shape = [shape[term.index(c)] for c in term]  # the same for a letter that occurs twice
        if rng.random() < 0.3:
            at = int(rng.integers(0, len(term) + 1))
            under = hidden[int(rng.integers(0, 3)) :]
            term, shape = term[:at] + "..." + term[at:], shape[:at] + under + shape[at:]
        terms.append(term)
        arrays.append(rng.standard_normal(shape))
    equation = ",".join(terms)
    if rng.random() < 0.7:
        present = sorted({c for c in equation if c in letters})
        result = rng.permutation(present)[: int(rng.integers(0, len(present) + 1))].tolist()
        if "..." in equation:
            result.insert(int(rng.integers(0, len(result) + 1)), "...")
        equation += "->" + "".join(result)
    same(
        lambda *x: matmul.einsum(equation, *x),
        lambda torch, *x: torch.einsum(equation, *x),
        *arrays,
    )


@pytest.mark.parametrize(
    ("equation", "shapes", "words"),
    [
        ("ij,jk->ik", [(2, 3)], "has 2 terms, not 1"),
        ("ij->i", [(2, 3, 4)], "names 2 dimensions"),
        ("ijk->i", [(2, 3)], "names 3 dimensions"),
        ("i...->i", [()], "names 1 dimensions"),
        ("ij,jk->ik", [(2, 3), (4, 5)], "'j' .* lengths 3 and 4"),
        ("ii->i", [(2, 3)], "lengths 2 and 3"),
        ("ii->i", [(1, 3)], "lengths 1 and 3"),
        ("ij->ii", [(2, 2)], "names 'i', which must occur in an operand, and once"),
        ("ij->ik", [(2, 2)], "names 'k'"),
        ("i1->i", [(2, 2)], "letters and one"),
        ("i......->i", [(2, 2)], "letters and one"),
        ("...i,...i->...", [(2, 3), (4, 3)], "lengths 2 and 4"),
    ],
)
def test_einsum_refuses_equations_that_do_not_fit(equation, shapes, words):
    with pytest.raises(ValueError, match=words):
        matmul.einsum(equation, *[md.tensor(np.ones(shape)) for shape in shapes])


def test_einsum_takes_lists_blanks_and_integers():
    a, b = md.tensor([[1, 2]], dtype=np.int32), md.tensor([[3], [4]], dtype=np.int32)
    product = matmul.einsum(" i j , j k -> i k ", [a, b])
    assert product.tolist() == [[11]]
    assert product.dtype == np.int32
    assert matmul.einsum("ij->", a).dtype == np.int32


def test_wrong_operands_are_errors_that_name_their_shapes():
    a, b = md.tensor(np.ones((2, 3))), md.tensor(np.ones((4, 5)))
    with pytest.raises(ValueError, match=r"matmul: shapes \(2, 3\) and \(4, 5\) do not fit"):
        a @ b
    with pytest.raises(ValueError, match=r"shapes \(2, 2, 3\) and \(3, 3, 4\)"):
        md.tensor(np.ones((2, 2, 3))) @ md.tensor(np.ones((3, 3, 4)))
    with pytest.raises(ValueError, match="need a dimension"):
        md.tensor([[1.0]]) @ 2.0
    with pytest.raises(TypeError, match="matmul: operands must have one dtype, got float64, float"):
        a @ md.tensor([[1.0], [2.0], [3.0]])
    with pytest.raises(ValueError, match="mm: expected two 2-d tensors"):
        matmul.mm(a[0], b)
    with pytest.raises(ValueError, match="bmm: batches differ"):
        matmul.bmm(md.tensor(np.ones((2, 1, 1))), md.tensor(np.ones((3, 1, 1))))
    with pytest.raises(ValueError, match="dot: expected two 1-d tensors"):
        matmul.dot(a, b)
    with pytest.raises(ValueError, match=r"dot: shapes \(3,\) and \(5,\) do not fit"):
        matmul.dot(a[0], b[0])
    with pytest.raises(ValueError, match=r"linear: input \(2, 3\) has 3 features .* expects 5"):
        matmul.linear(a, b)
    with pytest.raises(ValueError, match=r"linear: bias \(3,\) must be \(2,\)"):
        matmul.linear(a, a, a[0])
    with pytest.raises(TypeError, match="linear: operands must have one dtype"):
        matmul.linear(a, md.tensor([[1.0, 2.0, 3.0]]))
    with pytest.raises(ValueError, match=r"\(out_features, in_features\)"):
        matmul.linear(a, a[0])


def test_half_precision_products_are_rounded_once():
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((3, 200, 200)).astype(np.float16) for _ in range(2))
    exact = a.astype(np.float64) @ b.astype(np.float64)
    product = (md.tensor(a) @ md.tensor(b)).numpy()
    assert product.dtype == np.float16
    assert np.abs(product - exact).max() <= 2.0**-11 * np.abs(exact).max() * 1.01


def test_numpy_arrays_and_integers_multiply_too():
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    x = md.tensor(np.ones((3, 2), np.float32))
    assert np.array_equal((a @ x).numpy(), a @ np.ones((3, 2)))
    assert np.array_equal((x @ a).numpy(), np.ones((3, 2)) @ a)
    n = md.tensor([[1, 2], [3, 4]])
    assert (n @ n).tolist() == [[7, 10], [15, 22]]


def test_nothing_is_saved_or_computed_for_operands_without_gradient():
    x = md.tensor(np.ones((4, 3), np.float32))
    w = md.tensor(np.ones((2, 3), np.float32), requires_grad=True)
    out = matmul.linear(x, w)
    assert out.grad_fn.saved_bytes == x.nbytes
    products = []
    with listen(lambda event: products.append(event.op) if event.op == "MatMul" else None):
        out.backward(md.tensor(np.ones((4, 2), np.float32)))
    assert products == ["MatMul"]
