"""Imports run downward only: the house of the design, asserted."""

import ast
import pathlib

import minidl

FLOORS = {
    "backend": 0,
    "autograd": 1,
    "ops": 2,
    "masks": 2,
    "nn": 3,
    "optim": 3,
    "data": 3,
    "boxes": 3,
    "metrics": 3,
    "io": 3,
    "amp": 4,
    "models": 4,
    "training": 5,
    "explain": 5,
    "plot": 5,
    "teach": 6,
    "cli": 7,
}
ROOT = pathlib.Path(minidl.__file__).parent


def imports_of(path: pathlib.Path) -> list[tuple[int, str]]:
    """(line, room) of every import of a room of minidl in a file, late imports included."""
    package = ("minidl", *path.relative_to(ROOT).parts[:-1])
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - node.level + 1]
                base += tuple(node.module.split(".")) if node.module else ()
            else:
                base = tuple((node.module or "").split("."))
            names = [(*base, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        for name in names:
            if name[0] == "minidl" and len(name) > 1:
                found.append((node.lineno, name[1]))
    return found


def room_of(path: pathlib.Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def test_every_room_has_a_floor():
    rooms = {room_of(p) for p in ROOT.rglob("*.py")} - {"__init__", "__main__"}
    assert rooms <= set(FLOORS), f"rooms without a floor: {sorted(rooms - set(FLOORS))}"


def test_no_room_imports_from_a_higher_floor_or_from_its_own():
    wrong = []
    for path in ROOT.rglob("*.py"):
        room = room_of(path)
        if room in ("__init__", "__main__"):
            continue  # the roof: gathers the public names
        for line, other in imports_of(path):
            if other == room or other == "__version__":
                continue
            name = path.relative_to(ROOT)
            if other not in FLOORS:
                wrong.append(f"{name}:{line} imports minidl.{other}: import it from its room")
            elif FLOORS[other] >= FLOORS[room]:
                wrong.append(f"{name}:{line}: {room} (floor {FLOORS[room]}) imports {other}")
    assert not wrong, "\n".join(wrong)


def test_no_module_is_part_of_a_circle():
    """Within a room too: following imports from a module never leads back to it."""
    modules = {
        ".".join(("minidl", *p.relative_to(ROOT).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): p
        for p in ROOT.rglob("*.py")
    }
    edges = {name: set() for name in modules}
    for name, path in modules.items():
        is_package = path.name == "__init__.py"
        parts = tuple(name.split("."))
        for node in ast.parse(path.read_text()).body:  # top level: what runs at import
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            base = parts[: len(parts) - node.level + is_package]
            base += tuple(node.module.split(".")) if node.module else ()
            for alias in node.names:
                full = ".".join((*base, alias.name))
                target = full if full in modules else ".".join(base)
                if target in modules and target != name and not name.startswith(target + "."):
                    edges[name].add(target)
    state: dict[str, int] = {}
    for start in edges:
        stack = [(start, iter(edges[start]))]
        if state.get(start):
            continue
        state[start] = 1
        while stack:
            name, rest = stack[-1]
            for target in rest:
                assert state.get(target) != 1, f"a circle of imports through {target} from {name}"
                if target not in state:
                    state[target] = 1
                    stack.append((target, iter(edges[target])))
                    break
            else:
                state[name] = 2
                stack.pop()
