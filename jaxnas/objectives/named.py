"""Objectives by name, which plugins add."""

from collections.abc import Callable

OBJECTIVES: dict[str, Callable[[str], object]] = {}
"""Functions of the text of an architecture that return its objective, a number."""
