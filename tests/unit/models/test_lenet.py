import mlx.core as mx
import pytest

from lucid_fn import models, random, tree


def test_parameters_are_those_of_the_reference_experiment():
    params, state = models.lenet5().init(random.key(0))
    sizes = {name: tree.size(child) for name, child in params.items()}
    assert sizes == {
        "conv1": 156,
        "conv2": 2_416,
        "fc1": 30_840,
        "fc2": 10_164,
        "fc3": 850,
    }
    assert state == {}


@pytest.mark.parametrize(
    ("shape", "message", "layer"),
    [
        ((2, 28, 28), r"conv2d: x must have shape \(N, H, W, 1\)", "conv1"),
        ((2, 1, 28, 28), r"conv2d: x must have shape \(N, H, W, 1\)", "conv1"),
        ((2, 32, 32, 1), r"linear: x must have shape \(\.\.\., 256\)", "fc1"),
    ],
)
def test_a_wrong_image_is_an_error_that_names_the_layer(shape, message, layer):
    model = models.lenet5()
    params, state = model.init(random.key(0))
    with pytest.raises(ValueError, match=message) as caught:
        model.apply(params, state, mx.zeros(shape), train=False)
    assert caught.value.__notes__ == [f"in layer {layer}"]
