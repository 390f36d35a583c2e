"""The ablation as one command: which runs (suites, configs), one (runs), many (pool), and what they say (report)."""

from .report import write_report
from .suites import PRESETS, SUITES, TASKS, Arm, Preset, Task
from .work import NAMES, Request, plan, run

__all__ = ["NAMES", "PRESETS", "SUITES", "TASKS", "Arm", "Preset", "Request", "Task", "plan", "run", "write_report"]
