"""Results for people: a page of HTML with pictures and tables, and the files of comparisons and experiments."""

from jaxnas.report.files import draw_curves, save_comparison, save_results
from jaxnas.report.page import read_results, write_report
from jaxnas.run.trained import save_trained, trained_record

__all__ = [
    "draw_curves",
    "read_results",
    "save_comparison",
    "save_results",
    "save_trained",
    "trained_record",
    "write_report",
]
