"""The public face: what `import minidl` brings, how long it takes, that the names are torch's."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from minidl.optim import lr_scheduler

F = nn.functional
HEAVY = ("matplotlib", "cupy", "torch", "PIL", "tqdm", "safetensors", "pandas", "scipy")


def in_a_fresh_process(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


# -- importing ------------------------------------------------------------------------------------


def test_importing_minidl_imports_nothing_heavy():
    program = f"import sys, minidl; print([m for m in {HEAVY} if m in sys.modules])"
    assert in_a_fresh_process(program) == "[]"


def test_importing_every_room_but_plot_imports_nothing_heavy():
    rooms = ("data", "explain", "metrics", "models", "training")
    program = f"import sys, minidl; [getattr(minidl, r) for r in {rooms}];"
    program += f"print([m for m in {HEAVY} if m in sys.modules])"
    assert in_a_fresh_process(program) == "[]"


def test_importing_minidl_takes_less_than_a_quarter_of_a_second_beyond_numpy():
    # Processor time, so that other processes do not count; the best of several.
    program = "import numpy, time; t = time.process_time(); import minidl; "
    program += "print(time.process_time() - t)"
    seconds = [float(in_a_fresh_process(program)) for _ in range(3)]
    assert min(seconds) < 0.25, seconds


def test_importing_starts_no_thread_and_leaves_numpys_warnings_on():
    program = "import threading, numpy as np; before = np.geterr(); import minidl; "
    program += "print(threading.active_count(), np.geterr() == before)"
    assert in_a_fresh_process(program) == "1 True"


def test_rooms_come_when_they_are_asked_for():
    program = "import sys, minidl; before = 'minidl.data' in sys.modules; "
    program += "minidl.data.DataLoader; print(before, 'minidl.data' in sys.modules)"
    assert in_a_fresh_process(program) == "False True"
    with pytest.raises(AttributeError, match="'minidl' has no attribute 'dtaa'"):
        md.dtaa  # noqa: B018


# -- names ----------------------------------------------------------------------------------------

PROMISED = {
    *("tensor", "Tensor", "Function", "no_grad", "grad", "gradcheck", "gradgradcheck"),
    *("manual_seed", "use", "summary", "profile", "record", "detect_anomaly", "save", "load"),
    *("nn", "optim", "data", "models", "metrics", "io", "training", "autograd", "cuda", "device"),
    *("explain", "plot"),
    *("set_num_threads", "get_num_threads", "from_numpy", "as_tensor", "from_dlpack"),
    *("zeros", "ones", "full", "arange", "randn", "add", "exp", "matmul", "cat", "stack", "where"),
    *("max", "sum", "einsum", "topk", "float16", "float32", "float64"),
    *("int8", "int16", "int32", "int64", "uint8", "bool"),
}


def test_promised_names_are_there():
    missing = [name for name in PROMISED if not hasattr(md, name) or name not in md.__all__]
    assert not missing
    assert [name for name in md.__all__ if not hasattr(md, name)] == []
    assert len(set(md.__all__)) == len(md.__all__)
    assert callable(md.summary), "the function, not the module minidl.nn.summary"


def test_paths_that_torchs_scripts_use_lead_somewhere():
    assert md.autograd.Function is md.Function
    assert md.nn.utils.clip_grad_norm_
    assert md.nn.init.kaiming_normal_
    assert md.nn.functional.relu
    assert md.nn.Parameter
    assert md.optim.lr_scheduler.StepLR
    assert md.data.DataLoader
    assert md.cuda.is_available() in (True, False)
    assert str(md.device("cpu")) == "cpu"


def test_dtype_names_are_numpys_dtypes():
    for name in ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8"):
        dtype = getattr(md, name)
        assert isinstance(dtype, np.dtype)
        assert dtype == np.dtype(name)
        assert md.zeros(2, dtype=dtype).dtype == dtype
        assert md.ones(2).to(dtype).dtype == dtype
    assert md.bool == np.dtype(bool)
    others = {"half": "float16", "float": "float32", "double": "float64"}
    others |= {"short": "int16", "int": "int32", "long": "int64"}
    for name, same in others.items():
        assert getattr(md, name) is getattr(md, same)


def test_as_tensor_and_from_numpy_share_memory():
    array = np.zeros(3)
    for x in (md.from_numpy(array), md.as_tensor(array)):
        assert x.data.base is array or x.data is array
        assert x.dtype == md.float64
    x = md.ones(2, requires_grad=True)
    assert md.as_tensor(x) is x
    assert (x * 1.0).grad_fn is not None
    assert md.as_tensor(x * 1.0, dtype=md.float64).grad_fn is not None
    assert md.as_tensor([1.0, 2.0]).dtype == md.float32
    assert md.is_tensor(x)
    assert not md.is_tensor(array)
    with pytest.raises(TypeError, match=r"from_numpy: expected a numpy\.ndarray"):
        md.from_numpy([1.0])


OPS = [
    *("arithmetic", "comparison", "creation", "elementwise", "indexing", "matmul", "reduction"),
    *("selection", "shape"),
]


def torch_or_skip():
    return pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")


def test_every_operation_that_torch_has_at_its_top_level_is_at_minidls():
    torch = torch_or_skip()
    missing = []
    for module in OPS:
        names = importlib.import_module(f"minidl.ops.{module}").__all__
        missing += [n for n in names if hasattr(torch, n) and n not in md.__all__]
    assert not missing


# minidl's own, beside torch's.
OWN_TOP_LEVEL = {
    *("Function", "data", "default_device", "detect_anomaly", "from_dlpack", "grad", "gradcheck"),
    *("gradgradcheck", "io", "metrics", "models", "ops", "plot", "profile", "record", "summary"),
    *(
        "boxes",
        "masks",
        "teach",
    ),
    *("training", "use", "backend", "explain"),
}
OWN_FUNCTIONS = {
    *("batch_norm_relu", "global_avg_pool2d", "global_max_pool2d", "stochastic_depth"),
    *("sigmoid_focal_loss", "unpool_nails", "unpool_nearest"),
    *("dice_loss", "generalized_dice_loss", "sigmoid_cross_entropy"),
    *("roi_align", "roi_pool", "ps_roi_pool"),
    *("box_iou_loss", "generalized_box_iou_loss", "distance_box_iou_loss"),
}
OWN_LAYERS = {"FrozenBatchNorm2d", "StochasticDepth", "SigmoidFocalLoss", "summary", "utils"}
OWN_LAYERS |= {"DiceLoss", "GeneralizedDiceLoss", "SigmoidCrossEntropyLoss"}
OWN_LAYERS |= {"RoIAlign", "RoIPool", "PSRoIPool", "MultiScaleRoIAlign"}
OWN_UTILS = {"blocks", "fine_tune", "fold_batchnorm", "freeze", "unfreeze"}
OWN_INITIALISERS = {"skip_init"}
OWN_OPTIMISERS = {"EMA", "LARS"}


def test_names_that_are_not_torchs_are_known_to_be_minidls_own():
    torch = torch_or_skip()
    for ours, theirs, own in [
        (md, torch, OWN_TOP_LEVEL),
        (F, torch.nn.functional, OWN_FUNCTIONS),
        (nn, torch.nn, OWN_LAYERS),
        (nn.init, torch.nn.init, OWN_INITIALISERS),
        (nn.utils, torch.nn.utils, OWN_UTILS),
        (optim, torch.optim, OWN_OPTIMISERS),
        (lr_scheduler, torch.optim.lr_scheduler, set()),
    ]:
        strange = {name for name in ours.__all__ if not hasattr(theirs, name)} - own
        assert not strange, f"{ours.__name__}: {sorted(strange)}"


# -- arguments ------------------------------------------------------------------------------------

# torch's arguments that minidl does not have, wherever they stand: deprecated, or of torch's own
# machinery.
DROPPED = {
    *("size_average", "reduce", "_stacklevel", "foreach", "fused", "capturable", "differentiable"),
    *("decoupled_weight_decay", "_random_samples", "out", "verbose", "layout", "pin_memory"),
}
# Those it does not have where they come last.
LACKING = {
    "huber_loss": ["weight"],
    "l1_loss": ["weight"],
    "mse_loss": ["weight"],
    "Hardtanh": ["min_value", "max_value"],
    "SequentialLR": ["last_epoch"],
    **{
        f"{kind}_{law}_": ["generator"]
        for kind in ("kaiming", "xavier")
        for law in ("normal", "uniform")
    },
    **{f"{law}_": ["generator"] for law in ("normal", "uniform", "trunc_normal", "orthogonal")},
}


def parameters(function):
    """(name, default) of each argument; None if the function does not tell."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_POSITIONAL or p.kind is p.VAR_KEYWORD for p in found):
        return None
    return [(p.name, p.default) for p in found if p.name not in DROPPED]


def differing(name, ours, theirs):
    """What distinguishes two signatures, or None: minidl's may have more arguments at the end."""
    mine, expected = parameters(ours), parameters(theirs)
    if mine is None or expected is None:
        return None
    lacking = LACKING.get(name, [])
    if lacking:
        assert [n for n, _ in expected[-len(lacking) :]] == lacking, f"{name} has them now?"
        expected = expected[: -len(lacking)]
    if [n for n, _ in mine[: len(expected)]] != [n for n, _ in expected]:
        return f"{[n for n, _ in mine]}, torch has {[n for n, _ in expected]}"
    for (argument, a), (_, b) in zip(mine, expected, strict=False):
        if a != b and not (a == () and b is None):
            return f"{argument}={a}, torch has {b}"
    return None


def test_functions_have_torchs_arguments_in_torchs_order_with_torchs_defaults():
    torch = torch_or_skip()
    found = {}
    for name in sorted(set(F.__all__) - OWN_FUNCTIONS):
        found[name] = differing(name, getattr(F, name), getattr(torch.nn.functional, name))
    for name in sorted(set(nn.init.__all__) - OWN_INITIALISERS):
        found[name] = differing(name, getattr(nn.init, name), getattr(torch.nn.init, name))
    found = {name: text for name, text in found.items() if text}
    assert not found, "\n".join(f"{name}: {text}" for name, text in found.items())


def test_classes_are_constructed_with_torchs_arguments():
    torch = torch_or_skip()
    found = {}
    for ours, theirs, own in [
        (nn, torch.nn, OWN_LAYERS),
        (optim, torch.optim, OWN_OPTIMISERS),
        (lr_scheduler, torch.optim.lr_scheduler, set()),
    ]:
        for name in ours.__all__:
            if name in own or not inspect.isclass(getattr(ours, name)):
                continue
            mine, other = getattr(ours, name).__init__, getattr(theirs, name).__init__
            found[f"{ours.__name__}.{name}"] = differing(name, mine, other)
    found = {name: text for name, text in found.items() if text}
    assert not found, "\n".join(f"{name}: {text}" for name, text in found.items())
