"""gpu.py [OPTION...]: build lenskern in build/gpu and run its GPU harness; the options are those of the harness.

It takes this Python's jax and the nvcc that is found, fetches nothing and installs nothing.
"""

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

import build_in_place

FOLDER = Path("build/gpu")
# Of the CUDA driver: compute capability, major and minor.
CAPABILITY = (75, 76)
NO_GPU = (
    "lenskern: there is no NVIDIA GPU here, or no driver for it ({reason}). On a machine that has one, this builds the "
    "CUDA kernels, checks and measures them; make gpu GPU_ARGS=--dry-run goes through all of it on the CPU."
)


def main(options):
    """Build and run; returns the exit code."""
    started = time.time()
    os.chdir(build_in_place.ROOT)
    dry_run = "--dry-run" in options
    architecture, reason = (None, None) if dry_run else find_gpu()
    if reason is not None:
        print(NO_GPU.format(reason=reason), file=sys.stderr)
        return 1
    arguments = [str(FOLDER), "--cuda", "AUTO" if dry_run else "ON"]
    arguments += ["--architectures", architecture] if architecture else []
    code = build_in_place.main(arguments)
    if code:
        return code
    print(f"built in {time.time() - started:.0f} s", flush=True)
    command = [sys.executable, "-m", "lenskern.bench", "gpu", "--started", str(started), *options]
    path = os.pathsep.join(filter(None, [str(FOLDER.resolve() / "site"), os.environ.get("PYTHONPATH")]))
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": path}).returncode


def find_gpu():
    """Ask the driver for its first GPU, before minutes of building.

    Returns
    -------
    tuple
        Its architecture, as in "90-real", and None; or None and why there is none.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None, "libcuda.so.1 cannot be loaded"
    error = driver.cuInit(0)
    if error:
        return None, f"cuInit gives error {error}"
    count, device, numbers = ctypes.c_int(), ctypes.c_int(), [ctypes.c_int() for _ in CAPABILITY]
    if driver.cuDeviceGetCount(ctypes.byref(count)) or count.value == 0:
        return None, "the driver knows of no device"
    driver.cuDeviceGet(ctypes.byref(device), 0)
    for number, attribute in zip(numbers, CAPABILITY, strict=True):
        driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
    return "{}{}-real".format(*(number.value for number in numbers)), None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
