"""LeNet-5 on MNIST from an installed package: `python -m lucid_fn demo`."""

from lucid_fn import data, losses, metrics, models, optim, random, train


def run(root: str | None = None, *, epochs: int = 3, out: str | None = None) -> None:
    """Train LeNet-5 and print its test accuracy.

    Args:
        root: the folder with MNIST's four files; by default that of `data.load_mnist`,
            to which missing files are downloaded (11.6 MB).
        epochs: passes through the 60,000 images, at least 1; about five seconds each on
            two cores.
        out: the `.json` file to write the record of the run to, if any.

    Raises:
        FileNotFoundError: if `root` is given and lacks files.
        OSError: if files are missing and cannot be downloaded.
    """
    dataset = data.load_mnist(root, download=root is None)
    x_train = data.normalize(dataset.train_images, data.MNIST_MEAN, data.MNIST_STD)
    x_test = data.normalize(dataset.test_images, data.MNIST_MEAN, data.MNIST_STD)

    model, optimizer = models.lenet5(), optim.sgd(0.02, momentum=0.9)
    loss, accuracy = losses.softmax_cross_entropy, {"accuracy": metrics.accuracy}
    train.fit(
        train.init(model, optimizer, random.key(42)),
        train.make_step(model, optimizer, loss, metrics=accuracy),
        lambda epoch: data.batches(
            (x_train, dataset.train_labels), 64, seed=(42, epoch)
        ),
        epochs=epochs,
        evaluate=train.make_eval_step(model, loss, metrics=accuracy),
        test_batches=data.batches((x_test, dataset.test_labels), 1000),
        history_path=out,
    )
