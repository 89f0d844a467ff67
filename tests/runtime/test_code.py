"""Fingerprints of functions change with what they do, and with nothing else."""

from functools import partial

from jaxnas.runtime.code import code_fingerprint, command_fingerprint


def made(text, name="f"):
    scope = {"__name__": "mine"}
    exec(text, scope)
    return code_fingerprint(scope[name])


def test_comments_and_lines_change_nothing_and_what_it_does_changes_it():
    first = made("def f(x):\n    return x + 1")
    assert first == made("\n\ndef f(x):\n    # add\n    return x + 1")
    others = [
        "def f(x): return x + 2",
        "def f(x): return x - 1",
        "def f(x, y=1): return x + 1",
        "def f(x): return x + y",
    ]
    assert len({first, *map(made, others)}) == 5


def test_helpers_and_constants_of_the_module_count():
    text = "SCALE = 2\ndef g(x): return x * SCALE\ndef f(x): return g(x)"
    assert len({made(text), made(text.replace("2", "3")), made(text.replace("*", "+"))}) == 3


def test_closures_and_partials_count_and_builtins_have_none():
    def closed(scale):
        return lambda x: x * scale

    assert code_fingerprint(closed(1)) != code_fingerprint(closed(2))
    assert code_fingerprint(closed(1)) == code_fingerprint(closed(1))
    assert code_fingerprint(partial(made, 1)) != code_fingerprint(partial(made, 2))
    assert code_fingerprint(len) == ""


def test_a_command_changes_with_its_scripts_and_not_with_what_it_writes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "my train.py"
    script.write_text("print(1)")
    command = "python 'my train.py' --log out.json {arch_file}"
    first = command_fingerprint(command)
    (tmp_path / "out.json").write_text("{}")
    assert first == command_fingerprint(command) != ""
    script.write_text("print(2)")
    assert command_fingerprint(command) != first
    script.rename(tmp_path / "train")
    assert command_fingerprint("./train {arch}") == command_fingerprint(f"{tmp_path / 'train'} {{arch}}") != ""
    assert command_fingerprint("python none.py {arch}") == ""


def test_what_a_function_counts_and_collects_does_not_change_it():
    asked, count = [], 0

    def f(x):
        nonlocal count
        count += 1
        asked.append(x)

    before = code_fingerprint(f)
    f(1)
    assert code_fingerprint(f) == before != ""
