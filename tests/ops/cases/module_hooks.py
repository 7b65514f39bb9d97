"""The gate that module hooks put round a module: the identity."""

from minidl import nn

from ..case import Case


class Scaled(nn.Module):
    def forward(self, a, b):
        return a * b, a * a


def hooked(a, b):
    """Two tensors through a module with a backward hook."""
    module = Scaled()
    module.register_full_backward_hook(lambda m, grad_input, grad_output: None)
    return module(a, b)


CASES = [
    Case(
        name="a module with a backward hook",
        function=hooked,
        inputs=lambda rng: (rng.normal(size=(2, 3)), rng.normal(size=(2, 3))),
        oracle=lambda a, b: (a * b, a * a),
        torch=lambda torch, a, b: (a * b, a * a),
    )
]
