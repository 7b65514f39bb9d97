"""Assignment 1: planted bugs, what students get wrong in an engine."""

from minidl.teach.assign import Bug

BUGS = [
    # Part 1
    Bug(
        "unbroadcast sums only the axes in front",
        cause="not summed to the input's shape",
        old="""    return grad.sum(axis=stretched, keepdims=True)
""",
        new="""    return grad
""",
    ),
    Bug(
        "unbroadcast drops the axes of length 1",
        cause="length-1 axes dropped",
        old="    return grad.sum(axis=stretched, keepdims=True)\n",
        new="    return grad.sum(axis=stretched)\n",
    ),
    Bug(
        "unbroadcast averages the copies",
        cause="mean instead of sum",
        old="    return grad.sum(axis=stretched, keepdims=True)\n",
        new="    grad = grad.mean(axis=stretched, keepdims=True)\n    return grad\n",
    ),
    Bug(
        "unbroadcast lines the shapes up at the front",
        cause="summed over the last axes instead of the first",
        old="    grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))\n",
        new="    grad = grad.sum(axis=tuple(range(len(shape), grad.ndim)))\n",
    ),
    Bug(
        "Add hands the broadcast gradient on as it is",
        cause="not summed to the input's shape",
        old="        return unbroadcast(grad, self.shapes[0]), unbroadcast(grad, self.shapes[1])\n",
        new="        return grad, grad\n",
    ),
    Bug(
        "Sub has the gradient of Add",
        cause="wrong sign",
        old="unbroadcast(grad, self.shapes[0]), -unbroadcast(grad, self.shapes[1])",
        new="unbroadcast(grad, self.shapes[0]), unbroadcast(grad, self.shapes[1]) * 1",
    ),
    Bug(
        "Mul's gradients swapped",
        cause="gradients in the wrong order",
        old="""            unbroadcast(grad * self.b, self.a.shape),
            unbroadcast(grad * self.a, self.b.shape),
""",
        new="""            unbroadcast(grad * self.a, self.a.shape),
            unbroadcast(grad * self.b, self.b.shape),
""",
    ),
    Bug(
        "Mul multiplies the given gradient in place",
        cause="input changed in place",
        old="""        return (
            unbroadcast(grad * self.b, self.a.shape),
            unbroadcast(grad * self.a, self.b.shape),
        )
""",
        new="""        of_b = unbroadcast(grad * self.a, self.b.shape)
        grad *= self.b
        return unbroadcast(grad, self.a.shape), of_b
""",
    ),
    Bug(
        "Mul forgets to add up for the second factor",
        cause="not summed to the input's shape",
        old="            unbroadcast(grad * self.a, self.b.shape),\n",
        new="            grad * self.a,\n",
    ),
    Bug(
        "Div divides by b once",
        cause="divided by b instead of its square",
        old="-grad * self.a / (self.b * self.b)",
        new="-grad * self.a / self.b",
    ),
    Bug(
        "Div without the minus",
        cause="wrong sign",
        old="-grad * self.a / (self.b * self.b)",
        new="grad * self.a / (self.b * self.b)",
    ),
    Bug(
        "Div by operator precedence: times b",
        cause="divided by b and multiplied by it",
        old="-grad * self.a / (self.b * self.b)",
        new="-grad * self.a / self.b * self.b",
    ),
    Bug(
        "Pow keeps the exponent",
        cause="exponent not lowered",
        old="grad * self.exponent * self.x ** (self.exponent - 1)",
        new="grad * self.exponent * self.x**self.exponent",
    ),
    Bug(
        "Pow without the factor",
        cause="factor of the exponent forgotten",
        old="grad * self.exponent * self.x ** (self.exponent - 1)",
        new="grad * self.x ** (self.exponent - 1)",
    ),
    Bug(
        "Exp multiplies by its input",
        cause="input in place of the result",
        old="        self.y = np.exp(x)\n        return self.y\n",
        new="        self.y = x\n        return np.exp(x)\n",
    ),
    Bug(
        "Exp without the chain rule",
        cause="cotangent ignored",
        old="        return (grad * self.y,)\n",
        new="        return (self.y,)\n",
    ),
    Bug(
        "Exp returns an array, not a tuple",
        cause="no tuple of gradients",
        old="        return (grad * self.y,)\n",
        new="        return grad * self.y\n",
    ),
    Bug(
        "Log of x plus a small number",
        cause="a small number added inside the logarithm",
        old="        return np.log(x)\n",
        new="        return np.log(x + 1e-7)\n",
    ),
    Bug(
        "ReLU passes the gradient at 0",
        cause="gradient at 0",
        old="        self.positive = x > 0\n",
        new="        self.positive = x >= 0\n",
    ),
    Bug(
        "ReLU cuts the gradient, not by its input",
        cause="masked by grad instead of x",
        old="        return (grad * self.positive,)\n",
        new="        return (np.maximum(grad, 0),)\n",
    ),
    Bug(
        "ReLU writes into its input",
        cause="input changed in place",
        old="        return np.maximum(x, 0)\n",
        new="        return np.maximum(x, 0, out=x)\n",
    ),
    Bug(
        "Tanh's derivative with the input",
        cause="input in place of the result",
        old="        self.y = np.tanh(x)\n        return self.y\n",
        new="        self.y = x\n        return np.tanh(x)\n",
    ),
    # Part 2
    Bug(
        "a difference to one side",
        cause="one-sided difference",
        old="""        for step in (eps, -eps):
            point = x.copy()
            point[index] += step
            slopes.append(np.sum(cotangent * f(point)))
        gradient[index] = (slopes[0] - slopes[1]) / (2 * eps)
""",
        new="""        for step in (eps, 0):
            point = x.copy()
            point[index] += step
            slopes.append(np.sum(cotangent * f(point)))
        gradient[index] = (slopes[0] - slopes[1]) / eps
""",
    ),
    Bug(
        "divided by eps",
        cause="divided by eps instead of 2 eps",
        old="(slopes[0] - slopes[1]) / (2 * eps)",
        new="(slopes[0] - slopes[1]) / eps",
    ),
    Bug(
        "operator precedence: divided by 2, times eps",
        cause="divided by 2, then multiplied by eps",
        old="(slopes[0] - slopes[1]) / (2 * eps)",
        new="(slopes[0] - slopes[1]) / 2 * eps",
    ),
    Bug(
        "numerical gradient of the sum",
        cause="cotangent ignored",
        old="            slopes.append(np.sum(cotangent * f(point)))\n",
        new="            slopes.append(np.sum(f(point)))\n",
    ),
    Bug(
        "an entry is not put back",
        cause="entries not put back",
        old="""    for index in np.ndindex(x.shape):
        slopes = []
        for step in (eps, -eps):
            point = x.copy()
            point[index] += step
            slopes""",
        new="""    point = x.copy()
    for index in np.ndindex(x.shape):
        slopes = []
        for step in (eps, -2 * eps):
            point[index] += step
            slopes""",
    ),
    Bug(
        "x is moved back, but rounded",
        cause="x not put back",
        old="""        slopes = []
        for step in (eps, -eps):
            point = x.copy()
            point[index] += step
            slopes.append(np.sum(cotangent * f(point)))
""",
        new="""        slopes = []
        for step in (eps, -2 * eps):
            x[index] += step
            slopes.append(np.sum(cotangent * f(x)))
        x[index] += eps
""",
    ),
    Bug(
        "writes into a copy of a view",
        cause="changes a copy of x",
        old="""    gradient = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        slopes = []
        for step in (eps, -eps):
            point = x.copy()
            point[index] += step
            slopes.append(np.sum(cotangent * f(point)))
        gradient[index] = (slopes[0] - slopes[1]) / (2 * eps)
    return gradient
""",
        new="""    gradient = np.zeros(x.size)
    flat = x.reshape(-1)
    for i in range(x.size):
        kept = flat[i]
        flat[i] = kept + eps
        above = np.sum(cotangent * f(x))
        flat[i] = kept - eps
        below = np.sum(cotangent * f(x))
        flat[i] = kept
        gradient[i] = (above - below) / (2 * eps)
    return gradient.reshape(x.shape)
""",
    ),
    Bug(
        "compares two results that are one view",
        cause="f's result overwritten",
        old="""        slopes = []
        for step in (eps, -eps):
            point = x.copy()
            point[index] += step
            slopes.append(np.sum(cotangent * f(point)))
        gradient[index] = (slopes[0] - slopes[1]) / (2 * eps)
""",
        new="""        point = x.copy()
        point[index] = x[index] + eps
        above = f(point)
        point[index] = x[index] - eps
        below = f(point)
        gradient[index] = np.sum(cotangent * (above - below)) / (2 * eps)
""",
    ),
    Bug(
        "gradcheck with a cotangent of ones",
        cause="cotangent of ones",
        old="    cotangent = np.asarray(np.random.default_rng(seed).standard_normal(shape))\n",
        new="    cotangent = np.ones(shape)\n",
    ),
    Bug(
        "gradcheck returns after the first input",
        cause="only the first input compared",
        old="<= atol + rtol * np.abs(numeric)):\n            return False\n    return True\n",
        new="<= atol + rtol * np.abs(numeric)):\n            return False\n        return True\n",
    ),
    Bug(
        "gradcheck compares without absolute values",
        cause="absolute value forgotten",
        old="        error = np.abs(analytic[i] - numeric)\n",
        new="        error = analytic[i] - numeric\n",
    ),
    Bug(
        "gradcheck compares the mean error",
        cause="errors averaged or added up",
        old="""        error = np.abs(analytic[i] - numeric)
        if not np.all(error <= atol + rtol * np.abs(numeric)):
""",
        new="""        error = np.abs(np.mean(analytic[i] - numeric))
        if not error <= atol + rtol * np.abs(numeric).max():
""",
    ),
    Bug(
        "gradcheck compares the sums of gradients",
        cause="errors averaged or added up",
        old="        if not np.all(error <= atol + rtol * np.abs(numeric)):\n",
        new="        if not np.isclose(np.sum(analytic[i]), np.sum(numeric), rtol, atol):\n",
    ),
    Bug(
        "gradcheck lets NaN through",
        cause="NaN passes",
        old="        if not np.all(error <= atol + rtol * np.abs(numeric)):\n",
        new="        if np.any(error > atol + rtol * np.abs(numeric)):\n",
    ),
    Bug(
        "gradcheck compares no shapes",
        cause="shape not compared",
        old="        if np.shape(analytic[i]) != x.shape:\n            return False\n",
        new="",
    ),
    Bug(
        "gradcheck with a wide tolerance",
        cause="tolerance too wide",
        old="        if not np.all(error <= atol + rtol * np.abs(numeric)):\n",
        new="        if not np.all(error <= 0.05 + 0.05 * np.abs(numeric)):\n",
    ),
    # Part 3
    Bug(
        "Reshape's gradient is not reshaped",
        cause="gradient has the result's shape",
        old="        return (grad.reshape(self.shape),)\n",
        new="        return (grad,)\n",
    ),
    Bug(
        "Transpose permutes the gradient the same way",
        cause="axes not inverted",
        old="        return (grad.transpose(back),)\n",
        new="        return (grad.transpose(self.axes),)\n",
    ),
    Bug(
        "Sum repeats along the wrong axis",
        cause="axis not put back",
        old="        return (np.broadcast_to(grad.reshape(self.kept), self.shape),)\n",
        new="        return (np.broadcast_to(grad, self.shape),)\n",
    ),
    Bug(
        "Sum ignores keepdims",
        cause="axes of length 1",
        old="        return x.sum(axis=axis, keepdims=keepdims)\n",
        new="        return x.sum(axis=axis)\n",
    ),
    Bug(
        "Mean has the gradient of Sum",
        cause="mean's divisor forgotten",
        old="grad.reshape(self.kept) / self.count, self.shape",
        new="grad.reshape(self.kept), self.shape",
    ),
    Bug(
        "Mean divides by the size of the array",
        cause="divided by the size of the whole array",
        old="self.kept, self.count = kept.shape, x.size // kept.size",
        new="self.kept, self.count = kept.shape, x.size",
    ),
    Bug(
        "Mean repeats along the wrong axis",
        cause="axis not put back",
        old="grad.reshape(self.kept) / self.count, self.shape",
        new="grad / self.count, self.shape",
    ),
    Bug(
        "Max gives every tie the whole gradient",
        cause="ties not shared",
        old="        return (self.chosen * (grad.reshape(self.kept) / self.count),)\n",
        new="        return (self.chosen * grad.reshape(self.kept),)\n",
    ),
    Bug(
        "Max gives a tie to the first",
        cause="tie goes to the first",
        old="        self.chosen = (x == top).astype(x.dtype)\n",
        new="""        ties = x == top
        if axis is None or isinstance(axis, int):
            order = ties.cumsum(axis=axis).reshape(x.shape)
        else:
            moved = np.moveaxis(ties, axis, range(-len(axis), 0))
            rows = moved.reshape(*moved.shape[: -len(axis)], -1)
            order = rows.cumsum(axis=-1).reshape(moved.shape)
            order = np.moveaxis(order, range(-len(axis), 0), axis)
        self.chosen = (ties & (order == 1)).astype(x.dtype)
""",
    ),
    Bug(
        "Max counts all ties of the array",
        cause="ties counted over the whole array",
        old="        self.count = self.chosen.sum(axis=axis, keepdims=True)\n",
        new="        self.count = self.chosen.sum()\n",
    ),
    Bug(
        "Index writes repeated entries once",
        cause="repeated entries lost",
        old="        np.add.at(gradient, self.index, grad)\n",
        new="        gradient[self.index] += grad\n",
    ),
    Bug(
        "Index makes float64",
        cause="dtype changed",
        old="        gradient = np.zeros(self.shape, grad.dtype)\n",
        new="        gradient = np.zeros(self.shape)\n",
    ),
    Bug(
        "MatMul without transposing the second matrix",
        cause="transpose forgotten",
        old="grad @ self.b.swapaxes(-1, -2)",
        new="grad @ self.b",
    ),
    Bug(
        "MatMul transposes with .T",
        cause="transposed over all axes",
        old="""            unbroadcast(grad @ self.b.swapaxes(-1, -2), self.a.shape),
            unbroadcast(self.a.swapaxes(-1, -2) @ grad, self.b.shape),
""",
        new="""            unbroadcast(grad @ self.b.T, self.a.shape),
            unbroadcast(self.a.T @ grad, self.b.shape),
""",
    ),
    Bug(
        "MatMul forgets that batches broadcast",
        cause="not summed to the input's shape",
        old="            unbroadcast(self.a.swapaxes(-1, -2) @ grad, self.b.shape),\n",
        new="            self.a.swapaxes(-1, -2) @ grad,\n",
    ),
    # Part 4
    Bug(
        "apply records inside no_grad",
        cause="recorded in spite of no_grad",
        old="        if Mode.recording and any(x.requires_grad for x in inputs):\n",
        new="        if any(x.requires_grad for x in inputs):\n",
    ),
    Bug(
        "apply records only if all inputs want a gradient",
        cause="all instead of any",
        old="any(x.requires_grad for x in inputs):",
        new="all(x.requires_grad for x in inputs):",
    ),
    Bug(
        "apply records what needs no gradient",
        cause="recorded without need",
        old="        if Mode.recording and any(x.requires_grad for x in inputs):\n",
        new="        if Mode.recording:\n",
    ),
    Bug(
        "apply keeps the graph where nothing is recorded",
        cause="recorded without need",
        old="""        if Mode.recording and any(x.requires_grad for x in inputs):
            out.requires_grad = True
            out.function = function
            function.inputs = tuple(inputs)
""",
        new="""        out.requires_grad = Mode.recording and any(x.requires_grad for x in inputs)
        out.function = function
        function.inputs = tuple(inputs)
""",
    ),
    Bug(
        "apply puts the inputs on the class",
        cause="state shared between uses",
        old="            function.inputs = tuple(inputs)\n",
        new="            cls.inputs = tuple(inputs)\n",
    ),
    Bug(
        "apply keeps only the inputs that want a gradient",
        cause="inputs not recorded",
        old="            function.inputs = tuple(inputs)\n",
        new="            function.inputs = tuple([x for x in inputs if x.requires_grad])\n",
    ),
    Bug(
        "no_grad switches recording on at its end",
        cause="recording switched on at exit",
        old="        Mode.recording = self.before\n",
        new="        Mode.recording = True\n",
    ),
    Bug(
        "no_grad swallows exceptions",
        cause="exception swallowed",
        old="        Mode.recording = self.before\n",
        new="        Mode.recording = self.before\n        return True\n",
    ),
    Bug(
        "no_grad does not switch back after an exception",
        cause="recording not switched back",
        old="        Mode.recording = self.before\n",
        new="        if kind is None:\n            Mode.recording = self.before\n",
    ),
    Bug(
        "detach copies",
        cause="data copied",
        old="        return Tensor(self.data)\n",
        new="        return Tensor(self.data.copy())\n",
    ),
    Bug(
        "detach changes the tensor itself",
        cause="the tensor itself was changed",
        old="        return Tensor(self.data)\n",
        new="        self.requires_grad, self.function = False, None\n        return self\n",
    ),
    Bug(
        "detach keeps requires_grad",
        cause="still requires a gradient",
        old="        return Tensor(self.data)\n",
        new="        return Tensor(self.data, self.requires_grad)\n",
    ),
    Bug(
        "breadth first instead of topological",
        cause="not a topological order",
        old="""    stack = [(tensor, False)]
    while stack:
        current, inputs_done = stack.pop()
        if inputs_done:
            order.append(current)
        elif id(current) not in seen:
            seen.add(id(current))
            stack.append((current, True))
            if current.function is not None:
                stack.extend([(x, False) for x in current.function.inputs if x.requires_grad])
    return order[::-1]
""",
        new="""    queue = [tensor]
    while queue:
        current = queue.pop(0)
        if id(current) not in seen:
            seen.add(id(current))
            order.append(current)
            if current.function is not None:
                queue.extend([x for x in current.function.inputs if x.requires_grad])
    return order
""",
    ),
    Bug(
        "listed when met, not when its inputs are done",
        cause="not a topological order",
        old="""        if inputs_done:
            order.append(current)
        elif id(current) not in seen:
            seen.add(id(current))
            stack.append((current, True))
            if current.function is not None:
                stack.extend([(x, False) for x in current.function.inputs if x.requires_grad])
    return order[::-1]
""",
        new="""        if id(current) not in seen:
            seen.add(id(current))
            order.append(current)
            if current.function is not None:
                stack.extend([(x, False) for x in current.function.inputs if x.requires_grad])
    return order
""",
    ),
    Bug(
        "leaves first",
        cause="order reversed",
        old="    return order[::-1]\n",
        new="    return order\n",
    ),
    Bug(
        "tensors are listed once for every path",
        cause="tensor listed twice",
        old="""        elif id(current) not in seen:
            seen.add(id(current))
""",
        new="""        else:
""",
    ),
    Bug(
        "recursion",
        cause="recursion",
        old="""    stack = [(tensor, False)]
    while stack:
        current, inputs_done = stack.pop()
        if inputs_done:
            order.append(current)
        elif id(current) not in seen:
            seen.add(id(current))
            stack.append((current, True))
            if current.function is not None:
                stack.extend([(x, False) for x in current.function.inputs if x.requires_grad])
    return order[::-1]
""",
        new="""
    def visit(current):
        if id(current) in seen or not current.requires_grad:
            return
        seen.add(id(current))
        if current.function is not None:
            for x in current.function.inputs:
                visit(x)
        order.append(current)

    visit(tensor)
    return order[::-1]
""",
    ),
    Bug(
        "the order goes through tensors that want no gradient",
        cause="tensor without requires_grad listed",
        old="for x in current.function.inputs if x.requires_grad])",
        new="for x in current.function.inputs])",
    ),
    Bug(
        "the second gradient replaces the first",
        cause="gradient overwritten",
        old="                    arrived[id(x)] = part if before is None else before + part\n",
        new="                    arrived[id(x)] = part\n",
    ),
    Bug(
        "adds in place into an array of another",
        cause="array of another tensor changed",
        old="                    arrived[id(x)] = part if before is None else before + part\n",
        new="""                    if before is None:
                        arrived[id(x)] = part
                    else:
                        before += part
""",
    ),
    Bug(
        "a leaf's grad is replaced",
        cause="earlier gradient lost",
        old="tensor.grad = np.array(total) if tensor.grad is None else tensor.grad + total",
        new="tensor.grad = np.array(total)",
    ),
    Bug(
        "a leaf keeps a borrowed array and adds into it",
        cause="array of another tensor changed",
        old="np.array(total) if tensor.grad is None else tensor.grad + total",
        new="total if tensor.grad is None else np.add(tensor.grad, total, out=tensor.grad)",
    ),
    Bug(
        "gradients in between stay on the tensors",
        cause="gradient of an earlier backward used again",
        old="""        arrived = {id(self): grad}
        for tensor in topological_order(self):
            total = arrived.pop(id(tensor))
            if tensor.function is None:
                tensor.grad = np.array(total) if tensor.grad is None else tensor.grad + total
                continue
            parts = tensor.function.backward(total)
            for x, part in zip(tensor.function.inputs, parts, strict=True):
                if x.requires_grad:
                    before = arrived.get(id(x))
                    arrived[id(x)] = part if before is None else before + part
""",
        new="""        self.grad = grad
        for tensor in topological_order(self):
            if tensor.function is None:
                continue
            parts = tensor.function.backward(tensor.grad)
            for x, part in zip(tensor.function.inputs, parts, strict=True):
                if x.requires_grad:
                    x.grad = np.array(part) if x.grad is None else x.grad + part
""",
    ),
    Bug(
        "a function runs once for every gradient that arrives",
        cause="function used more than once",
        old="""        arrived = {id(self): grad}
        for tensor in topological_order(self):
            total = arrived.pop(id(tensor))
            if tensor.function is None:
                tensor.grad = np.array(total) if tensor.grad is None else tensor.grad + total
                continue
            parts = tensor.function.backward(total)
            for x, part in zip(tensor.function.inputs, parts, strict=True):
                if x.requires_grad:
                    before = arrived.get(id(x))
                    arrived[id(x)] = part if before is None else before + part
""",
        new="""        waiting = [(self, grad)]
        while waiting:
            tensor, total = waiting.pop()
            if tensor.function is None:
                tensor.grad = np.array(total) if tensor.grad is None else tensor.grad + total
                continue
            parts = tensor.function.backward(total)
            for x, part in zip(tensor.function.inputs, parts, strict=True):
                if x.requires_grad:
                    waiting.append((x, part))
""",
    ),
    Bug(
        "a gradient for leaves that want none",
        cause="gradient for a tensor that wants none",
        old="""                if x.requires_grad:
                    before""",
        new="""                if x.function is None and not x.requires_grad:
                    x.grad = part
                else:
                    before""",
    ),
    Bug(
        "backward of a vector starts with ones",
        cause="missing RuntimeError",
        old="""            if self.data.size != 1:
                raise RuntimeError(f"backward: shape {self.data.shape} needs the argument grad")
""",
        new="",
    ),
    Bug(
        "backward ignores its argument",
        cause="cotangent ignored",
        old="""            grad = np.ones_like(self.data)
        arrived""",
        new="""            grad = np.ones_like(self.data)
        grad = np.ones_like(self.data)
        arrived""",
    ),
    # Part 5
    Bug(
        "LogSoftmax without subtracting the maximum",
        cause="overflow",
        old="        x = x - x.max(axis=axis, keepdims=True)\n",
        new="",
    ),
    Bug(
        "LogSoftmax subtracts the maximum of the whole array",
        cause="overflow",
        old="        x = x - x.max(axis=axis, keepdims=True)\n",
        new="        x = x - x.max()\n",
    ),
    Bug(
        "LogSoftmax as the logarithm of the softmax",
        cause="overflow",
        old="        self.y = x - np.log(np.exp(x).sum(axis=axis, keepdims=True))\n",
        new="        p = np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)\n"
        "        self.y = np.log(p)\n",
    ),
    Bug(
        "LogSoftmax with a small number in its logarithm",
        cause="a small number added inside the logarithm",
        old="        self.y = x - np.log(np.exp(x).sum(axis=axis, keepdims=True))\n",
        new="        p = np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)\n"
        "        self.y = np.log(p + 1e-12)\n",
    ),
    Bug(
        "LogSoftmax's gradient without the sum",
        cause="sum of the gradient forgotten",
        old="np.exp(self.y) * grad.sum(axis=self.axis, keepdims=True)",
        new="np.exp(self.y)",
    ),
    Bug(
        "LogSoftmax's gradient entry by entry",
        cause="sum of the gradient forgotten",
        old="np.exp(self.y) * grad.sum(axis=self.axis, keepdims=True)",
        new="np.exp(self.y) * grad",
    ),
    Bug(
        "LogSoftmax's gradient always along the last axis",
        cause="summed along another axis",
        old="np.exp(self.y) * grad.sum(axis=self.axis, keepdims=True)",
        new="np.exp(self.y) * grad.sum(axis=-1, keepdims=True)",
    ),
    Bug(
        "CrossEntropy's gradient not divided by N",
        cause="not divided by N",
        old="        return (grad * gradient / len(self.labels),)\n",
        new="        return (grad * gradient,)\n",
    ),
    Bug(
        "CrossEntropy's gradient divided by N C",
        cause="divided by N C",
        old="        return (grad * gradient / len(self.labels),)\n",
        new="        return (grad * gradient / gradient.size,)\n",
    ),
    Bug(
        "CrossEntropy ignores the given gradient",
        cause="cotangent ignored",
        old="        return (grad * gradient / len(self.labels),)\n",
        new="        return (gradient / len(self.labels),)\n",
    ),
    Bug(
        "CrossEntropy subtracts no label",
        cause="label not subtracted",
        old="        gradient[np.arange(len(self.labels)), self.labels] -= 1\n",
        new="",
    ),
    Bug(
        "CrossEntropy subtracts the label's column from all rows",
        cause="labels taken as columns of every row",
        old="        gradient[np.arange(len(self.labels)), self.labels] -= 1\n",
        new="        gradient[:, self.labels] -= 1\n",
    ),
    Bug(
        "CrossEntropy changes what forward kept",
        cause="changed by backward",
        old="        gradient = np.exp(self.y)\n",
        new="        gradient = np.exp(self.y, out=self.y)\n",
    ),
    Bug(
        "CrossEntropy adds up",
        cause="not divided by N",
        old="        return -self.y[np.arange(len(labels)), labels].mean()\n",
        new="        return -self.y[np.arange(len(labels)), labels].sum()\n",
    ),
    # Part 6
    Bug(
        "SGD goes uphill",
        cause="uphill",
        old="p.data = p.data - self.lr * self.velocities[i]",
        new="p.data = p.data + self.lr * self.velocities[i]",
    ),
    Bug(
        "SGD averages gradients",
        cause="gradient damped by 1 - momentum",
        old="self.momentum * self.velocities[i] + p.grad",
        new="self.momentum * self.velocities[i] + (1 - self.momentum) * p.grad",
    ),
    Bug(
        "SGD forgets its velocity",
        cause="momentum ignored",
        old="                p.data = p.data - self.lr * self.velocities[i]\n",
        new="                p.data = p.data - self.lr * p.grad\n",
    ),
    Bug(
        "SGD has one velocity",
        cause="one velocity for all parameters",
        old="""                self.velocities[i] = self.momentum * self.velocities[i] + p.grad
                p.data = p.data - self.lr * self.velocities[i]
""",
        new="""                shared = self.momentum * self.velocities[0] + p.grad
                p.data = p.data - self.lr * shared
                self.velocities = [shared] * len(self.parameters)
""",
    ),
    Bug(
        "SGD moves a parameter without gradient",
        cause="a parameter without gradient moved",
        old="""            if p.grad is not None:
                self.velocities[i] = self.momentum * self.velocities[i] + p.grad
                p.data = p.data - self.lr * self.velocities[i]
""",
        new="""            if p.grad is not None:
                self.velocities[i] = self.momentum * self.velocities[i] + p.grad
            p.data = p.data - self.lr * self.velocities[i]
""",
    ),
    Bug(
        "SGD's velocities are float64",
        cause="dtype changed",
        old="np.zeros_like(p.data)",
        new="np.zeros(p.data.shape)",
    ),
    Bug(
        "SGD adds the velocity into the gradient",
        cause="input changed in place",
        old="                self.velocities[i] = self.momentum * self.velocities[i] + p.grad\n",
        new="                p.grad += self.momentum * self.velocities[i]\n"
        "                self.velocities[i] = p.grad.copy()\n",
    ),
    Bug(
        "a network without its ReLU",
        cause="ReLU forgotten",
        old="    return (x @ w1 + b1).relu() @ w2 + b2\n",
        new="    return (x @ w1 + b1) @ w2 + b2\n",
    ),
    Bug(
        "a ReLU on the logits",
        cause="ReLU after the second layer",
        old="    return (x @ w1 + b1).relu() @ w2 + b2\n",
        new="    return ((x @ w1 + b1).relu() @ w2 + b2).relu()\n",
    ),
    Bug(
        "train sets no gradient back",
        cause="gradients not set back",
        old="        optimizer.zero_grad()\n",
        new="",
    ),
    Bug(
        "train sets the gradients back before the step",
        cause="parameters not changed",
        old="        optimizer.zero_grad()\n        loss.backward()\n",
        new="        loss.backward()\n        optimizer.zero_grad()\n",
    ),
    Bug(
        "train makes a new optimizer in every step",
        cause="momentum ignored",
        old="        optimizer.zero_grad()\n",
        new="        optimizer = SGD(parameters, lr, momentum)\n        optimizer.zero_grad()\n",
    ),
    Bug(
        "train notes the loss after the step",
        cause="loss after the step",
        old="""        losses.append(float(loss.data))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
""",
        new="""        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss = CrossEntropy.apply(two_layer(Tensor(x), *parameters), labels=labels)
        losses.append(float(loss.data))
""",
    ),
]
