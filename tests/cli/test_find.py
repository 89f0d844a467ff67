"""What the user names and nobody has is refused before JAX is imported."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from jaxnas.cli import main
try:
    main()
finally:
    print("jax" in sys.modules)
"""


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("search --data nowhere", "unknown image set 'nowhere': choose from digits"),
        ("search --data no/where", "no/where: no such file; give a folder"),
        ("score --data digit", "unknown image set 'digit': did you mean 'digits'?"),
        ("search --table none.csv", "none.csv: no such file; give a table .csv"),
        ("search --scores cifar11", "no score file cifar11: make a folder of scores"),
        ("compare --scores none.parquet", "no score file none.parquet: make a folder of scores"),
        ("report none", "no finished search in none: it has no result.json"),
        ("predict none x.png", "no trained model in none: give a folder of a model"),
        ("export none --to torch", "no trained model in none: give a folder of a model"),
        ("export none --to torch --untrained", "no finished search in none: it has no result.json"),
        ("train xyz", "'xyz' is neither a folder of a search nor an architecture of any space"),
        ("train xyz darts", "architecture 'xyz' is not a DARTS genotype"),
        ("train 64-9-basic", "'64-9-basic' is neither a folder of a search"),
    ],
)
def test_a_name_that_nothing_has_is_refused_without_jax(tmp_path, command, message):
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command.split()], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert (run.returncode, run.stdout) == (2, "False\n")
    assert run.stderr.startswith(f"error: {message}")
    assert len(run.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
