"""How the cost grows with the batch and the image, for us and eager PyTorch."""

from tests.benchmarks.turns import OURS, Peer, race

RIVALS = {
    "lenet-64": Peer("PyTorch, eager", "pytorch", "nchw"),
    "resnet18-128": Peer(
        "PyTorch, eager, channels last", "pytorch", "channels_last", True
    ),
}
BATCHES = (16, 32, 64, 128, 256, 512)
SIDES = (16, 32, 64, 96)  # pixels; LeNet-5 takes 28 only
BATCH_OF_SIDES = 32


def measure() -> dict[str, list[dict]]:
    """For each workload, a row a batch size and a row an image size."""
    rows: dict[str, list[dict]] = {}
    for name in RIVALS:
        rows[name] = [_row(name, batch, None) for batch in BATCHES]
    rows["resnet18-128"] += [
        _row("resnet18-128", BATCH_OF_SIDES, side) for side in SIDES
    ]
    return rows


def _row(name: str, batch: int, side: int | None) -> dict:
    """Medians and peaks of both."""
    print(f" {name}, batches of {batch}, sides of {side}", flush=True)
    peers = [OURS, RIVALS[name]]
    ours, theirs = race(name, 3, size=batch, side=side, peers=peers)
    return {
        "batch_size": batch,
        "side": side,
        "ours": ours.median,
        "theirs": theirs.median,
        "our_peak": ours.peak,
        "their_peak": theirs.peak,
    }
