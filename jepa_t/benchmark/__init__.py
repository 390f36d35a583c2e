"""The ablation as one command: which runs (suites), one run (runs), many (pool), and what they say (report)."""

from .report import write_report
from .suites import PRESETS, SUITES, TASKS, Arm, Preset, Task
from .work import run_suite

__all__ = ["PRESETS", "SUITES", "TASKS", "Arm", "Preset", "Task", "run_suite", "write_report"]
