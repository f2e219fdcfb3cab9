"""How the cost grows with the batch, for this library and eager PyTorch."""

from tests.benchmarks.turns import OURS, Peer, race

RIVALS = {
    "lenet-64": Peer("PyTorch, eager", "pytorch", "nchw"),
    "resnet18-128": Peer(
        "PyTorch, eager, channels last", "pytorch", "channels_last", True
    ),
}
SIZES = {
    "lenet-64": (16, 32, 64, 128, 256, 512),
    "resnet18-128": (16, 32, 64, 128, 256, 512),
}


def measure() -> dict[str, list[dict]]:
    """For each workload a row a batch size: medians and peaks of both."""
    rows: dict[str, list[dict]] = {}
    for name, rival in RIVALS.items():
        rows[name] = []
        for size in SIZES[name]:
            print(f" {name}, batches of {size}", flush=True)
            ours, theirs = race(name, 3, size=size, peers=[OURS, rival])
            rows[name].append(
                {
                    "batch_size": size,
                    "ours": ours.median,
                    "theirs": theirs.median,
                    "our_peak": ours.peak,
                    "their_peak": theirs.peak,
                }
            )
    return rows
