"""Optimizers that PyTorch lacks, against a transcription of the paper in NumPy.

The transcriptions are in float64, one array at a time, and share nothing with the
library.
"""

import mlx.core as mx
import numpy as np
from hypothesis import strategies as st

from lucid_fn import optim, schedules, transforms
from tests import optimizers
from tests.optimizers import IN_FLOAT64, STEPS, several, weight_decays

rates = st.floats(1e-3, 0.1)
decays = st.floats(0.1, 0.999)
tiny = st.floats(1e-16, 1e-3)


def draw(seed, shape=(4, 3)):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape), list(rng.normal(size=(STEPS, *shape)))


def ours(optimizer, p, grads, dtype=mx.float32):
    grads = [{"weight": g} for g in grads]
    return optimizers.ours(optimizer, {"weight": p}, grads, dtype)


def check(optimizer, p, grads, expected, bound=1e-5, in_float64=IN_FLOAT64):
    for dtype, limit in ((mx.float32, bound), (mx.float64, in_float64)):
        params, _ = ours(optimizer, p, grads, dtype)
        np.testing.assert_allclose(
            params["weight"], expected, rtol=limit, atol=limit, err_msg=str(dtype)
        )


@several(lr=rates, b1=decays, b2=decays, weight_decay=weight_decays)
def test_lion(seed, lr, b1, b2, weight_decay):
    p0, grads = draw(seed)
    p, m = p0, 0
    for g in grads:
        c = b1 * m + (1 - b1) * g
        p = p - lr * (np.sign(c) + weight_decay * p)
        m = b2 * m + (1 - b2) * g
    check(optim.lion(lr, b1=b1, b2=b2, weight_decay=weight_decay), p0, grads, p)


@several(lr=rates, b1=decays, b2=decays, eps=tiny, weight_decay=weight_decays)
def test_adabelief(seed, lr, b1, b2, eps, weight_decay):
    p0, grads = draw(seed)
    p, m, s = p0, 0, 0
    for t, g in enumerate(grads, 1):
        m = b1 * m + (1 - b1) * g
        s = b2 * s + (1 - b2) * (g - m) ** 2 + eps
        m_hat, s_hat = m / (1 - b1**t), s / (1 - b2**t)
        p = (1 - lr * weight_decay) * p - lr * m_hat / (np.sqrt(s_hat) + eps)
    optimizer = optim.adabelief(lr, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)
    check(optimizer, p0, grads, p, bound=3e-5)


@several(lr=rates, b1=decays, b2=decays, eps=tiny, initial=st.floats(1e-6, 1))
def test_yogi(seed, lr, b1, b2, eps, initial):
    p0, grads = draw(seed)
    p, m, v = p0, 0, initial
    for t, g in enumerate(grads, 1):
        m = b1 * m + (1 - b1) * g
        v = v - (1 - b2) * np.sign(v - g * g) * g * g
        p = p - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
    check(optim.yogi(lr, b1=b1, b2=b2, eps=eps, initial=initial), p0, grads, p)


@several(lr=rates, b1=decays, b2=decays, b3=decays, weight_decay=weight_decays)
def test_adan(seed, lr, b1, b2, b3, weight_decay):
    p0, grads = draw(seed)
    p, m, v, n, before = p0, 0, 0, 0, grads[0]
    for k, g in enumerate(grads, 1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * (g - before)
        n = b3 * n + (1 - b3) * (g + b2 * (g - before)) ** 2
        before = g
        eta = lr / (np.sqrt(n / (1 - b3**k)) + 1e-8)
        u = m / (1 - b1**k) + b2 * v / (1 - b2**k)
        p = (1 - lr * weight_decay) * p - eta * u
    optimizer = optim.adan(lr, b1=b1, b2=b2, b3=b3, weight_decay=weight_decay)
    check(optimizer, p0, grads, p, bound=3e-5)


@several(
    lr=rates, b1=decays, b2=decays, gamma=st.floats(0, 1), weight_decay=weight_decays
)
def test_mars(seed, lr, b1, b2, gamma, weight_decay):
    p0, grads = draw(seed)
    p, m, v, before = p0, 0, 0, grads[0]
    for t, g in enumerate(grads, 1):
        c = g + gamma * b1 / (1 - b1) * (g - before)
        c = c / max(1, np.linalg.norm(c))
        before = g
        m, v = b1 * m + (1 - b1) * c, b2 * v + (1 - b2) * c**2
        u = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
        p = (1 - lr * weight_decay) * p - lr * u
    optimizer = optim.mars(lr, b1=b1, b2=b2, gamma=gamma, weight_decay=weight_decay)
    check(optimizer, p0, grads, p, bound=3e-5)


@several(
    lr=rates,
    b1=st.floats(0.5, 0.9),
    b2=decays,
    b3=st.floats(0.9, 0.9999),
    alpha=st.floats(0, 10),
    warmup=st.sampled_from([0, 1, 7, 20, 100]),
    weight_decay=weight_decays,
)
def test_ademamix(seed, lr, b1, b2, b3, alpha, warmup, weight_decay):
    p0, grads = draw(seed)
    p, m1, m2, v = p0, 0, 0, 0
    for t, g in enumerate(grads, 1):
        part = t / warmup if warmup else 1
        alpha_t = min(part * alpha, alpha)
        fast, slow = np.log(b1), np.log(b3)
        b3_t = min(np.exp(fast * slow / ((1 - part) * slow + part * fast)), b3)
        if part > 1:  # the formula has a pole there
            b3_t = b3
        m1 = b1 * m1 + (1 - b1) * g
        m2 = b3_t * m2 + (1 - b3_t) * g
        v = b2 * v + (1 - b2) * g * g
        u = (m1 / (1 - b1**t) + alpha_t * m2) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
        p = p - lr * (u + weight_decay * p)
    optimizer = optim.ademamix(
        lr,
        b1=b1,
        b2=b2,
        b3=b3,
        alpha=alpha,
        warmup_steps=warmup,
        weight_decay=weight_decay,
    )
    check(optimizer, p0, grads, p, bound=3e-5)


@several(
    lr=st.floats(0.5, 1),
    b1=st.floats(0.1, 0.9),
    b2=st.floats(0.9, 0.999),
    d0=st.floats(1e-3, 1e-2),
    weight_decay=weight_decays,
)
def test_prodigy(seed, lr, b1, b2, d0, weight_decay):
    x0, noise = draw(seed)
    grads = []
    x, d, r, s, m, v = x0, d0, 0, 0, 0, 0
    for k in range(STEPS):
        gamma = lr * (1 - k / STEPS)
        g = x + 0.1 * noise[k]  # the loss is x**2 / 2, so the distance is that to 0
        grads.append(g)
        m = b1 * m + (1 - b1) * d * g
        v = b2 * v + (1 - b2) * d**2 * g**2
        r = np.sqrt(b2) * r + (1 - np.sqrt(b2)) * gamma * d**2 * np.sum(g * (x0 - x))
        s = np.sqrt(b2) * s + (1 - np.sqrt(b2)) * gamma * d**2 * g
        u = m / (np.sqrt(v) + d * 1e-8) + weight_decay * x
        x = x - gamma * d * u
        d = max(d, r / np.sum(np.abs(s)))
    assert d > d0
    optimizer = optim.prodigy(
        schedules.polynomial_decay(lr, decay_steps=STEPS),
        b1=b1,
        b2=b2,
        weight_decay=weight_decay,
        initial_distance=d0,
    )
    # The first steps are as small as d0; what they are rounded by is in d for good.
    for dtype, limit in ((mx.float32, 1e-4), (mx.float64, IN_FLOAT64)):
        params, opt_state = ours(optimizer, x0, grads, dtype)
        np.testing.assert_allclose(opt_state.distance.item(), d, rtol=limit)
        np.testing.assert_allclose(params["weight"], x, rtol=limit, atol=limit)


@several(lr=rates, b1=decays, b2=decays, weight_decay=weight_decays)
def test_novograd(seed, lr, b1, b2, weight_decay):
    w0, grads = draw(seed)
    w, m, v = w0, 0, np.sum(grads[0] ** 2)
    for g in grads:
        v = b2 * v + (1 - b2) * np.sum(g**2)
        m = b1 * m + (g / (np.sqrt(v) + 1e-8) + weight_decay * w)
        w = w - lr * m
    optimizer = optim.novograd(lr, b1=b1, b2=b2, weight_decay=weight_decay)
    check(optimizer, w0, grads, w)


@several(lr=rates, b1=decays, b2=decays, weight_decay=weight_decays)
def test_lamb(seed, lr, b1, b2, weight_decay):
    p0, grads = draw(seed)
    p, m, v = p0, 0, 0
    for t, g in enumerate(grads, 1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        r = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-6)
        u = r + weight_decay * p
        p = p - lr * np.linalg.norm(p) / np.linalg.norm(u) * u
    check(optim.lamb(lr, b1=b1, b2=b2, weight_decay=weight_decay), p0, grads, p)


@several(
    lr=st.floats(0.1, 10),
    momentum=st.floats(0, 0.95),
    weight_decay=weight_decays,
    trust=st.floats(1e-3, 1e-2),
)
def test_lars(seed, lr, momentum, weight_decay, trust):
    p0, grads = draw(seed)
    p, v = p0, 0
    for t, g in enumerate(grads):
        rate = lr * (1 - t / STEPS) ** 2
        w_norm, g_norm = np.linalg.norm(p), np.linalg.norm(g)
        local = trust * w_norm / (g_norm + weight_decay * w_norm + 1e-8)
        v = momentum * v + rate * local * (g + weight_decay * p)
        p = p - v
    optimizer = optim.lars(
        schedules.polynomial_decay(lr, decay_steps=STEPS, power=2),
        momentum=momentum,
        weight_decay=weight_decay,
        trust_coefficient=trust,
    )
    check(optimizer, p0, grads, p, bound=3e-5)


@several(lr=rates, b1=decays, weight_decay=weight_decays, warmup=st.integers(2, 5))
def test_schedule_free_sgd(seed, lr, b1, weight_decay, warmup):
    y0, grads = draw(seed)
    x, z, weights = y0, y0, 0.0
    for t, g in enumerate(grads):
        rate = lr * min(1, t / warmup)
        y = (1 - b1) * z + b1 * x
        z = z - rate * (g + weight_decay * y)
        weights += rate**2
        c = rate**2 / weights if weights else 0
        x = (1 - c) * x + c * z

    schedule = schedules.linear(lr, start_factor=0.0, total_steps=warmup)
    optimizer = optim.schedule_free_sgd(schedule, b1=b1, weight_decay=weight_decay)
    y = (1 - b1) * z + b1 * x
    for dtype, limit in ((mx.float32, 1e-5), (mx.float64, IN_FLOAT64)):
        params, opt_state = ours(optimizer, y0, grads, dtype)
        np.testing.assert_allclose(params["weight"], y, rtol=limit, atol=limit)
        params = {"weight": mx.array(params["weight"], dtype)}
        averaged = optim.schedule_free_params(opt_state, params)["weight"]
        np.testing.assert_allclose(averaged, x, rtol=limit, atol=limit / b1)


@several(lr=rates, b1=decays, b2=decays, weight_decay=weight_decays)
def test_schedule_free_adamw(seed, lr, b1, b2, weight_decay):
    y0, grads = draw(seed)
    x, z, v = y0, y0, 0
    for t, g in enumerate(grads, 1):
        y = (1 - b1) * z + b1 * x
        v = b2 * v + (1 - b2) * g * g
        z = z - lr * (g / (np.sqrt(v / (1 - b2**t)) + 1e-8) + weight_decay * y)
        x = (1 - 1 / t) * x + z / t
    optimizer = optim.schedule_free_adamw(lr, b1=b1, b2=b2, weight_decay=weight_decay)
    check(optimizer, y0, grads, (1 - b1) * z + b1 * x, bound=2e-5)


@several(
    lr=rates,
    momentum=decays,
    shape=st.sampled_from([(4, 3), (3, 4), (5, 2, 2), (1, 6)]),
)
def test_muon(seed, lr, momentum, shape):
    p0, grads = draw(seed, shape)
    p, m = p0, 0
    for g in grads:
        m = momentum * m + (1 - momentum) * g
        x = (momentum * m + (1 - momentum) * g).reshape(shape[0], -1)
        ratio = np.sqrt(max(1, x.shape[0] / x.shape[1]))
        x = x / np.linalg.norm(x)
        for _ in range(5):
            a = x @ x.T
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        p = p - lr * ratio * x.reshape(shape)
    optimizer = optim.muon(lr, momentum=momentum, weight_decay=0.0)
    check(optimizer, p0, grads, p, bound=3e-4, in_float64=1e-6)


@several(lr=rates, alpha=st.floats(0, 1), period=st.integers(1, 6))
def test_lookahead(seed, lr, alpha, period):
    p0, grads = draw(seed)
    slow = fast = p0
    for t, g in enumerate(grads, 1):
        fast = fast - lr * g
        if t % period == 0:
            slow = slow + alpha * (fast - slow)
            fast = slow
    optimizer = optim.lookahead(optim.sgd(lr), period=period, alpha=alpha)
    check(optimizer, p0, grads, fast)


@several(clipping=st.floats(1e-3, 2), shape=st.sampled_from([(4, 3), (3, 2, 2), (5,)]))
def test_adaptive_gradient_clipping(seed, clipping, shape):
    p, (g, *_) = draw(seed, shape)
    p[0] = 0  # less than eps
    expected = g.copy()
    units = [np.s_[i] for i in range(shape[0])] if len(shape) > 1 else [np.s_[:]]
    for unit in units:
        limit = clipping * max(np.linalg.norm(p[unit]), 1e-3)
        expected[unit] *= min(1, limit / np.linalg.norm(g[unit]))
    clip = optim.clip_by_param_norm(clipping)
    grads, params = ({"w": mx.array(x.astype(np.float32))} for x in (g, p))
    np.testing.assert_allclose(
        clip.update(grads, (), params)[0]["w"], expected, rtol=1e-5, atol=1e-6
    )


@several(rho=st.floats(0.01, 1), adaptive=st.booleans())
def test_sam(seed, rho, adaptive):
    p, (a, *_) = draw(seed)
    g = 4 * a * p**3  # the loss is sum(a * p**4)
    if adaptive:
        uphill = p + rho * p * p * g / np.linalg.norm(p * g)
    else:
        uphill = p + rho * g / np.linalg.norm(g)
    weights = mx.array(a.astype(np.float32))
    value_and_grad = transforms.value_and_grad(
        lambda params: mx.sum(weights * params["w"] ** 4)
    )
    params = {"w": mx.array(p.astype(np.float32))}
    value, grads = optim.sam(value_and_grad, rho=rho, adaptive=adaptive)(params)
    np.testing.assert_allclose(value.item(), np.sum(a * p**4), rtol=1e-4)
    expected = 4 * a * uphill**3
    np.testing.assert_allclose(grads["w"], expected, rtol=1e-3, atol=1e-4)


@several(eta=st.floats(0.01, 1), gamma=st.floats(0, 1))
def test_noise_has_the_variance_of_the_paper(seed, eta, gamma):
    noise = optim.add_noise(mx.random.key(seed), eta=eta, gamma=gamma)
    grads = {"a": mx.zeros(20_000), "b": mx.zeros(20_000)}
    opt_state = noise.init(grads)
    drawn = []
    for t in range(3):
        updates, opt_state = noise.update(grads, opt_state, grads)
        for x in updates.values():
            variance = np.var(np.array(x))
            np.testing.assert_allclose(variance, eta / (1 + t) ** gamma, rtol=0.06)
            drawn.append(np.array(x))
    correlations = np.corrcoef(drawn) - np.eye(len(drawn))
    assert np.abs(correlations).max() < 0.05
