"""Training in PyTorch, on the batches of `lucid_fn.data`."""

import time

import mlx.core as mx
import numpy as np
import torch

from lucid_fn import train, tree
from lucid_fn.interop import compare


def tensors(x, labels) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch as PyTorch tensors, channels first."""
    images = torch.from_numpy(np.array(x)).permute(0, 3, 1, 2)
    return images, torch.from_numpy(np.array(labels)).long()


def step(peer, optimizer, x, labels) -> tuple[torch.Tensor, torch.Tensor]:
    """Make one update; return the logits and the loss before it."""
    optimizer.zero_grad()
    logits = peer(x)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    loss.backward()
    optimizer.step()
    return logits.detach(), loss.detach()


def record_step(peer, optimizer, x, labels, to_ours) -> compare.StepRecord:
    """Make one update; record it as `compare.record_step` does, in the same layout.

    `to_ours` converts a state dict to `(params, state)`.
    """
    params, _ = to_ours(peer.state_dict())
    logits, loss = step(peer, optimizer, *tensors(x, labels))
    moved, state = to_ours(peer.state_dict())
    gradients = {name: p.grad for name, p in peer.named_parameters()}
    grads, _ = to_ours(gradients | dict(peer.named_buffers()))
    return {
        "output": mx.array(logits.numpy()),
        "loss": mx.array(loss.numpy()),
        "gradient": grads,
        "statistic": state,
        "update": tree.map(lambda new, old: new - old, moved, params),
    }


def fit(config, peer, optimizer, batches, test_batches) -> train.History:
    """The loop of `train.fit` in PyTorch."""
    scheduler = torch.optim.lr_scheduler.StepLR(
        optimizer, config.step_size, config.gamma
    )
    batch_losses, epochs = [], []
    for epoch in range(config.epochs):
        start = time.perf_counter()
        sums, size = np.zeros(2), 0
        peer.train()
        for x, labels in (tensors(*batch) for batch in batches(epoch)):
            if len(batch_losses) == config.steps:
                break
            logits, loss = step(peer, optimizer, x, labels)
            batch_losses.append(loss.item())
            correct = (logits.argmax(1) == labels).sum().item()
            sums += (loss.item() * len(x), correct)
            size += len(x)
        middle = time.perf_counter()
        record = {"epoch": epoch + 1, "train_seconds": middle - start}
        record["train_loss"], record["train_accuracy"] = (sums / size).tolist()
        sums, size = np.zeros(2), 0
        peer.eval()
        with torch.no_grad():
            for x, labels in (tensors(*batch) for batch in test_batches):
                logits = peer(x)
                loss = torch.nn.functional.cross_entropy(logits, labels).item()
                sums += (loss * len(x), (logits.argmax(1) == labels).sum().item())
                size += len(x)
        record["test_seconds"] = time.perf_counter() - middle
        record["test_loss"], record["test_accuracy"] = (sums / size).tolist()
        record["learning_rate"] = optimizer.param_groups[0]["lr"]
        scheduler.step()
        epochs.append(record)
        print(train.progress.epoch_line(record, config.epochs), flush=True)
        if len(batch_losses) == config.steps:
            break
    environment = {"torch": torch.__version__, "threads": str(torch.get_num_threads())}
    return train.History(batch_losses, epochs, config._asdict(), environment, False)
