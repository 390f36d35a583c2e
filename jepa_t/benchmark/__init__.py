"""The ablation as one command: which runs (tasks, suites, configs), one (runs), many (pool), what they say (report)."""

from .report import write_report
from .suites import SUITES, Arm
from .tasks import PRESETS, TASKS, Preset, Task
from .work import NAMES, Request, plan, run

__all__ = ["NAMES", "PRESETS", "SUITES", "TASKS", "Arm", "Preset", "Request", "Task", "plan", "run", "write_report"]
