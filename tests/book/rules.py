"""The rules of a chapter, each a function from a notebook to sentences that say what is wrong and in which cell.

STYLE of the book in tests: test_book.py applies them to every chapter, test_rules.py to samples that break them.
"""

import ast
import re
from collections.abc import Iterator

from lab_cells import LAB, for_site

IGNORE = "nbval-ignore-output"
LIVE = {"hide-input", "remove-output", IGNORE}
TAGS = {*LIVE, "hide-output", "hide-cell", "remove-input", "remove-cell", "raises-exception", "margin", "answer"}
VIEW = "application/vnd.jupyter.widget-view+json"
MODULES = {"http", "httpx", "requests", "shutil", "socket", "subprocess", "urllib", "warnings"}
SEEDS = {"np.random.seed", "numpy.random.seed", "random.seed", "torch.manual_seed", "torch.random.manual_seed"}
LOCAL_PATH = re.compile(r"(?<![\w.~])/(?:work|tmp|root|home|Users|opt)/\w|[A-Z]:\\Users")
REGISTRY = re.compile(
    r"(?:pypi|npmjs|anaconda|rubygems|docker|ghcr|quay)\.(?:org|com|io)|pythonhosted\.org|download\.pytorch\.org"
)
HYPE = re.compile(
    r"\b(?:delv(?:e|es|ed|ing)|leverag(?:e|es|ed|ing)|seamless(?:ly)?|cutting-edge|game[- ]chang(?:er|ing)|tapestry|"
    r"unleash(?:es|ed)?|harness the power|in the realm of|it is worth noting|needless to say)\b",
    re.IGNORECASE,
)
AMERICAN = re.compile(
    r"\b(?:\w*(?:initializ|normaliz|regulariz|generaliz|optimiz|visualiz|standardiz|summariz|recogniz|penaliz|"
    r"randomiz|emphasiz|minimiz|maximiz|realiz|organiz|linearized|analyz)\w*|colou?rize\w*|\w*color\w*|behavior\w*|"
    r"centered|centering|center|gray\w*|neighbor\w*|favor(?:s|ed|ite|able)?|label(?:ed|ing)|model(?:ed|ing)|artifacts?)\b",
    re.IGNORECASE,
)
DIRECTIVE = re.compile(r"^(`{3,}|:{3,})\{([\w-]+)\}[ \t]*(.*)\n((?:[ \t]*:[\w-]+:.*\n)*)", re.MULTILINE)


def code_cells(nb) -> list[tuple[int, dict]]:
    """The code cells with their numbers, counted from 1 over all cells."""
    return [(number, cell) for number, cell in enumerate(nb.cells, start=1) if cell.cell_type == "code"]


def markdown(nb) -> str:
    """All text cells, without those that tools/lab_cells.py makes."""
    written = [cell for cell in nb.cells if cell.cell_type == "markdown" and LAB not in tags(cell)]
    return "\n\n".join(for_site(cell.source) for cell in written)


def tags(cell) -> set[str]:
    return set(cell.metadata.get("tags", []))


def trees(nb) -> Iterator[tuple[int, ast.Module]]:
    """The syntax trees of the code cells; what is not plain Python is left to `plain_python`."""
    for number, cell in code_cells(nb):
        try:
            yield number, ast.parse(cell.source)
        except SyntaxError:
            continue


def calls(tree) -> set[str]:
    """The dotted names of everything called."""
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def has_call(cell, name: str) -> bool:
    try:
        return any(called.split(".")[-1] == name for called in calls(ast.parse(cell.source)))
    except SyntaxError:
        return False


def without_code(text: str) -> str:
    """Markdown without its code blocks; what stands in directives stays."""
    kept: list[str] = []
    fences: list[tuple[str, bool]] = []  # what is open, and whether it holds code
    for line in text.splitlines():
        in_code = bool(fences) and fences[-1][1]
        fence = re.match(r"\s*(`{3,}|:{3,}|~{3,})(\{[\w-]+\})?(.*)", line)
        if fence and fences and fence[1].startswith(fences[-1][0]) and not (fence[2] or fence[3].strip()):
            fences.pop()
        elif fence and not in_code:
            code = fence[2] is None or fence[2] in ("{code-block}", "{code-cell}", "{math}")
            fences.append((fence[1], code))
            kept.append("" if code else fence[3])
        elif not in_code:
            kept.append(line)
    return "\n".join(kept)


def opens_with_a_question(nb) -> Iterator[str]:
    first = nb.cells[0].source.splitlines() if nb.cells and nb.cells[0].cell_type == "markdown" else []
    heading = next((line for line in first if line.startswith("# ")), "")
    if not heading.endswith("?"):
        yield f"cell 1: expected a title that asks something, got {heading!r}"


def executed(nb) -> Iterator[str]:
    for position, (number, cell) in enumerate(code_cells(nb), start=1):
        if not cell.source.strip():
            yield f"cell {number}: is empty"
        if cell.execution_count != position:
            yield f"cell {number}: expected execution count {position}, got {cell.execution_count}"


def clean_outputs(nb) -> Iterator[str]:
    for number, cell in code_cells(nb):
        for output in cell.outputs:
            if output.output_type == "error" and "raises-exception" not in tags(cell):
                yield f"cell {number}: its output is an error ({output.ename})"
            if output.get("name") == "stderr":
                yield f"cell {number}: wrote to stderr"
            data = output.get("data", {})
            text = "\n".join([output.get("text", ""), *(v for k, v in data.items() if k.startswith("text/"))])
            if re.search(r"\bat 0x[0-9a-f]{6,}", text):
                yield f"cell {number}: shows an object by its address"
            if LOCAL_PATH.search(text):
                yield f"cell {number}: shows a path of the machine it ran on"
            if re.fullmatch("[0-9a-f]{32}", data.get(VIEW, {}).get("model_id", "")):
                yield f"cell {number}: shows a widget under a random name, which changes on every run"


def plain_python(nb) -> Iterator[str]:
    for number, cell in code_cells(nb):
        try:
            ast.parse(cell.source)
        except SyntaxError:
            yield f"cell {number}: is not plain Python (no %, !, ?)"
        if cell.source.rstrip().endswith(";"):
            yield f"cell {number}: ends with a semicolon, which silences nothing here; write `_ = ...`"
        if re.search(r"#\s*(NBVAL|PYTEST_VALIDATE)_", cell.source):
            yield f"cell {number}: steers the notebook check by a comment; use a tag"


def tables_shown(nb) -> Iterator[str]:
    """A notebook displays what stands last in a cell: a table before other lines is lost without a word."""
    for number, tree in trees(nb):
        for statement in tree.body[:-1]:
            shown = calls_of(statement, "display")
            if isinstance(statement, ast.Expr) and calls_of(statement, "table") and not shown:
                yield f"cell {number}: its table is not the last line, so it is not shown; use display(...)"


def imports_in_set_up(nb) -> Iterator[str]:
    set_up = None
    for number, tree in trees(nb):
        for node in ast.walk(tree):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            set_up = set_up or number
            if number != set_up:
                yield f"cell {number}: imports; the set-up is cell {set_up}"
            if any(alias.name == "*" for alias in node.names):
                yield f"cell {number}: star import"
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            for name in names:
                if name.split(".")[0] in MODULES:
                    yield f"cell {number}: imports {name} (no downloads, no shell, no warning filters)"


def set_up_folded(nb) -> Iterator[str]:
    """Imports and settings are folded on the page."""
    number, cell = code_cells(nb)[0] if code_cells(nb) else (0, None)
    if cell is not None and "hide-input" not in tags(cell):
        yield f"cell {number}: the set-up is not folded; expected the tag hide-input"


def no_global_state(nb) -> Iterator[str]:
    """Seeds are arguments; the set-up cell may seed torch, for layers made outside the package."""
    first = code_cells(nb)[0][0] if code_cells(nb) else 0
    for number, tree in trees(nb):
        for name in sorted(calls(tree)):
            if name in SEEDS and not (name == "torch.manual_seed" and number == first):
                yield f"cell {number}: {name} sets a global seed"
            legacy = re.fullmatch(r"(?:np|numpy)\.random\.(\w+)", name)
            if legacy and legacy[1] not in ("default_rng", "seed"):
                yield f"cell {number}: {name} draws from the global generator; use default_rng(seed)"
            if name.split(".")[-1] in ("filterwarnings", "simplefilter", "catch_warnings"):
                yield f"cell {number}: {name} filters warnings"


def claims_beside_their_sentences(nb) -> Iterator[str]:
    """A claim is a cell of its own: in the margin, or, where it is not shown, not on the page."""
    for number, tree in trees(nb):
        found = calls_of(tree, "claim")
        if not found:
            continue
        *before, last = tree.body
        alone = all(isinstance(line, ast.Assign | ast.AnnAssign | ast.AugAssign) for line in before) and isinstance(
            last, ast.Expr
        )
        displayed = [last.value] if isinstance(last, ast.Expr) else []
        if displayed and isinstance(last.value, ast.Call) and ast.unparse(last.value.func) == "display":
            displayed = last.value.args
        if not alone or {id(call) for call in found} != {id(value) for value in displayed}:
            yield f"cell {number}: expected a cell that ends with its claims and does nothing else"
        shown = [not any(word.arg == "shown" for word in call.keywords) for call in found]
        expected = {"margin", "remove-input", IGNORE} if all(shown) else {"remove-cell", IGNORE}
        if any(shown) and not all(shown):
            yield f"cell {number}: claims that are shown and claims that are not"
        elif tags(nb.cells[number - 1]) != expected:
            yield f"cell {number}: expected the tags {sorted(expected)} of its claims"


def different_things_one_by_one(nb) -> Iterator[str]:
    """A mean is of one thing, measured again: of different ones each is tested, or one could fail unseen."""
    for number, tree in trees(nb):
        for call in calls_of(tree, "claim"):
            given = {keyword.arg: keyword.value for keyword in call.keywords}
            if not {"each", "within"} & set(given) and of_different_things(given.get("measured")):
                yield f"cell {number}: expected each=True for {ast.unparse(given['measured'])[:60]!r}"


def of_different_things(measured: ast.AST | None) -> bool:
    """Whether this is a list written out, or made from one, or from what a dict holds."""
    if isinstance(measured, ast.List | ast.Tuple):
        return len(measured.elts) > 1
    if not isinstance(measured, ast.ListComp | ast.GeneratorExp):
        return False
    sources = [generator.iter for generator in measured.generators]
    held = [call for call in sources if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)]
    return any(isinstance(source, ast.List | ast.Tuple) for source in sources) or any(
        call.func.attr in ("values", "items") for call in held
    )


def predictions_closed(nb) -> Iterator[str]:
    """What a reader is asked to predict, the page answers: `guess = Predict(...)` has its `guess.close(...)`."""
    asked, closed = {}, set()
    for number, tree in trees(nb):
        closed |= {ast.unparse(call.func).rpartition(".")[0] for call in calls_of(tree, "close")}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and any(call is node.value for call in calls_of(tree, "Predict")):
                asked[ast.unparse(node.targets[0])] = number
    for name in sorted(set(asked) - closed):
        yield f"cell {asked[name]}: the prediction {name!r} is never closed"


def no_formulas_in_widgets(nb) -> Iterator[str]:
    """What an explorable or a prediction says is plain text: `$...$` would stand there as it is typed."""
    for number, cell in code_cells(nb):
        for data in (output.get("data", {}) for output in cell.outputs):
            found = re.search(r"\$[^$\n]+\$", data.get("text/plain", "")) if VIEW in data else None
            if found:
                yield f"cell {number}: a formula in plain text: {found[0]!r}"


def no_trials(nb) -> Iterator[str]:
    """No number without a cell: what was tried outside the page is made a cell or goes."""
    for found in re.finditer(
        r"\btrial (?:runs?|trainings?)\b|\b(?:outside|not on) (?:the|this) page\b", markdown(nb)
    ):
        yield f"speaks of what no cell computes: {found[0]!r}"


def figures(nb) -> Iterator[str]:
    """Caption, name and alternative text stand in the cell's metadata, where MyST-NB reads them.

    An explorable has title and alternative text of its own.
    """
    prose, names = markdown(nb), []
    for number, cell in code_cells(nb):
        rich = [output for output in cell.outputs if output.output_type in ("display_data", "execute_result")]
        for explorable in (output.data for output in rich if VIEW in output.data):
            if len(explorable.get("text/plain", "")) < 40:
                yield f"cell {number}: its explorable does not say what to see: {explorable.get('text/plain')!r}"
        drawn = any(kind.startswith("image/") for output in rich for kind in output.data if VIEW not in output.data)
        settings = cell.metadata.get("mystnb", {})
        figure, alt = settings.get("figure", {}), settings.get("image", {}).get("alt", "")
        if not drawn:
            if figure:
                yield f"cell {number}: has a caption and no figure"
            continue
        if len(rich) > 1:
            yield f"cell {number}: shows {len(rich)} things; each would get the caption"
        if not figure.get("caption", "").strip():
            yield f"cell {number}: its figure has no caption"
        if len(alt.strip()) < 40:
            yield f"cell {number}: its alternative text does not say what to see: {alt!r}"
        name = figure.get("name", "")
        names.append(name)
        if not name.startswith("fig-"):
            yield f"cell {number}: expected a figure name that begins with fig-, got {name!r}"
        elif not re.search(rf"\{{(?:numref|ref)\}}`(?:[^`]*<)?{re.escape(name)}>?`", prose):
            yield f"cell {number}: no sentence refers to its figure by {{numref}}`{name}`"
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"two figures are named {name!r}"


def exemptions(nb) -> Iterator[str]:
    """Only claims, what a claim directly follows, closed guesses (see `covered`), and live cells are not compared."""
    cells, parsed = code_cells(nb), dict(trees(nb))
    closes = {number for number, tree in parsed.items() if closings(tree)}
    for i, (number, cell) in enumerate(cells):
        # Between a table and its claims a guess may be closed.
        follower = next((after for later, after in cells[i + 1 :] if later not in closes), None)
        live = has_call(cell, "interact")
        if unknown := tags(cell) - TAGS:
            yield f"cell {number}: the tags {sorted(unknown)} are not among {sorted(TAGS)}"
        if live and not tags(cell) >= LIVE:
            yield f"cell {number}: a live cell lacks the tags {sorted(LIVE - tags(cell))}"
        claimed = has_call(cell, "claim") or (follower is not None and has_call(follower, "claim"))
        if IGNORE in tags(cell) and not (live or claimed or number in closes):
            yield f"cell {number}: {IGNORE} on a cell without a claim in it or in the next code cell"
        if "raises-exception" in tags(cell):
            errors = [output.ename for output in cell.outputs if output.output_type == "error"]
            if not errors or errors[0] not in markdown(nb):
                yield f"cell {number}: raises-exception, but the text names no error that it shows"


def covered(nb) -> Iterator[str]:
    """What a training-dependent cell shows in numbers, and what closes a guess, is what some claim measures.

    Of a shown value the names count that it is made of, with those it was assigned from in the same cell; of a claim
    those of `measured`, likewise. Names of the set-up cell and of functions say nothing.
    """
    parsed = dict(trees(nb))
    first = min(parsed, default=0)
    common = {node.id for node in ast.walk(parsed[first]) if isinstance(node, ast.Name)} if parsed else set()
    claimed = set()
    for tree in parsed.values():
        for call in calls_of(tree, "claim"):
            measured = [keyword.value for keyword in call.keywords if keyword.arg == "measured"]
            claimed |= set().union(*(made_of(value, tree) for value in measured)) - common
    for number, tree in parsed.items():
        for value in closings(tree):
            if not (made_of(value, tree) - common) & claimed:
                yield f"cell {number}: no claim measures what closes the guess: {ast.unparse(value)[:60]}"
    for number, cell in code_cells(nb):
        if IGNORE not in tags(cell) or number not in parsed or has_call(cell, "interact"):
            continue
        tree = parsed[number]
        shown = [argument for name in ("print", "display") for call in calls_of(tree, name) for argument in call.args]
        last = tree.body[-1] if tree.body else None
        shown += [last.value] if isinstance(last, ast.Expr) else []
        for value in shown:
            known = closings(value) or any(calls_of(value, name) for name in ("claim", "print", "display"))
            if isinstance(value, ast.Constant) or known:
                continue
            names = made_of(value, tree) - common
            if not names & claimed:
                yield f"cell {number}: no claim measures what training decides: {ast.unparse(value)[:60]}"


def calls_of(tree: ast.AST, name: str) -> list[ast.Call]:
    """The calls of a function, by the last part of its name."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in found if ast.unparse(call.func).split(".")[-1] == name]


def closings(tree: ast.AST) -> list[ast.AST]:
    """What was measured, in each `guess.close(measured, text)`; other things that close take less."""
    calls = [call for call in calls_of(tree, "close") if len(call.args) + len(call.keywords) == 2]
    named = [keyword.value for call in calls for keyword in call.keywords if keyword.arg == "measured"]
    return [*(call.args[0] for call in calls if call.args), *named]


def made_of(value: ast.AST, tree: ast.Module) -> set[str]:
    """The names in an expression, and those in what these were assigned in the same cell."""
    names, waiting = set(), {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
    while waiting:
        name = waiting.pop()
        names.add(name)
        for node in ast.walk(tree):
            targets = getattr(node, "targets", [getattr(node, "target", None)])
            if isinstance(node, ast.Assign | ast.AugAssign | ast.For) and any(
                isinstance(part, ast.Name) and part.id == name for target in targets for part in ast.walk(target)
            ):
                source = node.iter if isinstance(node, ast.For) else node.value
                waiting |= {part.id for part in ast.walk(source) if isinstance(part, ast.Name)} - names
    return names


def exercises(nb) -> Iterator[str]:
    """Every exercise has a label, and a solution that is folded and holds executed code."""
    asked, solved, inside = [], {}, None
    for number, cell in enumerate(nb.cells, start=1):
        if cell.cell_type == "code":
            if inside:
                solved[inside] += 1
            continue
        for _, kind, argument, options in DIRECTIVE.findall(for_site(cell.source) + "\n"):
            label = re.search(r":label:\s*(\S+)", options)
            if kind in ("exercise", "exercise-start"):
                if not label:
                    yield f"cell {number}: an exercise without a label"
                else:
                    asked.append(label[1])
            elif kind == "solution":
                yield f"cell {number}: use solution-start and solution-end, with code between them"
            elif kind == "solution-start":
                inside = argument.strip()
                solved[inside] = 0
                if not re.search(r":class:.*\bdropdown\b", options):
                    yield f"cell {number}: the solution of {inside!r} is not folded (:class: dropdown)"
            elif kind == "solution-end":
                inside = None
    for label in asked:
        if label not in solved:
            yield f"the exercise {label!r} has no solution"
        elif not solved[label]:
            yield f"the solution of {label!r} has no code cell"
    for label in sorted(set(solved) - set(asked)):
        yield f"the solution of {label!r} belongs to no exercise"


def wording(text: str) -> Iterator[str]:
    """Whatever a reader reads, notebook or not: British spelling, no hype, no place that is only ours."""
    for pattern, what in ((REGISTRY, "names a package registry"), (LOCAL_PATH, "names a path of one machine")):
        for found in pattern.finditer(text):
            yield f"{what}: {found[0]!r}"
    prose = text.split("\n## References")[0]  # titles are spelt as their authors spelt them
    prose = without_code(re.sub(r"\A---\n.*?\n---\n", "", prose, flags=re.DOTALL))
    prose = re.sub(r"^\s*>.*$|^\s*:[\w-]+:", "", prose, flags=re.MULTILINE)
    prose = re.sub(r"\{[\w:-]+\}|`[^`]*`|\$[^$]*\$|https?://\S+|\]\([^)]*\)|\"[^\"\n]*\"|“[^”]*”", " ", prose)
    for pattern, what in ((HYPE, "hype"), (AMERICAN, "American spelling")):
        for found in pattern.finditer(prose):
            yield f"{what}: {found[0]!r}"


def chapter_wording(nb) -> Iterator[str]:
    yield from wording(markdown(nb))
    for number, cell in code_cells(nb):
        settings = cell.metadata.get("mystnb", {})
        texts = [settings.get("figure", {}).get("caption", ""), settings.get("image", {}).get("alt", "")]
        bundles = (output.get("data", {}) for output in cell.outputs)
        texts += [data.get("text/plain", "") for data in bundles if VIEW in data]  # what an explorable says
        for sentence in wording("\n".join(texts)):
            yield f"cell {number}: {sentence}"


RULES = (
    opens_with_a_question,
    executed,
    clean_outputs,
    plain_python,
    tables_shown,
    imports_in_set_up,
    set_up_folded,
    no_global_state,
    claims_beside_their_sentences,
    different_things_one_by_one,
    predictions_closed,
    no_formulas_in_widgets,
    no_trials,
    figures,
    exemptions,
    covered,
    exercises,
    chapter_wording,
)
