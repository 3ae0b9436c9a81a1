"""Where the time of a likelihood of PyAutoLens goes, single and under vmap."""

from .api import Program, Report, probe
from .report import records, table_of, text

__all__ = ["Program", "Report", "probe", "records", "table_of", "text"]
