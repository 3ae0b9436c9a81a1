import os

import jax
from hypothesis import settings

# float64 is for the caller to switch on; the library never does.
jax.config.update("jax_enable_x64", True)

# A first example compiles, so time says nothing; fixed examples, so that a run can be repeated.
settings.register_profile("lenskern", deadline=None, derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "lenskern"))
