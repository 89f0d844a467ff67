"""`python -m jaxnas.cli` is `jaxnas`."""

from jaxnas.cli import main

main()
