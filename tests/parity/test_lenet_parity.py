import numpy as np
import pytest

from tests.parity import lenet_run

# The bound; measured: 7e-7 for losses, 1e-7 for parameters.
BOUND = 1e-5


@pytest.fixture(scope="module")
def ours():
    return lenet_run.run()


def test_a_hundred_losses_and_all_parameters_are_pytorchs(ours):
    pytest.importorskip("torch")
    losses, params = ours
    expected_losses, expected_params = lenet_run.run_torch()
    np.testing.assert_allclose(losses, expected_losses, rtol=0, atol=BOUND)
    for got, expected in zip(params, expected_params, strict=True):
        for name, array in expected.items():
            np.testing.assert_allclose(got[name], array, 0, BOUND, err_msg=name)


def test_a_hundred_losses_and_the_last_parameters_are_the_golden_ones(ours):
    losses, params = ours
    golden = np.load(lenet_run.GOLDEN)
    np.testing.assert_allclose(losses, golden["losses"], rtol=0, atol=BOUND)
    for name, array in params[-1].items():
        np.testing.assert_allclose(array, golden[name], 0, BOUND, err_msg=name)
