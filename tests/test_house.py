"""The house: sizes, public names, imports, the picture of the packages, and plain words.

What exceeds a limit today stands in ``ALLOWED`` with its size, and the list only shrinks: an entry that is not needed
any more fails its test, just as a new excess does. ``python tests/test_house.py`` removes entries that are not needed
and lowers the numbers; it never adds or raises one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).resolve()
ROOT = HERE.parent.parent
PACKAGE = ROOT / "segcrf"

# Limits of files outside the kernels and of kernels, which take plain arrays one by one and keep their loops together.
LINES = {"segcrf": 450, "kernels": 600}
FUNCTION_LINES = {"segcrf": 60, "kernels": 90}
ARGUMENTS = {"segcrf": 8, "kernels": 14}
MANY_ARGUMENTS = {
    "segcrf/segmenter.py Segmenter.__init__",  # an estimator has one argument per setting
    "segcrf/inference/predictor.py Predictor.predict_segments",  # and a question one per thing that may be known
}
WORDS = re.compile(r"\b(told|tells|of which|somebody|nobody|refuse|refused|refuses|whose)\b", re.IGNORECASE)
PICTURE = ("README.md", "docs/api/index.rst", "CONTRIBUTING.md")

# The rest of the file reads this table; `python tests/test_house.py` rewrites it.
# allowed: begin
ALLOWED: dict[str, dict[str, int]] = {
    "lines": {},
    "function lines": {},
    "arguments": {
        "segcrf/kernels/linear_chain/triton_kernels.py _backward": 22,
        "segcrf/kernels/linear_chain/triton_kernels.py _forward": 23,
        "segcrf/kernels/semi_markov/triton_kernels.py _backward": 25,
        "segcrf/kernels/semi_markov/triton_kernels.py _best": 17,
        "segcrf/kernels/semi_markov/triton_kernels.py _edges": 22,
        "segcrf/kernels/semi_markov/triton_kernels.py _forward": 17,
        "segcrf/nn/crf.py SemiMarkovCRF.__init__": 10,
        "segcrf/structures/semi_markov.py SemiMarkov.__init__": 11,
        "segcrf/testing/oracle.py semi_markov": 9,
    },
    "no __all__": {},
    "no docstring": {},
    "no user": {},
    "private imports": {},
    "words": {},
}
# allowed: end


# ---------------------------------------------------------------------------------------------------------- the tests
@pytest.mark.parametrize(
    "limit",
    ["lines", "function lines", "arguments", "no __all__", "no docstring", "no user", "private imports", "words"],
)
def test_nothing_exceeds_a_limit_and_the_allow_list_only_shrinks(limit: str) -> None:
    found, allowed = excess()[limit], ALLOWED.get(limit, {})
    above = {name: size for name, size in found.items() if size > allowed.get(name, 0)}
    assert not above, f"{limit}: new or larger than allowed"
    stale = allowed.keys() - found.keys()
    assert not stale, f"{limit}: not needed any more; run `python tests/test_house.py` to remove them from ALLOWED"


def test_the_picture_of_the_packages_is_the_same_everywhere() -> None:
    pictures = {name: picture(name) for name in PICTURE}
    assert len(set(pictures.values())) == 1, pictures


def test_the_picture_shows_exactly_the_packages_that_exist() -> None:
    shown = [name for row in rows_of(picture("README.md")) for name in row]
    assert len(shown) == len(set(shown))
    assert set(shown) == existing()


def test_the_rows_of_the_picture_are_the_layers_that_are_checked() -> None:
    assert rows_of(picture("README.md")) == layers()


def test_the_picture_has_the_sentence_of_the_package() -> None:
    docstring = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text("utf-8")))
    sentence = " ".join((docstring or "").partition("\n\n")[2].split())
    assert sentence.startswith("Structures say what")
    for name in PICTURE:
        assert sentence in " ".join((ROOT / name).read_text("utf-8").split()), name


def test_the_detectors_detect(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "from segcrf.nn.crf import _hidden\n"
        "from segcrf.structures import base\n"
        "class Thing:\n"
        "    def long(self, a, b, *, c):\n" + "        c\n" * 70 + "base._private\n"
    )
    tree = ast.parse(module.read_text())
    assert [(name, count) for name, _, count in functions(tree)] == [("Thing.long", 3)]
    assert [lines for _, lines, _ in functions(tree)] == [71]
    assert sorted(private_imports(tree)) == ["base._private", "segcrf.nn.crf._hidden"]
    assert public_names(tree) is None


# -------------------------------------------------------------------------------------------------------- what exceeds
@cache
def excess() -> dict[str, dict[str, int]]:
    """What is beyond a limit, by limit and by name, with its size."""
    found: dict[str, dict[str, int]] = {
        "lines": {},
        "function lines": {},
        "arguments": {},
        "no __all__": {},
        "no docstring": {},
        "no user": {},
        "private imports": {},
        "words": {},
    }
    for path in sources():
        name = path.relative_to(ROOT).as_posix()
        where = "kernels" if name.startswith("segcrf/kernels/") else "segcrf"
        text = path.read_text("utf-8")
        tree = ast.parse(text)
        if (lines := len(text.splitlines())) > LINES[where]:
            found["lines"][name] = lines
        for function, lines, arguments in functions(tree):
            label = f"{name} {function}"
            if lines > FUNCTION_LINES[where]:
                found["function lines"][label] = lines
            if arguments > ARGUMENTS[where] and label not in MANY_ARGUMENTS:
                found["arguments"][label] = arguments
        public = public_names(tree)
        if public is None and defines(tree):
            found["no __all__"][name] = 1
        documented = {node.name: ast.get_docstring(node) is not None for node in tree.body if named(node)}
        for public_name in public or []:
            if not documented.get(public_name, True):
                found["no docstring"][f"{name} {public_name}"] = 1
            if not has_user(public_name, path):
                found["no user"][f"{name} {public_name}"] = 1
        for imported in private_imports(tree):
            found["private imports"][f"{name} {imported}"] = 1
    for path in prose():
        if words := len(WORDS.findall(path.read_text("utf-8"))):
            found["words"][path.relative_to(ROOT).as_posix()] = words
    return found


def sources() -> list[Path]:
    """Every module of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def prose() -> list[Path]:
    """Every file that people read: code, README and other pages of the root, documentation and its examples."""
    docs = [path for end in ("*.rst", "*.py") for path in (ROOT / "docs").rglob(end)]
    return [*sources(), *sorted(ROOT.glob("*.md")), *sorted(path for path in docs if not made(path))]


def made(path: Path) -> bool:
    """Whether a build of the documentation wrote this file."""
    return bool({"generated", "_build"} & set(path.parts)) or path.name == "sg_execution_times.rst"


def functions(tree: ast.AST, within: str = "") -> Iterator[tuple[str, int, int]]:
    """Name, lines and number of arguments (without self) of every function, nested ones too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = node.args
            names = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
            names += [argument.arg for argument in (given.vararg, given.kwarg) if argument]
            name = f"{within}{node.name}"
            yield name, (node.end_lineno or 0) - node.lineno + 1, len(set(names) - {"self", "cls"})
            yield from functions(node, f"{name}.")
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{within}{node.name}.")
        else:
            yield from functions(node, within)


def named(node: ast.AST) -> bool:
    """Whether this defines a function or a class."""
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


def defines(tree: ast.Module) -> bool:
    """Whether a module holds code of its own."""
    return any(named(node) or isinstance(node, ast.Assign | ast.AnnAssign) for node in tree.body)


def public_names(tree: ast.Module) -> list[str] | None:
    """The names in ``__all__``; empty where a lazy loader makes it, None where there is none."""
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if not any(isinstance(name, ast.Name) and name.id == "__all__" for t in targets for name in ast.walk(t)):
            continue
        return list(ast.literal_eval(node.value)) if isinstance(node.value, ast.List | ast.Tuple) else []
    return None


@cache
def texts() -> dict[Path, frozenset[str]]:
    """The words of every file that may use a public name: code, tests, benchmarks and documentation."""
    folders = [path for name in ("segcrf", "tests", "benchmarks", "docs") for path in (ROOT / name).rglob("*")]
    paths = [path for path in folders if path.suffix in {".py", ".rst"} and not made(path)] + [ROOT / "README.md"]
    # A package that only passes a name on does not use it.
    using = (path for path in paths if path.name != "__init__.py" and "cache" not in path.parts and path != HERE)
    return {path: frozenset(re.findall(r"\w+", path.read_text("utf-8"))) for path in using}


def has_user(name: str, home: Path) -> bool:
    """Return whether a public name occurs outside the files that define and export it, or in an annotation.

    A caller of a public function needs the types of its arguments and of its result.
    """
    definers = {path for path in texts() if path.is_relative_to(home.parent) and name in defined(path)}
    return any(name in annotations(path) for path in definers) or any(
        name in words for path, words in texts().items() if path != home and path not in definers
    )


@cache
def defined(path: Path) -> frozenset[str]:
    """Names that a file of the package defines at its top level."""
    names: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body if path.is_relative_to(PACKAGE) else []:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(name.id for t in targets for name in ast.walk(t) if isinstance(name, ast.Name))
    return frozenset(names)


@cache
def annotations(path: Path) -> frozenset[str]:
    """Return the names in annotations of a file: of arguments, results, fields and type aliases."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(part, ast.AST):
                found.update(name.id for name in ast.walk(part) if isinstance(name, ast.Name))
    return frozenset(found)


def private_imports(tree: ast.Module) -> set[str]:
    """Private names that are taken from another module of the package: by ``from``, or as ``module._name``."""
    modules: set[str] = set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "segcrf":
            for alias in node.names:
                if is_module(f"{node.module}.{alias.name}"):
                    modules.add(alias.asname or alias.name)
                elif private(alias.name):
                    found.add(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Import):
            modules.update(alias.asname for alias in node.names if alias.asname and is_module(alias.name))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            owner = ast.unparse(node.value)
            if owner in modules or is_module(owner):
                found.add(f"{owner}.{node.attr}")
    return found


def private(name: str) -> bool:
    """Whether a name begins with an underscore and is not one of Python's own."""
    return name.startswith("_") and not name.startswith("__")


def is_module(dotted: str) -> bool:
    """Whether this is a module or package of segcrf."""
    if not re.fullmatch(r"segcrf(\.\w+)*", dotted):
        return False
    path = ROOT.joinpath(*dotted.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()


# --------------------------------------------------------------------------------------------------------- the picture
def picture(name: str) -> str:
    """The picture of the packages in a file, without its indent."""
    lines = (ROOT / name).read_text("utf-8").splitlines()
    drawn = [place for place, line in enumerate(lines) if "───" in line]
    assert drawn, f"{name} has no picture of the packages"
    return "\n".join(line.strip() for line in lines[drawn[0] : drawn[-1] + 1])


def rows_of(drawn: str) -> list[set[str]]:
    """The names in each row of the picture, from the top."""
    rows = [part.strip() for part in re.split(r"─+", drawn)]
    return [{line.split()[0] for line in row.splitlines()} for row in rows if row]


def existing() -> set[str]:
    """Packages and modules directly in segcrf."""
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    return folders | {path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"}


def layers() -> list[set[str]]:
    """The rows of imports in pyproject.toml, from the top."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    block = re.search(r"^layers = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert block
    return [set(re.split(r"\s*[|:]\s*", row)) for row in re.findall(r'"(.+?)"', block[1])]


# ----------------------------------------------------------------------------------------------------- the allow-list
def shrink(fresh: bool = False) -> None:
    """Rewrite ``ALLOWED`` at the top of this file: without stale entries, with the sizes of today.

    Args:
        fresh: list everything that exceeds a limit today, which may let the list grow.
    """
    kept = {
        limit: {name: size for name, size in found.items() if fresh or size <= ALLOWED.get(limit, {}).get(name, 0)}
        for limit, found in excess().items()
    }
    lines = ["ALLOWED: dict[str, dict[str, int]] = {"]
    for limit, found in kept.items():
        entries = [f'        "{name}": {size},' for name, size in sorted(found.items())]
        lines += [f'    "{limit}": {{', *entries, "    },"] if found else [f'    "{limit}": {{}},']
    block = "\n".join(["# allowed: begin", *lines, "}", "# allowed: end"])
    HERE.write_text(re.sub(r"^# allowed: begin.*?^# allowed: end", block, HERE.read_text("utf-8"), flags=re.M | re.S))


if __name__ == "__main__":
    shrink()
