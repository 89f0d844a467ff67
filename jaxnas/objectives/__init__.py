"""Objectives of a search: accuracies looked up in a table, or measured by training each candidate."""
