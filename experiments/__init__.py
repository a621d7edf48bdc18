"""One script per question: `python -m experiments.NAME --help`."""

from experiments.harness import interrupts as interrupts
from experiments.harness import quick_help as quick_help
