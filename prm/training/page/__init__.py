"""`train_report.html`, the page of a training run: plain data in, one self-contained page out."""

from prm.training.page.examples import Example, held_out_examples
from prm.training.page.live import PageCallback
from prm.training.page.page import PAGE_FILE, TrainReport, train_page, write_train_page
from prm.training.page.rows import RowFacts, SourceFacts
from prm.training.page.run import report_of_run
from prm.training.page.sections import Calibration

__all__ = [
    "PAGE_FILE",
    "Calibration",
    "Example",
    "PageCallback",
    "RowFacts",
    "SourceFacts",
    "TrainReport",
    "held_out_examples",
    "report_of_run",
    "train_page",
    "write_train_page",
]
