"""The ablation as one command: which runs (suites, plan), one (runs), many (pool), what they say (report)."""

from .plan import NAMES, Request, plan
from .report import write_report
from .suites import SUITES, Arm
from .tasks import PRESETS, TASKS, Preset, Task
from .work import run

__all__ = ["NAMES", "PRESETS", "SUITES", "TASKS", "Arm", "Preset", "Request", "Task", "plan", "run", "write_report"]
