"""Data sets of simulated images: from a config to a Zarr group, chunk by chunk."""

from .config import Config, load
from .document import ConfigError
from .fill import Filled, fill
from .sheet import sheet
from .store import DataSet, ImageStatus
from .verify import Verified, verify

__all__ = ["Config", "ConfigError", "DataSet", "Filled", "ImageStatus", "Verified", "fill", "load", "sheet", "verify"]
