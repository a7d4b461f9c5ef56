#!/usr/bin/env python3
"""Measures how many lines of `src/state` the simulators run by themselves.

    python3 tests/house/coverage.py

Builds the library's tests with coverage in `target/coverage`, runs only the simulators, and prints
one row per file. Ends with 1 if it is less than the share that CONTRIBUTING.md names, with 3 if
this machine lacks the tools (`rustup component add llvm-tools`). Takes about three minutes.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = ROOT / "target" / "coverage"
LEAST = 95.0
# Whoever reads the table wants to know where to look: the lines that no simulator runs.
SHOWN = 12


def tools():
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True)
    found = list(pathlib.Path(sysroot.stdout.strip()).glob("lib/rustlib/*/bin/llvm-profdata"))
    if not found:
        print("no llvm-profdata: rustup component add llvm-tools", file=sys.stderr)
        sys.exit(3)
    return found[0], found[0].with_name("llvm-cov")


def built(environment):
    command = ["cargo", "test", "--lib", "--no-run", "--message-format=json"]
    output = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    for line in reversed(output.stdout.splitlines()):
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "pares":
            return message["executable"]
    raise SystemExit("cargo has built no tests of the library")


def counted(lcov):
    """Of each file the lines that can be run, with how often each was."""
    files, path = {}, None
    for line in lcov.splitlines():
        if line.startswith("SF:"):
            path = pathlib.Path(line[3:])
        elif line.startswith("DA:"):
            number, count = (int(word) for word in line[3:].split(",")[:2])
            lines = files.setdefault(path, {})
            lines[number] = max(count, lines.get(number, 0))
    return files


def is_product(path):
    """Neither a simulator nor a test: these run themselves."""
    if not path.is_relative_to(ROOT):
        return False
    parts = path.relative_to(ROOT).parts
    inside = parts[:2] == ("src", "state")
    return inside and "sim" not in parts and "tests" not in parts and path.name != "tests.rs"


def without_tests(path, lines):
    text = path.read_text()
    found = re.search(r"^#\[cfg\(test\)\]\nmod tests \{$", text, re.MULTILINE)
    end = text[: found.start()].count("\n") if found else len(text)
    return {number: count for number, count in lines.items() if number <= end}


def main():
    profdata, cov = tools()
    TARGET.mkdir(parents=True, exist_ok=True)
    for old in TARGET.glob("*.profraw"):
        old.unlink()
    environment = dict(os.environ)
    environment["RUSTFLAGS"] = "-Cinstrument-coverage"
    environment["CARGO_TARGET_DIR"] = str(TARGET)
    # Three times as fast, and as exact about lines.
    environment["CARGO_PROFILE_TEST_OPT_LEVEL"] = "1"
    environment["LLVM_PROFILE_FILE"] = str(TARGET / "sim-%p.profraw")
    tests = built(environment)
    subprocess.run([tests, "sim::"], cwd=ROOT, env=environment, check=True)
    raw = [str(path) for path in TARGET.glob("sim-*.profraw")]
    merged = str(TARGET / "sim.profdata")
    subprocess.run([profdata, "merge", "-sparse", *raw, "-o", merged], check=True)
    export = [cov, "export", tests, f"-instr-profile={merged}", "-format=lcov"]
    lcov = subprocess.run(export, capture_output=True, text=True, check=True).stdout

    all_lines = all_run = 0
    for path, lines in sorted(counted(lcov).items()):
        if not is_product(path):
            continue
        lines = without_tests(path, lines)
        missed = sorted(number for number, count in lines.items() if not count)
        run = len(lines) - len(missed)
        all_lines, all_run = all_lines + len(lines), all_run + run
        more = " …" if len(missed) > SHOWN else ""
        where = " ".join(str(number) for number in missed[:SHOWN]) + more
        name = path.relative_to(ROOT / "src" / "state")
        part = 100 * run / max(1, len(lines))
        print(f"{part:5.1f} %  {run:4} of {len(lines):4}  {name}  {where}")
    share = 100 * all_run / all_lines
    print(f"{share:5.1f} %  {all_run} of {all_lines}  src/state, by the simulators alone")
    sys.exit(0 if share >= LEAST else 1)


if __name__ == "__main__":
    main()
