"""What the library does on a Mac, and with CUDA: it imports, trains and reports.

There is neither here. A process pretends to be one: it has the names that Python gives
the platform, none of the functions, files and libraries that only Linux has, and MLX
says that it computes on a GPU. What it computes is what a GPU would, on the CPU.
"""

import json
import subprocess
import sys

MAC = """
import builtins, ctypes, os, platform, sys, sysconfig, tempfile

sysconfig.get_config_vars(), platform.platform()  # made for the real platform
sys.platform = "darwin"
platform.system, platform.machine = lambda: "Darwin", lambda: "arm64"
for name in dir(os):
    if name.startswith(("sched_", "SCHED_", "ST_", "memfd", "eventfd", "pidfd")):
        delattr(os, name)
os.sysconf_names = {}

def refusing(function):
    def run(path, *args, **options):
        if str(path).startswith(("/proc", "/sys")) or ".so" in str(path):
            raise AssertionError(f"{path} is not on a Mac")
        return function(path, *args, **options)
    return run

builtins.open = refusing(builtins.open)
os.scandir, os.listdir = refusing(os.scandir), refusing(os.listdir)
"""

GPU = """
import mlx.core as mx

streams = mx.default_stream
mx.default_device = lambda: mx.Device(mx.gpu)
mx.default_stream = lambda device: streams(mx.cpu)
mx.device_info = lambda: {info}
"""

TRAINING = """
import warnings
warnings.simplefilter("error")

import mlx.core as mx
from lucid_fn import doctor, losses, nn, optim, random, train
from lucid_fn.cpu import runtime
from lucid_fn.doctor import report

block = [nn.conv2d(1, 4, 3), nn.batch_norm(4), nn.relu, nn.max_pool2d(2)]
model = nn.serial(*block, nn.flatten, nn.layer_norm(36), nn.linear(36, 3))
optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(0.05))
ts = train.init(model, optimizer, random.key(0))
step = train.make_step(model, optimizer, losses.softmax_cross_entropy)
x, labels = random.normal(random.key(1), (6, 8, 8, 1)), mx.arange(6) % 3
found = []
for _ in range(5):
    ts, metrics = step(ts, x, labels)
    found.append(metrics["loss"].item())
assert found[-1] < 0.9 * found[0], found

report.CHECKS = [x for x in report.CHECKS if "timings" not in x.__module__]
print(doctor.as_json(doctor.examine()))
runtime.set_blas_threads(1)
print(*runtime.start().notes)
"""


def run(*parts):
    """What the doctor found in a process that runs these lines, and the notes."""
    done = subprocess.run(
        [sys.executable, "-c", "".join(parts)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    report, end = json.JSONDecoder().raw_decode(done.stdout)
    checks = {check["name"]: check for check in report["checks"]}
    checks.pop("load")  # other programs
    return report["versions"], checks, done.stdout[end:].strip()


def test_a_mac_trains_on_its_gpu():
    info = {"device_name": "Apple M4", "memory_size": 16 * 2**30}
    versions, checks, notes = run(MAC, GPU.format(info=info), TRAINING)
    assert versions["Darwin"] == "arm64"
    assert checks["device"]["found"] == "GPU: Apple M4, 16 GiB of memory"
    assert {check["verdict"] for check in checks.values()} == {"ok"}
    assert notes == "nothing to do on darwin"


def test_a_mac_trains_on_its_cpu():
    _, checks, notes = run(MAC, TRAINING)
    assert checks["device"]["found"].startswith("CPU: ")
    assert {checks[name]["verdict"] for name in ("BLAS", "kernels")} == {"ok"}
    assert notes == "nothing to do on darwin"


def test_linux_trains_with_cuda():
    info = {"device_name": "NVIDIA H100", "total_memory": 80 * 2**30}
    _, checks, notes = run(GPU.format(info=info), TRAINING)
    assert checks["device"]["found"] == "GPU: NVIDIA H100, 80 GiB of memory"
    assert {check["verdict"] for check in checks.values()} == {"ok"}
    assert notes == "nothing to do on a GPU"
