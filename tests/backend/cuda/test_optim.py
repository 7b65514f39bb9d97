"""The GPU's update rules, executed on the CPU against the plain ones, over several steps."""

import itertools

import numpy as np

from .common import PLAIN, assert_all_near, each_way, needs_compiler

pytestmark = needs_compiler

FLAGS = [False, True]


def compare(backend, rng, dtype, rtol, method, states, steps=2, **options):
    """Both updates on equal arrays; `states`: for each state array whether the rule has it."""
    size = int(rng.integers(60, 700))
    arrays = [rng.standard_normal(size), *(rng.random(size) for _ in states)]
    mine = [a.astype(dtype) for a in arrays]
    theirs = [a.copy() for a in mine]
    for step in range(1, steps + 1):
        grad = rng.standard_normal(size).astype(dtype)
        for who, (param, *rest) in ((backend, mine), (PLAIN, theirs)):
            kept = [state if has else None for state, has in zip(rest, states, strict=True)]
            varying = {"first": step == 1} if method == "sgd_step" else {}
            varying |= {"step": step} if method == "adam_step" else {}
            where = [[slice(3, 20), slice(20, 50)]] if method == "lars_step" else []
            getattr(who, method)(param, grad.copy(), *kept, *where, **options, **varying)
    assert_all_near(mine, theirs, rtol)


def check_sgd(backend, rng, dtype, rtol):
    for nesterov, maximize in itertools.product(FLAGS, FLAGS):
        options = {"lr": 0.1, "momentum": 0.9, "maximize": maximize, "weight_decay": 1e-2}
        options |= {"nesterov": nesterov, "dampening": 0.0 if nesterov else 0.2}
        compare(backend, rng, dtype, rtol, "sgd_step", [True], **options)
    options |= {"nesterov": False}
    compare(backend, rng, dtype, rtol, "sgd_step", [False], **options)


def check_adam(backend, rng, dtype, rtol):
    for decoupled, amsgrad in itertools.product(FLAGS, FLAGS):
        options = {"lr": 1e-2, "betas": (0.9, 0.99), "weight_decay": 0.1, "maximize": amsgrad}
        options |= {"eps": 1e-3, "decoupled": decoupled}
        compare(backend, rng, dtype, rtol, "adam_step", [True, True, amsgrad], **options)


def check_rmsprop(backend, rng, dtype, rtol):
    for centered, momentum in itertools.product(FLAGS, FLAGS):
        options = {"lr": 1e-2, "alpha": 0.9, "eps": 1e-2, "weight_decay": 0.1, "momentum": 0.8}
        states = [True, False, momentum]
        if centered:  # started apart from the mean's square, so that the difference has digits
            states[1] = True
            options["alpha"] = 0.5
        compare(
            backend, rng, dtype, 10 * rtol, "rmsprop_step", states, **options, maximize=centered
        )


def check_lars(backend, rng, dtype, rtol):
    for nesterov in FLAGS:
        options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-2, "trust_coefficient": 0.1}
        options |= {"eps": 1e-6, "nesterov": nesterov, "maximize": nesterov}
        compare(backend, rng, dtype, rtol, "lars_step", [True], **options)


def check(backend, rng, dtype, rtol):
    for one in (check_sgd, check_adam, check_rmsprop, check_lars):
        one(backend, rng, dtype, rtol)


def test_sgd_equals_the_plain_kernel():
    each_way(check_sgd, seeds=3)


def test_adam_equals_the_plain_kernel():
    each_way(check_adam, seeds=3)


def test_rmsprop_equals_the_plain_kernel():
    each_way(check_rmsprop, seeds=3)


def test_lars_equals_the_plain_kernel():
    each_way(check_lars, seeds=3)


def test_lars_leaves_a_layer_of_zeros_the_global_rate():
    from .common import BACKENDS

    options = {"lr": 1.0, "momentum": 0.0, "weight_decay": 0.0, "trust_coefficient": 0.5}
    options |= {"eps": 0.0, "nesterov": False, "maximize": False}
    param, grad = np.array([0.0, 0, 3, 4, 1]), np.array([1.0, 2, 0, 0, 7])
    layers = [slice(0, 2), slice(2, 4)]
    BACKENDS[0].lars_step(param, grad, np.zeros(5), layers, **options)
    assert param.tolist() == [-1, -2, 3, 4, -6]
