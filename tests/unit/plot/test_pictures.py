"""Grids of images, confusion matrices, gradients, schedules and reports."""

import html.parser

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import plot, schedules, train

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure

EPOCHS = [
    {"epoch": i + 1, "train_loss": 0.9 / (i + 1), "test_loss": 1.0 / (i + 1)}
    for i in range(3)
]
RUN = train.History(
    [0.9, 0.5, 0.3], EPOCHS, {"note": "<b>"}, {"mlx": "1"}, interrupted=False
)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """The figures that are saved."""
    monkeypatch.chdir(tmp_path)
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: figures.append(self))
    return figures


def test_several_runs_under_one_name_are_a_mean_and_a_band(drawn):
    worse = RUN._replace(
        epochs=[{**record, "train_loss": 3.0} for record in RUN.epochs]
    )
    plot.compare({"seeds": [RUN, worse]}, "unused.png")
    axis = drawn[0].axes[0]
    means = [(0.9 / epoch + 3.0) / 2 for epoch in (1, 2, 3)]
    np.testing.assert_allclose(axis.lines[0].get_ydata(), means)
    band = axis.collections[0].get_paths()[0].get_extents()
    np.testing.assert_allclose([band.y0, band.y1], [0.3, 3.0])


def test_no_run_under_a_name_is_an_error():
    with pytest.raises(ValueError, match="the run 'seeds' must hold a history, got"):
        plot.compare({"seeds": []}, "unused.png")


def test_a_confusion_matrix_is_drawn_as_shares_of_its_rows(drawn):
    plot.confusion(
        mx.array([[8, 2], [0, 0]]), "unused.png", names=["cat", "dog"], title="Pets"
    )
    axis = drawn[0].axes[0]
    np.testing.assert_allclose(axis.images[0].get_array(), [[0.8, 0.2], [0, 0]])
    assert [text.get_text() for text in axis.texts] == ["8", "2", "0", "0"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["cat", "dog"]


@pytest.mark.parametrize(
    "matrix, names, message",
    [
        (np.zeros((2, 3)), None, r"matrix must have shape \(C, C\), got \(2, 3\)"),
        (np.array([[-1]]), None, "must hold counts, at least 0, got -1"),
        (np.eye(2), ["a"], "names must be those of 2 classes, got 1"),
    ],
)
def test_what_is_no_confusion_matrix_is_an_error(matrix, names, message):
    with pytest.raises(ValueError, match=message):
        plot.confusion(matrix, "unused.png", names=names)


@pytest.mark.parametrize(
    "images, expected",
    [
        (np.full((2, 3, 3), 255, np.uint8), 1.0),
        (np.zeros((2, 3, 3, 1), np.uint8), 0.0),
        (np.full((2, 3, 3, 3), -7.0), 0.0),  # one number: black
        (mx.array([-1.0, 1.0]).reshape(2, 1, 1), None),
    ],
)
def test_images_are_scaled_by_their_kind(drawn, images, expected):
    plot.images(images, "unused.png", names=["a", "b"])
    shown = [np.array(a.images[0].get_array()) for a in drawn[0].axes if a.images]
    assert [image.shape[-1] for image in shown] == [3, 3]
    if expected is None:
        assert (shown[0].max(), shown[1].min()) == (0.0, 1.0)
    else:
        assert all((image == expected).all() for image in shown)


@pytest.mark.parametrize(
    "images, options, message",
    [
        (np.zeros((2, 3, 3, 2)), {}, r"images must have shape .* got \(2, 3, 3, 2\)"),
        (np.zeros((0, 3, 3)), {}, r"images must have shape .* got \(0, 3, 3\)"),
        (np.zeros((401, 1, 1)), {}, r"at most 400, got 401; give images\[:400\]"),
        (np.zeros((2, 3, 3)), {"names": "abc"}, "those of 2 images, got 3"),
        (np.zeros((2, 3, 3)), {"columns": 0}, "columns must be at least 1, got 0"),
    ],
)
def test_what_is_no_grid_of_images_is_an_error(images, options, message):
    with pytest.raises(ValueError, match=message):
        plot.images(images, "unused.png", **options)


def test_gradients_are_a_bar_a_layer(drawn):
    grads = {
        "fc1": {"weight": mx.array([3.0]), "bias": mx.array([4.0])},
        "fc2": {"weight": mx.array([0.0])},
        "fc3": {"weight": mx.array([float("nan")])},
    }
    plot.gradients(grads, "unused.png")
    axis = drawn[0].axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == list(grads)
    assert axis.patches[0].get_width() == 5.0
    assert [text.get_text().strip() for text in axis.texts] == ["0", "nan"]


def test_gradients_relative_to_the_params(drawn):
    grads, params = {"fc": {"w": mx.array([2.0])}}, {"fc": {"w": mx.array([8.0])}}
    plot.gradients(grads, "unused.png", params=params)
    assert drawn[0].axes[0].patches[0].get_width() == 0.25
    with pytest.raises(ValueError, match="the layers of grads, got head and fc"):
        plot.gradients(grads, "unused.png", params={"head": params["fc"]})
    with pytest.raises(ValueError, match="must hold an array, got none"):
        plot.gradients({}, "unused.png")


def test_a_schedule_is_drawn_from_its_first_to_its_last_step(drawn):
    plot.lr(schedules.polynomial_decay(1.0, decay_steps=4), "unused.png", steps=4)
    line = drawn[0].axes[0].lines[0]
    np.testing.assert_allclose(line.get_xdata(), [0, 1, 2, 3, 4])
    np.testing.assert_allclose(line.get_ydata(), [1, 0.75, 0.5, 0.25, 0])


def test_a_number_is_no_schedule():
    with pytest.raises(TypeError, match=r"plot\.lr: schedule must be a function"):
        plot.lr(0.1, "unused.png", steps=4)


class Elements(html.parser.HTMLParser):
    """The tags of a page, and the text outside of its picture and style."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        if self.tags and self.tags[-1] in ("h1", "td", "th"):
            self.words.append(data.strip())


def test_a_report_holds_the_run_and_loads_nothing(tmp_path):
    path = tmp_path / "run.html"
    RUN.to_html(path, "A & B")
    page = Elements(path.read_text())
    assert {"svg", "table", "h1"} <= set(page.tags)
    assert not {"script", "link", "img"} & set(page.tags)
    loads = {"src", "href", "xlink:href"}
    assert all(v.startswith("#") for name, v in page.attributes if name in loads)
    words = [word for word in page.words if word]
    assert words[0] == "A & B"
    assert {"test loss", "0.3333", "note", "<b>", "mlx", "1"} <= set(words)


CALLS = {
    "plot.curves": lambda path: plot.curves(RUN, path),
    "plot.compare": lambda path: plot.compare({"a": RUN}, path),
    "plot.batch_and_epoch_losses": lambda path: plot.batch_and_epoch_losses(
        {"a": RUN}, path
    ),
    "plot.confusion": lambda path: plot.confusion(mx.eye(2), path),
    "plot.images": lambda path: plot.images(mx.ones((2, 3, 3)), path),
    "plot.gradients": lambda path: plot.gradients({"w": mx.ones(3)}, path),
    "plot.lr": lambda path: plot.lr(lambda step: step * 1.0, path, steps=3),
    "plot.report": lambda path: plot.report(RUN, path),
    "history.to_html": lambda path: RUN.to_html(path),
}


@pytest.mark.parametrize("caller", CALLS)
def test_a_missing_folder_is_an_error_before_anything_is_drawn(caller, drawn):
    with pytest.raises(FileNotFoundError, match=f"^{caller}: .*there is no folder"):
        CALLS[caller]("no/picture.svg")
    assert not drawn


@pytest.mark.parametrize("caller", list(CALLS)[:7])
def test_an_unknown_suffix_is_an_error_before_anything_is_drawn(caller, drawn):
    with pytest.raises(ValueError, match=rf"^{caller}: path must end in \.png, \.pdf"):
        CALLS[caller]("picture.doc")
    assert not drawn


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".pdf", ".svg", ""])
def test_the_suffix_chooses_the_format(suffix, tmp_path):
    plot.curves(RUN, tmp_path / f"curves{suffix}")
    (written,) = tmp_path.iterdir()
    assert written.suffix == (suffix or ".png")
    begins = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}
    assert written.read_bytes().startswith(begins[written.suffix.lower()])


def test_errors_of_a_record_name_the_function_that_was_called():
    empty = RUN._replace(epochs=[])
    with pytest.raises(ValueError, match=r"^plot\.curves: history must have an epoch"):
        plot.curves(empty, "unused.png")
    with pytest.raises(TypeError, match=r"^plot\.curves: history must be a History"):
        plot.curves({"a": RUN}, "unused.png")
    with pytest.raises(TypeError, match=r"^plot\.curves: path must be a path, got His"):
        plot.curves("unused.png", RUN)
    with pytest.raises(ValueError, match=r"^history\.to_html: history must have an ep"):
        empty.to_html("unused.html")
