"""The stepper's page in a real browser: stepped through, compared with the arrays, hovered over."""

import dataclasses
import json
import re

import numpy as np
import pytest

import minidl as md
from minidl import ops
from minidl.nn import functional as F

from ..browser import Browser, find_browser
from .test_formulas import value_of

pytestmark = pytest.mark.skipif(
    find_browser() is None,
    reason="needs a Chromium: apt-get install chromium, or name one in MINIDL_BROWSER",
)


@pytest.fixture(scope="module")
def browser():
    browser = Browser(find_browser())
    yield browser
    browser.close()


class Page:
    """A page on which a computation was written, open in the browser."""

    def __init__(self, browser, path, tape):
        self.browser, self.path, self.tape = browser, path, tape

    def open(self, step=1, width=1360, height=900, dark=False):
        self.browser.complaints.clear()
        self.browser.resize(width, height, dark)
        self.browser.open(self.path, f"#{step}")
        return self

    def go(self, step):
        self.browser.evaluate(f"location.hash = '#{step}'")
        assert self.counter().startswith(f"Step {step} of")

    def text(self, selector):
        return self.browser.evaluate(f"document.querySelector({json.dumps(selector)}).textContent")

    def counter(self):
        return self.text("#counter")

    def lit(self, picture, kind="lit"):
        """(row, column) of the cells of a picture that are lit, chosen ..."""
        return [
            tuple(cell)
            for cell in self.browser.evaluate(
                f"[...document.querySelectorAll('{picture} .{kind}')]"
                ".map((c) => [Number(c.dataset.row), Number(c.dataset.column)])"
            )
        ]

    def numbers(self, n, side, gradient=False):
        """Pointing at each cell of a card: {index: (number, the formula's text, its sum)}."""
        found = self.browser.evaluate(
            f"""(() => {{
                const card = document.querySelectorAll('.{side} .card:not(.fact)')[{n}];
                const maps = card.querySelectorAll('.grid');
                const grid = maps[{int(gradient)}];
                return [...grid.querySelectorAll('.cell:not(.ring)')].map((cell) => {{
                    cell.dispatchEvent(new PointerEvent('pointerover', {{bubbles: true}}));
                    const line = document.querySelector('#numbers');
                    const sum = line.querySelector('data');
                    return [line.querySelector('b').textContent,
                            line.querySelector('.result').textContent,
                            line.textContent, sum && Number(sum.value)];
                }});
            }})()"""
        )
        return {index_of(name): (number_of(number), *rest) for name, number, *rest in found}


def index_of(name):
    inside = re.search(r"\[([\d, ]*)\]$", name)
    return tuple(map(int, inside.group(1).split(", "))) if inside else ()


def number_of(text):
    return float(text.replace("−", "-").replace("∞", "inf"))


def cell(row, column):
    return f' .cell[data-row="{row}"][data-column="{column}"]'


FIRST_INPUT = ".inputs > .card figure:first-of-type .grid"
KERNEL = ".rest > .card:first-child figure:first-of-type .grid"
OUTPUT = ".outputs > .card figure:first-of-type .grid"


def small_network():
    image = md.randn(2, 2, 6, 6, requires_grad=True)
    weight = md.randn(3, 2, 3, 3, requires_grad=True)
    bias = md.randn(3, requires_grad=True)
    gamma, beta = md.ones(3, requires_grad=True), md.zeros(3, requires_grad=True)
    layer = md.randn(4, 27, requires_grad=True)
    with md.record() as tape:
        maps = F.conv2d(image, weight, bias, padding=1)
        maps = F.relu(F.batch_norm(maps, None, None, gamma, beta, training=True))
        scores = F.linear(F.max_pool2d(maps, 2).flatten(1), layer)
        loss = F.cross_entropy(scores, md.tensor([2, 0]))
        loss.backward()
    return tape


def windows():
    x = md.randn(1, 2, 7, 7, requires_grad=True)
    dilated, grouped = md.randn(1, 2, 3, 3), md.randn(4, 1, 2, 2)
    kernel = md.randn(2, 2, 3, 3, requires_grad=True)
    boxes = md.tensor([[0, 1.0, 2.0, 11.0, 9.0], [0, 3.0, 0.0, 13.0, 6.0]])
    signal = md.randn(1, 3, 8, requires_grad=True)
    with md.record() as tape:
        a = F.conv2d(x, dilated.requires_grad_(), padding=2, dilation=2, stride=2)
        b = F.conv2d(x, grouped.requires_grad_(), groups=2)
        c, where = F.max_pool2d(x, 3, stride=2, padding=1, return_indices=True)
        d = F.max_unpool2d(c, where, 3, stride=2, padding=1)
        e = F.avg_pool2d(x, 3, stride=2, padding=1)
        f = F.conv_transpose2d(c, kernel, stride=2, padding=1, output_padding=1)
        g = ops.roi.roi_align(x, boxes, 2, spatial_scale=0.5, sampling_ratio=2, aligned=True)
        h = ops.roi.roi_pool(x, boxes, 2, spatial_scale=0.5)
        i = F.interpolate(e, scale_factor=2, mode="bilinear")
        j = F.max_pool1d(F.conv1d(signal, md.randn(3, 3, 3)), 2)
        k = F.unpool_nails(e, 2)
        outputs = (a, b, c, d, e, f, g, h, i, j, k)
        md.autograd.backward(outputs, [md.randn(*y.shape) for y in outputs])
    return tape


def everything_else():
    a = md.randn(3, 4, requires_grad=True)
    b = md.randn(4, 2, requires_grad=True)
    c = md.randn(4, requires_grad=True)
    image = md.randn(2, 4, 2, 2, requires_grad=True)
    with md.record() as tape:
        product = (a * c + 1.5) @ b
        means = product.mean(dim=1, keepdim=True)
        shares = md.softmax(product, 1) + F.log_softmax(product, 0)
        moved = md.cat([a.t(), md.stack([c, c], 1)], 1)[1:, ::2].flip(0)
        padded = F.pad(moved, (1, 0, 0, 1), value=2.0)
        largest = md.amax(padded, dim=0) + padded.max(dim=0).values
        masked = md.where(a > 0, a, a.exp()).masked_fill(a > 1, 0.0)
        normed = F.group_norm(image, 2, c, c) + F.batch_norm(image, None, None, training=True)
        losses = F.cross_entropy(a, md.tensor([1, 3, 0]), reduction="none")
        chances = F.binary_cross_entropy_with_logits(
            F.linear(a, b.t(), c[:2]), (means > 0).float().expand(3, 2)
        )
        outputs = (means, shares, largest, masked.sum(0), md.maximum(a, a.detach() * 0))
        outputs += (normed, losses, chances)
        md.autograd.backward(outputs, [md.randn(*y.shape) for y in outputs])
    return tape


SLOW = pytest.mark.slow
PROGRAMS = [
    small_network,
    pytest.param(windows, marks=SLOW),
    pytest.param(everything_else, marks=SLOW),
]


@pytest.fixture(scope="module", params=PROGRAMS)
def written(request, tmp_path_factory):
    md.manual_seed(3)
    heard = []
    with md.autograd.listen(lambda event: event.within or heard.append(copied(event))):
        tape = request.param()
    path = tmp_path_factory.mktemp("pages") / f"{request.param.__name__}.html"
    tape.html(path)
    return path, heard


def copied(event):
    """The event with its arrays as they are now: gradients are added up in place."""
    inputs, outputs = [
        tuple([np.array(array(x)) if is_array(x) else x for x in values])
        for values in (event.inputs, event.outputs)
    ]
    return dataclasses.replace(event, inputs=inputs, outputs=outputs)


def array(x):
    return x.data if isinstance(x, md.Tensor) else x


def is_array(x):
    return isinstance(x, (md.Tensor, np.ndarray))


@pytest.fixture
def page(browser, written):
    return Page(browser, *written).open()


@pytest.fixture(scope="module")
def network_file(tmp_path_factory):
    md.manual_seed(3)
    tape = small_network()
    path = tmp_path_factory.mktemp("pages") / "network.html"
    tape.html(path, title="A network")
    return path, tape


@pytest.fixture
def network(browser, network_file):
    return Page(browser, *network_file).open()


@pytest.fixture(scope="module")
def windows_file(tmp_path_factory):
    md.manual_seed(3)
    tape = windows()
    path = tmp_path_factory.mktemp("pages") / "windows.html"
    tape.html(path)
    return path, tape


@pytest.fixture
def sliding(browser, windows_file):
    return Page(browser, *windows_file).open()


# -- the numbers ----------------------------------------------------------------------------------


def compare(shown, expected, checked):
    """Every number shown equals the array's, to the last bit; and so does, but for its rounding,
    what the formula with the numbers put in gives."""
    assert shown
    peak = float(np.abs(expected).max())
    for index, (number, text, total) in shown.items():
        value = expected[index]
        assert value.dtype.type(number) == value, index
        if total is not None:
            np.testing.assert_allclose(total, value, rtol=1e-4, atol=1e-5)
        parts = text.split(" = ")
        if len(parts) == 3 and not re.search("more|kept|not|nothing|went|place|…", parts[1]):
            # Numbers are written with three digits.
            found = value_of(parts[1], {})
            assert found == pytest.approx(value, rel=0.03, abs=0.03 * peak + 1e-6), text
            checked.append(text)


def test_every_number_is_the_arrays_and_formulas_add_up_to_it(page):
    checked = []
    places = {}  # of each operation's arrays among its arguments
    for step, event in enumerate(page.tape, 1):
        page.go(step)
        if event.phase == "forward":
            places[event.node] = [i for i, x in enumerate(event.inputs) if is_array(x)]
            for card, i in enumerate(places[event.node]):
                compare(page.numbers(card, "inputs"), event.inputs[i], [])
            for card, y in enumerate(event.outputs):
                compare(page.numbers(card, "outputs"), y, checked)
        else:
            for card, i in enumerate(places[event.node]):
                if i < len(event.outputs) and event.outputs[i] is not None:
                    g = event.outputs[i]
                    compare(page.numbers(card, "inputs", gradient=True), g, checked)
    assert len(checked) > 100
    assert page.browser.complaints == []


def test_all_planes_are_there(network):
    """The second channel of the second image, by the buttons."""
    network.browser.evaluate("document.querySelector('[aria-label=\"Next image\"]').click()")
    network.browser.evaluate("document.querySelector('[aria-label=\"Next channel\"]').click()")
    shown = network.numbers(0, "inputs")
    assert {index[:2] for index in shown} == {(1, 1)}
    compare(shown, network.tape.events[0].inputs[0].data, [])
    assert len(shown) == 36


def second_order():
    x = md.tensor([0.5, 2.0], requires_grad=True)
    with md.record(inside=True) as tape:
        (slope,) = md.grad((x.exp() * x).sum(), x, create_graph=True)
        slope.sum().backward()
    return tape


def backward_alone():
    y = F.conv2d(md.randn(1, 2, 5, 5, requires_grad=True), md.randn(3, 2, 3, 3)).relu().sum()
    with md.record() as tape:
        y.backward()
    return tape


def large():
    x = md.randn(3, 20, 90, 70, requires_grad=True)
    w = md.randn(40, 20, 3, 3, requires_grad=True)
    with md.record() as tape:
        y = F.avg_pool2d(F.max_pool2d(F.conv2d(x, w, stride=2), 2).relu(), 3)
        F.linear(y.flatten(1), md.randn(5, y[0].numel())).mean().backward()
    return tape


@pytest.mark.parametrize("program", [second_order, backward_alone, large])
def test_unusual_computations_can_be_stepped_through(browser, tmp_path, program):
    tape = program()
    tape.html(tmp_path / "page.html")
    page = Page(browser, tmp_path / "page.html", tape).open()
    for step, event in enumerate(tape, 1):
        page.go(step)
        assert page.text("#heading .name") == event.op
        assert page.text("#heading .phase") == event.phase
    assert browser.complaints == []


# -- links ----------------------------------------------------------------------------------------


def test_the_mouse_on_an_output_cell_lights_window_kernel_and_formula(network):
    browser = network.browser
    browser.point(OUTPUT + cell(0, 0))
    assert network.lit(FIRST_INPUT) == [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    assert network.lit(KERNEL) == [(i, j) for i in range(3) for j in range(3)]
    assert network.lit(OUTPUT, "chosen") == [(0, 0)]
    x, w, b = [t.data for t in network.tape.events[0].inputs]
    terms = browser.evaluate(
        "[...document.querySelectorAll('#numbers .term')].map(t => t.textContent)"
    )
    assert number_of(terms[0].strip("()")) == pytest.approx(b[0], rel=5e-3)
    assert terms[1].startswith("0 · "), "the corner of the window lies over padding"
    factors = [number_of(n.strip("()")) for n in terms[5].split(" · ")]
    assert factors == pytest.approx([x[0, 0, 0, 0], w[0, 0, 1, 1]], rel=5e-3)
    assert browser.complaints == []


def test_padding_is_drawn_around_the_image_and_a_dilated_window_has_gaps(sliding):
    assert (
        sliding.browser.evaluate(f"document.querySelectorAll('{FIRST_INPUT} .ring').length")
        == 11 * 11 - 7 * 7
    )
    sliding.browser.point(OUTPUT + cell(1, 1))
    assert sliding.lit(FIRST_INPUT) == [(i, j) for i in (0, 2, 4) for j in (0, 2, 4)]
    frame, first, last = [
        sliding.browser.evaluate(
            f"document.querySelector('{each}').getBoundingClientRect().toJSON()"
        )
        for each in (".inputs .frame", FIRST_INPUT + cell(0, 0), FIRST_INPUT + cell(4, 4))
    ]
    assert frame["left"] == pytest.approx(first["left"], abs=4)
    assert frame["right"] == pytest.approx(last["right"], abs=4)
    assert frame["bottom"] == pytest.approx(last["bottom"], abs=4)


def test_the_mouse_on_an_input_cell_lights_the_outputs_it_goes_to(network):
    network.browser.point(FIRST_INPUT + cell(0, 0))
    assert network.lit(OUTPUT) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert network.lit(KERNEL) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert "goes into 12 cells" in network.text("#numbers"), "of three channels"


def test_a_max_pooling_window_has_a_winner(network):
    step = next(i for i, e in enumerate(network.tape, 1) if e.op == "MaxPool")
    network.go(step)
    network.browser.point(OUTPUT + cell(1, 2))
    window = [(2, 4), (2, 5), (3, 4), (3, 5)]
    assert network.lit(FIRST_INPUT) == window
    plane = network.tape.events[step - 1].inputs[0].data[0, 0]
    assert network.lit(FIRST_INPUT, "winner") == [max(window, key=lambda place: plane[place])]


def test_transposed_convolution_writes_a_window_and_shows_what_is_cut_off(sliding):
    sliding.go(next(i for i, e in enumerate(sliding.tape, 1) if e.op == "ConvInputGrad"))
    sliding.browser.point(FIRST_INPUT + cell(0, 0))
    assert sliding.lit(OUTPUT) == [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    assert sliding.text(OUTPUT + cell(-1, -1)) == "cut"
    assert "goes into 8 cells" in sliding.text("#numbers"), "four pixels of two channels"
    sliding.browser.point(OUTPUT + cell(2, 2))
    # Rows that 2 i + k - 1 = 2 reaches: i = 1 with k = 1.
    assert sliding.lit(FIRST_INPUT) == [(1, 1)]
    assert sliding.lit(KERNEL) == [(1, 1)]


@pytest.mark.parametrize("op", ["RoIAlign", "RoIPool"])
def test_regions_of_interest_show_the_box_its_bins_and_the_pixels_of_one(sliding, op):
    step = next(i for i, e in enumerate(sliding.tape, 1) if e.op == op)
    sliding.go(step)
    sliding.browser.point(OUTPUT + cell(1, 1))
    count = "document.querySelectorAll('.inputs .{}').length"
    assert sliding.browser.evaluate(count.format("bin")) == 4
    assert sliding.browser.evaluate(count.format("bin.now")) == 1
    assert sliding.browser.evaluate(count.format("sample")) == (4 if op == "RoIAlign" else 0)
    lit = sliding.lit(FIRST_INPUT)
    if op == "RoIPool":  # box (1, 2, 11, 9) / 2 covers the pixels (1, 1) to (5 or 6, 5)
        x = sliding.tape.events[step - 1].inputs[0].data[0, 0]
        y = sliding.tape.events[step - 1].outputs[0].data[0, 0]
        assert max(x[place] for place in lit) == y[1, 1]
    assert sliding.lit(KERNEL) == [(0, k) for k in range(5)], "the box's row"


def test_backward_a_pixels_gradient_comes_from_the_windows_it_lies_in(network):
    network.go(len(network.tape))
    assert network.text("#heading .phase") == "backward"
    gradient = ".inputs > .card figure:nth-of-type(2) .grid"
    network.browser.point(gradient + cell(5, 5))
    given = ".outputs > .card figure:nth-of-type(2) .grid"
    assert network.lit(given) == [(4, 4), (4, 5), (5, 4), (5, 5)]


def test_a_click_keeps_a_cell_until_escape(network):
    browser = network.browser
    browser.click(OUTPUT + cell(3, 3))
    browser.point(OUTPUT + cell(0, 0))
    assert network.lit(OUTPUT, "chosen") == [(3, 3)]
    browser.press("Escape")
    browser.point(OUTPUT + cell(1, 0))
    assert network.lit(OUTPUT, "chosen") == [(1, 0)]


# -- keys, buttons, screens -----------------------------------------------------------------------


def test_keys_and_buttons_step_through_everything(network):
    browser, count = network.browser, len(network.tape)
    for step in range(2, count + 1):
        browser.press("ArrowRight")
        assert network.counter().startswith(f"Step {step} of {count}")
        assert network.text("#heading .name") == network.tape.events[step - 1].op
        assert network.text(".node.current .label") == network.tape.events[step - 1].op
    browser.press("ArrowRight")
    assert network.counter().startswith(f"Step {count} of")
    for step in range(count - 1, 0, -1):
        browser.click("#back")
        assert network.counter().startswith(f"Step {step} of")
    browser.press("End")
    assert network.counter().startswith(f"Step {count} of")
    browser.press("Home")
    browser.click("#next")
    assert network.counter().startswith("Step 2 of")
    assert browser.complaints == []


def test_the_slider_and_the_graph_lead_to_a_step(network):
    browser = network.browser
    browser.evaluate(
        "document.querySelector('#slider').value = 4;"
        "document.querySelector('#slider').dispatchEvent(new Event('input'))"
    )
    assert network.counter().startswith("Step 4 of")
    browser.click(".node:not(.value)")
    assert network.text("#heading .name") == "Conv"
    assert network.counter().startswith("Step 1 of")


def test_pictures_are_walked_with_the_keys(network):
    browser = network.browser
    for _ in range(30):
        browser.press("Tab")
        if browser.evaluate(
            "document.activeElement.closest('.outputs') && "
            "document.activeElement.classList.contains('grid')"
        ):
            break
    else:
        pytest.fail("Tab does not lead to the output's picture")
    start = network.lit(OUTPUT, "chosen")[0]
    for key, move in {"ArrowDown": (1, 0), "ArrowRight": (0, 1), "ArrowUp": (-1, 0)}.items():
        browser.press(key)
        (at,) = network.lit(OUTPUT, "chosen")
        assert at == (start[0] + move[0], start[1] + move[1])
        start = at
    assert network.counter().startswith("Step 1 of"), "arrow keys stay in the picture"
    active = browser.evaluate("document.activeElement.getAttribute('aria-activedescendant')")
    label = browser.evaluate(f"document.getElementById('{active}').getAttribute('aria-label')")
    assert label.startswith(f"row {start[0]}, column {start[1]}: ")
    browser.press("Escape")
    browser.press("ArrowRight")
    assert network.counter().startswith("Step 2 of")


def test_everything_that_can_be_used_has_a_name(network):
    nameless = network.browser.evaluate(
        "[...document.querySelectorAll('button, input, [role=grid], [role=gridcell], [role=img], "
        "nav, section')].filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim()))"
        ".map((e) => e.outerHTML)"
    )
    assert nameless == []
    assert network.browser.evaluate("document.documentElement.lang") == "en"
    assert network.browser.evaluate("document.title") == "A network"


@pytest.mark.parametrize("width", [320, 390, pytest.param(800, marks=SLOW)])
def test_a_small_screen_is_enough(browser, network_file, width):
    page = Page(browser, *network_file).open(width=width, height=700)
    for step in (1, 2, 4, len(page.tape) - 3, len(page.tape)):
        page.go(step)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width, step
    assert browser.evaluate("document.querySelector('#back').getBoundingClientRect().top") >= 0
    page.go(1)
    browser.point(OUTPUT + cell(1, 1))
    assert len(page.lit(FIRST_INPUT)) == 9
    assert browser.complaints == []


def test_light_and_dark_follow_the_reader(browser, network_file):
    def brightness(selector, what):
        colour = browser.evaluate(f"getComputedStyle(document.querySelector('{selector}')).{what}")
        return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3

    for dark in (False, True):
        Page(browser, *network_file).open(dark=dark)
        paper, ink = brightness("body", "backgroundColor"), brightness("body", "color")
        assert (paper < 60 and ink > 180) if dark else (paper > 220 and ink < 60)
