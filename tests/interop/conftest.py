import pytest

from lenskern.interop import autoarray


@pytest.fixture
def theirs():
    """autoarray, without lenskern before and after."""
    module = pytest.importorskip("autoarray", reason="autoarray is not installed: pip install 'lenskern[autolens]'")
    autoarray.unregister()
    yield module
    autoarray.unregister()
