#!/usr/bin/env python3
"""Counts the house: how large its rooms, files and functions are, and how it is documented.

    python3 tests/house/figures.py

Reads the tree that git has. Nothing here is a rule: those are tests (`tests/it/tidy`).
"""

import pathlib
import re
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout


FILES = {name: (ROOT / name) for name in run("git", "ls-files").splitlines()}
TEXTS = {
    name: path.read_text()
    for name, path in FILES.items()
    if path.suffix in {".rs", ".c", ".h", ".md", ".py", ".svg", ".json"} or name == ".ci/run"
}


def is_test(name):
    return "/tests/" in name or name.endswith("tests.rs") or "/sim/" in name


def without_tests(text):
    return re.split(r"^#\[cfg\(test\)\]\nmod tests \{$", text, maxsplit=1, flags=re.MULTILINE)[0]


def lines(text):
    return text.count("\n")


def below(*prefixes, ending=".rs"):
    return {
        name: text
        for name, text in TEXTS.items()
        if name.startswith(prefixes) and name.endswith(ending)
    }


PRODUCT = {
    name: without_tests(text)
    for name, text in below("src/").items()
    if not is_test(name) and not name.startswith("src/internal")
}
ROOMS = {
    "net": "src/net/",
    "state": "src/state/",
    "command": "src/bin/",
    "ffi": "src/ffi/",
    "wire": "src/wire/",
    "config": "src/config",
    "sys": "src/sys",
    "error": "src/error",
    "event": "src/event",
}


def functions(text):
    """Name and length of each function, by the indentation that rustfmt gives it."""
    kind = r"(?:pub(?:\([a-z]+\))? )?(?:const |unsafe |extern \S+ )*"
    opened, all_lines = re.compile(rf"^( *){kind}fn (\w+)"), text.splitlines()
    for at, line in enumerate(all_lines):
        found = opened.match(line)
        if not found or line.rstrip().endswith(";"):
            continue
        end = found.group(1) + "}"
        for length, later in enumerate(all_lines[at:], 1):
            if later == end or (length == 1 and later.rstrip().endswith("}")):
                yield found.group(2), length
                break


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def table(title):
    print(f"\n{title}\n")


def sizes():
    table("Lines")
    total = sum(lines(text) for text in PRODUCT.values())
    row("product in `src`, without tests, simulators and fuzz bodies", f"{total:,}")
    rest = total
    for room, prefix in ROOMS.items():
        size = sum(lines(text) for name, text in PRODUCT.items() if name.startswith(prefix))
        rest -= size
        row(room, f"{size:,}")
    row("the public face", f"{rest:,}")
    inside = sum(lines(text) for text in below("src/").values()) - total
    row("tests inside `src`, simulators and fuzz bodies", f"{inside:,}")
    row("`tests/it`", f"{sum(map(lines, below('tests/it/').values())):,}")
    c = {**below("tests/capi/", ending=".c"), **below("tests/capi/", ending=".h")}
    row("C tests", f"{sum(map(lines, c.values())):,}")
    row("benches (Rust)", f"{sum(map(lines, below('benches/').values())):,}")
    examples = (text for name, text in TEXTS.items() if name.startswith("examples/"))
    row("examples", f"{sum(map(lines, examples)):,}")
    pages = below("docs/", ending=".md")
    row("pages", f"{sum(map(lines, pages.values())):,}")
    headers = below("include/", ending=".h")
    row("headers", ", ".join(f"{name[8:]} {lines(text):,}" for name, text in headers.items()))
    tests = {place: 0 for place in ("src", "outside")}
    for name, text in below("src/", "tests/").items():
        tests["src" if name.startswith("src/") else "outside"] += text.count("#[test]")
    row("`#[test]` functions", f"{tests['src']} in `src`, {tests['outside']} outside")
    unsafe = {
        room: sum(
            len(re.findall(r"unsafe \{", text))
            for name, text in PRODUCT.items()
            if name.startswith(f"src/{room}")
        )
        for room in ("ffi", "sys")
    }
    row("`unsafe` blocks of the product", ", ".join(f"{room} {n}" for room, n in unsafe.items()))
    exported = sum(len(re.findall(r'extern "C" fn pares_', text)) for text in PRODUCT.values())
    row("functions of the C interface", exported)
    ways = ("without features", ["--no-default-features"]), ("with the default features", [])
    for title, options in ways:
        tree = run("cargo", "tree", "--offline", "-e", "normal", "--prefix", "none", *options)
        names = {" ".join(line.split()[:2]) for line in tree.splitlines() if line.strip()}
        row(f"crates below the library, {title}", len(names) - 1)


def house():
    table("Files and functions")
    code = below("src/", "tests/", "benches/", "examples/", "fuzz/")
    every = {name: lines(text) for name, text in code.items()}
    large = sorted((size, name) for name, size in every.items() if size > 500)
    named = ", ".join(f"{n} {s}" for s, n in large)
    row("files above 500 lines, with their tests", named or "none")
    counts = [lines(text) for text in PRODUCT.values()]
    share = 100 * sum(size > 500 for size in counts) / len(counts)
    row("files of the product: number · median · largest · share > 500",
        f"{len(counts)} · {statistics.median(counts):.0f} · {max(counts)} · {share:.0f} %")
    lengths = [
        (length, fn, name) for name, text in PRODUCT.items() for fn, length in functions(text)
    ]
    over = 100 * sum(length > 60 for length, _, _ in lengths) / len(lengths)
    median = statistics.median(length for length, _, _ in lengths)
    row("functions of the product: number · median · longest · share > 60 lines",
        f"{len(lengths)} · {median:.0f} · {max(lengths)[0]} · {over:.1f} %")
    longest = [
        (length, fn, name)
        for name, text in below("src/", "tests/", "benches/").items()
        for fn, length in functions(text)
    ]
    for length, fn, name in sorted(longest, reverse=True)[:20]:
        row(f"`{fn}`", length, name)
    def of(*rooms):
        return sum(lines(text) for name, text in PRODUCT.items() if name.startswith(rooms))

    pure = of("src/state/", "src/wire/", "src/event")
    edge = of("src/net/", "src/sys")
    row("pure middle : edge", f"{pure:,} : {edge:,} = {pure / edge:.1f} : 1")


def prose():
    table("Documentation and comments")
    code = doc = comment = wide = every = examples = 0
    for text in PRODUCT.values():
        for line in text.splitlines():
            stripped = line.strip()
            every += 1
            wide += len(line) > 100
            if stripped.startswith(("///", "//!")):
                doc += 1
                examples += stripped in ("/// ```", "//! ```", "/// ```no_run", "//! ```no_run")
            elif stripped.startswith("//"):
                comment += 1
            elif stripped:
                code += 1
    row("documentation lines per code", f"{doc:,} : {code:,} = {100 * doc / code:.0f} %")
    row("examples in documentation that run", examples // 2)
    row("comments in code", f"{100 * comment / code:.1f} %")
    row("lines above 100 columns in the product", f"{100 * wide / every:.1f} %")
    readme = TEXTS["README.md"]
    row("README: lines · words", f"{lines(readme)} · {len(readme.split()):,}")
    face = "".join(PRODUCT.values())
    marks = face.count("#[must_use"), face.count("#[non_exhaustive]")
    row("`#[must_use]` · `#[non_exhaustive]`", f"{marks[0]} · {marks[1]}")
    subjects = run("git", "log", "--format=%s").splitlines()
    long = max(map(len, subjects))
    prefixed = sum(bool(re.match(r"[a-z0-9/_, .-]+: ", subject)) for subject in subjects)
    part = 100 * prefixed / len(subjects)
    row("commits · with `room: verb` · longest subject", f"{len(subjects)} · {part:.0f} % · {long}")


sizes()
house()
prose()
