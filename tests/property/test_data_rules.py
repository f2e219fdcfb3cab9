"""Rules that every augmentation keeps."""

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import random
from tests.fusion import jitted
from tests.registry.case import over
from tests.registry.data import AUGMENTATIONS, DIFFERENT
from tests.strategies import equal


def drawn(case):
    return case.make(), *case.inputs(np.random.default_rng(0))


@over(AUGMENTATIONS)
@pytest.mark.parametrize("dtype", [mx.uint8, mx.float32, mx.float16])
def test_images_keep_their_shape_and_dtype(case, dtype):
    augment, images = drawn(case)
    found = augment(random.key(0), images.astype(dtype))
    assert (found.shape, found.dtype) == (images.shape, dtype)


@over(AUGMENTATIONS)
def test_the_result_is_a_function_of_key_and_images(case):
    augment, images = drawn(case)
    before = np.array(images)
    once = augment(random.key(0), images)
    assert equal(once, augment(random.key(0), images))
    assert equal(once, lf.jit(augment)(random.key(0), images))
    assert np.array_equal(before, images)
    others = [augment(random.key(seed), images) for seed in range(1, 5)]
    assert not all(equal(once, other) for other in others)


@over(AUGMENTATIONS)
def test_compiled_and_vmapped_as_eager(case):
    augment, images = drawn(case)
    keys = random.split(random.key(5), 3)
    several = mx.stack([images, images[::-1], images + 1])
    expected = mx.stack([augment(k, x) for k, x in zip(keys, several, strict=True)])
    assert mx.array_equal(lf.vmap(augment)(keys, several), expected)
    assert mx.array_equal(jitted(lf.vmap(augment), keys, several), expected)


@over(AUGMENTATIONS, DIFFERENT)
def test_images_are_augmented_one_by_one(case):
    augment, images = drawn(case)
    same = mx.broadcast_to(images[:1], (64, *images.shape[1:]))
    found = np.array(augment(random.key(0), same))
    assert len(np.unique(found.reshape(64, -1), axis=0)) > 1


@over(AUGMENTATIONS)
def test_what_is_no_key_or_no_batch_of_images_is_refused(case):
    augment, images = drawn(case)
    with pytest.raises(TypeError, match="key must be a key"):
        augment(0, images)
    with pytest.raises(ValueError, match=rf"^{case.name}: images must have shape"):
        augment(random.key(0), images[0])
