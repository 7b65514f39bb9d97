"""The two-stage path can be read in one sitting: its lines are counted here.

The path is what building a Mask R-CNN, one training step and one prediction run through: anchors,
matching, sampling, coding, proposals, suppression, RoI operations, heads, pyramid, masks, and
pictures into batches. Counted are the lines of the statements that run, with the signatures of
functions and the fields of classes; not comments, docstrings and blank lines, and not what only
wrong arguments run into. Layers, losses and other operations come from the rooms below, as in any
network; so does the ResNet.
"""

import ast
import io
import pathlib
import sys
import tokenize

import minidl as md
from minidl.models.detection.mask_rcnn import maskrcnn_small

from .detection import scenes

ROOMS = ("boxes/", "nn/roi.py", "ops/roi.py", "models/detection/")
MOST = 800


def follow(function):
    """Path -> the lines at which Python came by in these rooms while the function ran."""
    root = pathlib.Path(md.__file__).parent
    paths = [p for p in root.rglob("*.py") if p.relative_to(root).as_posix().startswith(ROOMS)]
    came_by = {str(path): set() for path in paths}

    def note(frame, event, argument):
        lines = came_by.get(frame.f_code.co_filename)
        if lines is None:
            return None
        lines.add(frame.f_lineno)
        return note

    before = sys.gettrace()
    sys.settrace(note)
    try:
        function()
    finally:
        sys.settrace(before)
    return came_by


def statements(body, came_by):
    """The numbers of the lines of statements that ran; functions and classes with those in them."""
    lines = set()
    for node in body:
        blocks = [getattr(node, name, []) for name in ("body", "orelse", "finalbody")]
        inside = set().union(*[statements(block, came_by) for block in blocks])
        first = min([node.lineno] + [d.lineno for d in getattr(node, "decorator_list", [])])
        head = set(range(first, (node.body[0].lineno if blocks[0] else node.end_lineno + 1)))
        if isinstance(node, ast.ClassDef) and inside:
            fields = [n for n in node.body if isinstance(n, (ast.Assign, ast.AnnAssign))]
            head = head.union(*[range(n.lineno, n.end_lineno + 1) for n in fields])
        if inside or (not isinstance(node, (ast.ClassDef, ast.FunctionDef)) and head & came_by):
            lines |= head | inside
    return lines


def lines_of_code(text):
    """The numbers of lines that hold more than comments and docstrings."""
    silent = {"COMMENT", "NL", "NEWLINE", "INDENT", "DEDENT", "ENDMARKER"}
    code = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if tokenize.tok_name[token.type] not in silent:
            code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            code -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return code


def count(came_by):
    """Path -> how many lines of code ran, for files where any did."""
    result = {}
    for path, lines in came_by.items():
        text = pathlib.Path(path).read_text(encoding="utf-8")
        body = [n for n in ast.parse(text).body if isinstance(n, (ast.ClassDef, ast.FunctionDef))]
        result[path] = len(statements(body, lines) & lines_of_code(text))
    return {path: n for path, n in result.items() if n}


def test_a_training_step_and_a_prediction_of_mask_rcnn_are_at_most_800_lines():
    images, targets = scenes(2)

    def path():
        net = maskrcnn_small(3, min_size=64)
        losses = net.losses(images, targets)
        net.roi_heads.score_thresh = 0.0  # so that there is something to cut out and to paste
        assert len(net.predict(images)[0]["masks"]) > 0
        sum(losses.values()).backward()

    found = count(follow(path))
    names = {pathlib.Path(path).name for path in found}
    assert names >= {"anchors.py", "matcher.py", "coder.py", "nms.py", "roi.py", "fpn.py", "rpn.py"}
    assert names >= {"detector.py", "roi_heads.py", "faster_rcnn.py", "mask_rcnn.py"}
    assert 700 < sum(found.values()) <= MOST, found


EXAMPLE = '''
class Pair:
    """Two."""

    first: int

    def add(self, more):
        """Adds."""
        if more < 0:
            raise ValueError(
                "negative"
            )
        # a comment
        return (
            1
            + more
        )

    def unused(self):
        return 0


def other():
    return 3
'''


def test_lines_are_counted_as_said(tmp_path):
    path = tmp_path / "example.py"
    path.write_text(EXAMPLE)
    lines = EXAMPLE.splitlines()
    ran = {1 + lines.index(line) for line in ("        if more < 0:", "        return (")}
    # class, field, def, if, and four lines of the return
    assert count({str(path): ran}) == {str(path): 8}
    assert count({str(path): set()}) == {}
