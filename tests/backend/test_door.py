"""The door to the array libraries: device names, `use`, "auto", and what happens without a GPU."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import minidl as md
from minidl import backend

from .. import strict_cupy

ROOT = pathlib.Path(__file__).resolve().parents[2]


def python(code, **environment):
    """What a fresh interpreter prints to (stdout, stderr); it must end well."""
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip(), run.stderr.strip()


def has_cupy():
    with contextlib.suppress(Exception):
        import cupy

        return cupy is not None
    return False


@pytest.fixture
def strict():
    """minidl on the stand-in for CuPy."""
    with md.use("strict"):
        yield backend.by_name("strict")


# Device names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "index"),
    [("cpu", "cpu", None), ("cuda", "cuda", None), ("cuda:0", "cuda", 0), ("cuda:12", "cuda", 12)],
)
def test_a_device_is_a_type_and_a_number(name, kind, index):
    device = md.device(name)
    assert (device.type, device.index) == (kind, index)
    assert str(device) == name
    assert repr(device) == f"device('{name}')"
    assert md.device(device) == device == name


@pytest.mark.parametrize(
    "name", ["", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cuda:1.0", "cuda 1", ":0", None, 0]
)
def test_an_unknown_device_is_an_error_that_lists_the_known_ones(name):
    with pytest.raises(ValueError, match=r"known are .*cpu, cuda"):
        md.device(name)
    with pytest.raises(ValueError, match="unknown device"):
        md.use(name)
    with pytest.raises(ValueError, match="unknown device"):
        md.Tensor(1.0, device=str(name))


def test_cuda_without_a_number_is_the_first_gpu():
    assert md.device("cuda") == md.device("cuda:0") == "cuda:0" == md.device("cuda")
    assert hash(md.device("cuda")) == hash(md.device("cuda:0"))
    assert md.device("cuda") != "cuda:1"
    assert md.device("cuda:1") != "cuda:10"
    assert md.device("cpu") != md.device("cuda")
    assert md.device("cpu") != 0
    assert {md.device("cuda"): 1}[md.device("cuda:0")] == 1


def test_there_is_one_cpu():
    with pytest.raises(ValueError, match="there is one cpu"):
        md.Tensor(1.0, device="cpu:1")


# From an array to its library --------------------------------------------------------------------


def test_the_backend_of_an_array_is_that_of_its_library(strict):
    assert backend.of(np.ones(2)) is backend.by_name("cpu")
    assert backend.of(np.float32(1)) is backend.by_name("cpu")
    assert backend.of(np.ma.ones(2)) is backend.by_name("cpu")
    assert backend.of(np.ones(2)).xp is np
    assert backend.of(strict_cupy.ones(2)) is strict
    assert strict.xp is strict_cupy
    for wrong in ([1.0], 1.0, None, md.Tensor([1.0])):
        with pytest.raises(TypeError, match=r"not an array of a known device.*minidl\.tensor"):
            backend.of(wrong)


def test_a_backend_is_made_once_and_at_the_first_use():
    made = []

    class Array:
        pass

    def make():
        made.append(1)
        return backend.Backend(), Array

    backend.register("toy", make)
    try:
        assert md.device("toy:1").type == "toy"
        assert not made
        assert backend.by_name("toy") is backend.by_name("toy:1") is backend.of(Array())
        assert made == [1]
    finally:  # the module, whose name in the package is that of the class
        tables = sys.modules["minidl.backend.device"]
        tables._MAKERS.pop("toy")
        tables._READY.pop("toy", None)
        tables._BY_ARRAY.pop(Array, None)


# The stand-in as a device ------------------------------------------------------------------------


def test_the_stand_in_is_a_device_like_any_other(strict):
    x = md.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert x.device == "strict"
    assert type(x.data) is strict_cupy.ndarray
    assert x.dtype == np.float32
    y = (x @ x + 1.0).sum()
    assert type(y.data) is strict_cupy.ndarray
    assert y.cpu().device == "cpu"
    assert y.item() == 58.0
    assert md.Tensor(np.ones(3), device="cpu").to("strict").device == "strict"
    with pytest.raises(TypeError, match=r"use \.cpu\(\)\.numpy\(\)"):
        x.numpy()
    with pytest.raises(TypeError):
        np.asarray(x)


def test_a_gradient_on_the_stand_in_needs_no_wait(strict):
    x = md.tensor([1.0, 2.0, 3.0], requires_grad=True)
    with strict_cupy.forbid_sync(explicit=True):
        (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad.cpu().numpy(), [2.0, 4.0, 6.0])


@pytest.mark.parametrize(
    "read", [float, int, bool, repr, lambda x: x.item(), lambda x: x.tolist(), lambda x: x.cpu()]
)
def test_reading_a_tensor_on_the_stand_in_is_a_wait(strict, read):
    x = md.tensor(2.0)
    with pytest.raises(strict_cupy.DeviceSynchronized), strict_cupy.forbid_sync():
        read(x)


def test_a_branch_on_a_loss_is_a_wait_that_names_its_line(strict):
    loss = md.tensor(2.0)

    def step():
        if loss > 1.0:  # the culprit
            pass

    with pytest.raises(strict_cupy.DeviceSynchronized) as caught, strict_cupy.forbid_sync():
        step()
    (sync,) = [sync for sync in strict_cupy.syncs if sync.kind == "wait"][-1:]
    place = f"{pathlib.Path(__file__).name}:{step.__code__.co_firstlineno + 1}"
    assert any(caller.endswith(place) for caller in (sync.where, *sync.callers))
    assert place in str(caught.value)


# use ---------------------------------------------------------------------------------------------


def test_use_sets_the_device_of_new_tensors_and_with_gives_the_old_one_back():
    assert backend.default_device() == "cpu"
    with md.use("strict"):
        assert md.tensor(1.0).device == "strict"
        with md.use("cpu"):
            assert md.tensor(1.0).device == "cpu"
        assert md.tensor(1.0).device == "strict"
    assert md.tensor(1.0).device == "cpu"
    with contextlib.suppress(KeyError), md.use("strict"):
        raise KeyError
    assert backend.default_device() == "cpu"


def test_use_without_with_lasts():
    md.use("strict")
    assert backend.default_device() == "strict"
    md.use(md.device("cpu"))
    assert backend.default_device() == "cpu"


def test_a_refused_use_changes_nothing():
    with md.use("strict"):
        with pytest.raises(ValueError, match="unknown device"):
            md.use("tpu")
        with pytest.raises(ValueError, match="there is one cpu, not cpu:1"):
            md.use("cpu:1")
        assert backend.default_device() == "strict"


def test_leaving_a_block_gives_back_the_gpu_that_was_current(monkeypatch):
    class TwoGpus(backend.Backend):
        name, current = "pair", 0

        def current_device(self):
            return self.current

        def select(self, index):
            self.current = index or 0

    pair = TwoGpus()
    backend.register("pair", lambda: (pair, type("PairArray", (), {})))
    try:
        with md.use("pair:1"):
            assert pair.current == 1
            with md.use("cpu"):
                assert pair.current == 1
            with md.use("pair"):
                assert pair.current == 0
            assert pair.current == 1
        assert pair.current == 0
    finally:
        monkeypatch.delitem(backend.device.__init__.__globals__["_MAKERS"], "pair")


# No GPU, no CuPy ---------------------------------------------------------------------------------

ASK = """
    import json, sys, traceback, warnings
    warnings.simplefilter("error")
    {setup}
    import minidl as md
    result = {{"available": md.cuda.is_available(), "count": md.cuda.device_count()}}
    for name, call in {{
        "use": lambda: md.use("cuda"),
        "use:1": lambda: md.use("cuda:1"),
        "tensor": lambda: md.tensor([1.0], device="cuda"),
        "to": lambda: md.tensor([1.0]).to("cuda"),
        "cuda": lambda: md.tensor([1.0]).cuda(),
    }}.items():
        try:
            call()
            result[name] = "accepted"
        except Exception as error:
            result[name] = [type(error).__name__, str(error)]
    result["before"] = str(md.tensor([1.0]).device)
    md.use("auto")
    result["auto"] = str(md.tensor([1.0]).device)
    print(json.dumps(result))
"""

SETUPS = {
    "CuPy is not installed": (
        """
    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("cupy", "cupyx", "cupy_backends"):
                raise ModuleNotFoundError("No module named 'cupy'", name="cupy")
    sys.meta_path.insert(0, Blocker())
    """,
        "CuPy cannot be imported",
        "minidl[cuda",
    ),
    "CuPy's installation is broken": (
        """
    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "cupy":
                raise OSError("libcudart.so.12: cannot open shared object file")
    sys.meta_path.insert(0, Blocker())
    """,
        "libcudart.so.12",
        "minidl[cuda",
    ),
    "no GPU is visible": (
        """
    from tests import strict_cupy
    strict_cupy.cuda.runtime.getDeviceCount = lambda: 0
    sys.modules["cupy"] = strict_cupy
    """,
        "CUDA sees no device",
        "CUDA_VISIBLE_DEVICES",
    ),
    "the driver answers but cuBLAS is missing": (
        """
    from tests import strict_cupy
    def fail(self, other):
        raise ImportError("libcublas.so.12: cannot open shared object file")
    strict_cupy.ndarray.__matmul__ = fail
    sys.modules["cupy"] = strict_cupy
    """,
        "libcublas.so.12",
        "nvidia-smi",
    ),
}


def check_refusals(answer, *phrases):
    """Each way to ask for the GPU: one RuntimeError of one line, with the reason and a remedy."""
    assert (answer["available"], answer["count"]) == (False, 0)
    for name in ("use", "use:1", "tensor", "to", "cuda"):
        kind, text = answer[name]
        assert kind == "RuntimeError", (name, kind, text)
        assert text.startswith("device cuda cannot be used: "), text
        assert "\n" not in text
        for phrase in phrases:
            assert phrase in text, (name, text)
    assert (answer["before"], answer["auto"]) == ("cpu", "cpu")


@pytest.mark.parametrize(("setup", "reason", "remedy"), SETUPS.values(), ids=SETUPS)
def test_without_a_usable_gpu_every_way_to_ask_for_one_says_why(setup, reason, remedy):
    out, err = python(ASK.format(setup=setup))
    assert not err, "auto must be silent"
    check_refusals(json.loads(out), reason, remedy)


def test_without_a_driver_the_real_cupy_is_refused_in_the_same_way():
    if not has_cupy():
        pytest.skip("needs CuPy installed: pip install cupy-cuda12x or cupy-cuda13x")
    if md.cuda.is_available():
        pytest.skip("this machine has a driver")
    out, err = python(ASK.format(setup=""))
    assert not err, "auto must be silent"
    check_refusals(json.loads(out), "CUDARuntimeError", "nvidia-smi")


def test_where_a_gpu_answers_it_is_used_and_auto_finds_it():
    setup = "from tests import strict_cupy; sys.modules['cupy'] = strict_cupy"
    out, err = python(ASK.format(setup=setup))
    assert not err
    answer = json.loads(out)
    assert (answer["available"], answer["count"]) == (True, 1)
    assert [answer[name] for name in ("use", "tensor", "to", "cuda")] == ["accepted"] * 4
    kind, text = answer["use:1"]
    assert kind == "RuntimeError"
    assert "cuda:1 does not exist: CUDA sees 1 device" in text
    assert md.device(answer["before"]) == md.device(answer["auto"]) == "cuda"


@pytest.mark.gpu
def test_the_real_gpu_is_used():
    with md.use("auto"):
        x = md.tensor([1.0, 2.0])
        assert x.device == "cuda"
        assert (x * x).sum().item() == 5.0
    count = md.cuda.device_count()
    with pytest.raises(RuntimeError, match="does not exist"):
        md.use(f"cuda:{count}")


# What `import minidl` costs ----------------------------------------------------------------------


@pytest.mark.parametrize("library", ["matplotlib", "cupy", "torch", "PIL"])
def test_importing_minidl_does_not_import(library):
    out, _ = python(f"import sys, minidl; print({library!r} in sys.modules)")
    assert out == "False"
