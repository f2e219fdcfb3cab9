import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import models, nn, random, tree

SIZES = {"num_layers": 2, "num_heads": 2, "d_model": 16}
PROMPT = mx.array([[3, 1, 4, 1], [2, 7, 1, 8]])


@pytest.fixture(scope="module")
def gpt():
    """A decoder for two texts, its params and an empty cache."""
    decoder = models.gpt(50, 24, **SIZES, cache=(2, 20))
    params, state = decoder.init(random.key(0))
    return decoder, tree.map(lambda x: 5 * x, params), state


def naive(params, tokens, count, choose):
    """The whole text through the whole model for each token."""
    model = models.gpt(50, 24, **SIZES)
    for i in range(count):
        logits, _ = model.apply(params, {}, tokens, train=False)
        new = choose(logits[:, -1], i)
        tokens = mx.concatenate([tokens, new[:, None].astype(mx.int32)], axis=1)
    return tokens


def test_at_temperature_0_it_takes_the_most_probable_token(gpt):
    tokens, _ = models.generate(*gpt, PROMPT, max_new_tokens=9, temperature=0)
    expected = naive(gpt[1], PROMPT, 9, lambda logits, i: mx.argmax(logits, axis=-1))
    assert tokens.dtype == mx.int32 and tokens.shape == (2, 13)
    assert mx.array_equal(tokens, expected)
    assert len(set(tokens.flatten().tolist())) > 4


def test_it_draws_what_a_naive_loop_draws(gpt):
    key = random.key(5)
    tokens, _ = models.generate(
        *gpt, PROMPT, max_new_tokens=9, temperature=0.7, key=key
    )

    def draw(logits, i):
        return random.categorical(random.fold_in(key, i), logits / mx.array(0.7))

    assert mx.array_equal(tokens, naive(gpt[1], PROMPT, 9, draw))
    again, _ = models.generate(*gpt, PROMPT, max_new_tokens=9, key=random.key(6))
    assert not mx.array_equal(tokens, again)


def test_each_text_of_a_batch_is_continued_alone(gpt):
    params = gpt[1]
    both, _ = models.generate(*gpt, PROMPT, max_new_tokens=9, temperature=0)
    single = models.gpt(50, 24, **SIZES, cache=(1, 20))
    _, state = single.init(random.key(0))
    for i in range(2):
        one, _ = models.generate(
            single, params, state, PROMPT[i : i + 1], max_new_tokens=9, temperature=0
        )
        assert mx.array_equal(one[0], both[i])


@pytest.mark.parametrize("options", [{}, {"top_k": 9, "top_p": 0.8}])
def test_keys_may_be_mapped_over_for_a_single_text(options, gpt):
    single = models.gpt(50, 24, **SIZES, cache=(1, 20))
    _, state = single.init(random.key(0))

    def written(key):
        options_ = {"max_new_tokens": 3, "key": key, **options}
        return models.generate(single, gpt[1], state, PROMPT[:1], **options_)[0]

    keys = random.split(random.key(2), 3)
    assert mx.array_equal(
        lf.vmap(written)(keys), mx.stack([written(key) for key in keys])
    )


@pytest.mark.parametrize("length", [1, 2, 4])
def test_prompts_of_any_length_are_continued(length, gpt):
    prompt = PROMPT[:, :length]
    tokens, _ = models.generate(*gpt, prompt, max_new_tokens=5, temperature=0)
    expected = naive(gpt[1], prompt, 5, lambda logits, i: mx.argmax(logits, axis=-1))
    assert mx.array_equal(tokens, expected)


def test_a_text_goes_on_from_the_state_that_was_returned(gpt):
    decoder, params, _ = gpt
    whole, _ = models.generate(*gpt, PROMPT, max_new_tokens=9, temperature=0)
    first, moved = models.generate(*gpt, PROMPT, max_new_tokens=4, temperature=0)
    rest, _ = models.generate(
        decoder, params, moved, first[:, -1:], max_new_tokens=5, temperature=0
    )
    assert mx.array_equal(mx.concatenate([first[:, :-1], rest], axis=1), whole)


def test_the_given_state_and_prompt_stay_as_they_are(gpt):
    models.generate(*gpt, PROMPT, max_new_tokens=9, temperature=0)
    assert not any(mx.any(leaf).item() for leaf in tree.leaves(gpt[2]))
    assert PROMPT.tolist() == [[3, 1, 4, 1], [2, 7, 1, 8]]


def test_after_its_end_a_text_is_the_end_token(gpt):
    free, _ = models.generate(*gpt, PROMPT, max_new_tokens=9, temperature=0)
    end = free[0, 6].item()  # the third new token of the first text
    tokens, _ = models.generate(
        *gpt, PROMPT, max_new_tokens=9, temperature=0, end_token=end
    )
    for ours, theirs in zip(tokens.tolist(), free.tolist(), strict=True):
        new = theirs[4:]
        kept = new.index(end) + 1 if end in new else 9
        assert ours == theirs[: 4 + kept] + [end] * (9 - kept)


def test_nothing_is_computed_once_all_texts_have_ended(gpt):
    decoder, params, state = gpt
    calls = []

    def apply(params, state, x, *, train, key=None):
        if not calls or calls[-1] != x.shape:
            calls.append(x.shape)
        logits, state = decoder.apply(params, state, x, train=train)
        is_seven = mx.arange(50) == 7
        return mx.broadcast_to(mx.where(is_seven, 9.0, 0.0), logits.shape), state

    always = nn.Layer(decoder.init, apply)
    tokens, moved = models.generate(
        always, params, state, PROMPT, max_new_tokens=9, temperature=0, end_token=7
    )
    assert tokens[:, 4:].tolist() == [[7] * 9] * 2
    assert moved["wpe"]["length"].item() == 4  # the prompt, and no token after it


def test_one_compiled_step_serves_all_tokens_and_calls(gpt):
    decoder, params, state = gpt
    shapes = []

    def apply(params, state, x, *, train, key=None):
        shapes.append(x.shape)
        return decoder.apply(params, state, x, train=train)

    counted = nn.Layer(decoder.init, apply)
    for seed in (0, 1):
        for temperature in (0.5, 1.5):
            models.generate(
                counted,
                params,
                state,
                PROMPT + seed,
                max_new_tokens=9,
                temperature=temperature,
                key=random.key(seed),
            )
    assert shapes == [(2, 3), (2, 1)]


@pytest.mark.tuned("donation is tested where the computation is on the CPU")
def test_a_token_is_written_into_the_cache_where_it_is(gpt):
    """The memory of the cache at the end is that of the first step's."""
    decoder = models.gpt(50, 4096, **SIZES, cache=(1, 4000))
    params, state = decoder.init(random.key(0))
    cache = tree.nbytes(state)
    mx.eval(params, state)

    def peak(count):
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        models.generate(
            decoder, params, state, PROMPT[:1], max_new_tokens=count, temperature=0
        )
        return mx.get_peak_memory() - before

    peak(2)
    # Steps write into one copy of the given state. If each made its own copy, there
    # would be two whole ones while it is written.
    assert peak(8) < 2 * cache


def test_it_works_inside_of_jit(gpt):
    decoder, params, state = gpt

    @lf.jit
    def run(params, state, prompt, key):
        return models.generate(
            decoder, params, state, prompt, max_new_tokens=3, end_token=0, key=key
        )[0]

    expected, _ = models.generate(
        *gpt, PROMPT, max_new_tokens=3, end_token=0, key=random.key(3)
    )
    assert mx.array_equal(run(params, state, PROMPT, random.key(3)), expected)


def test_any_model_with_a_cache_is_continued():
    def language_model(cache=None):
        block = nn.transformer_encoder_layer(
            16, 2, dim_feedforward=32, causal=True, rotary_base=100.0, cache=cache
        )
        return nn.tied_embedding(nn.transformer_encoder(block, 2), 50, 16)

    decoder = language_model((2, 20))
    params, state = decoder.init(random.key(0))
    tokens, _ = models.generate(
        decoder, params, state, PROMPT, max_new_tokens=5, temperature=0
    )
    logits, _ = language_model().apply(params, {}, tokens[:, :-1], train=False)
    assert mx.array_equal(mx.argmax(logits[:, 3:], axis=-1), tokens[:, 4:])


def test_numpy_prompts_and_other_integers_are_taken(gpt):
    expected, _ = models.generate(*gpt, PROMPT, max_new_tokens=2, temperature=0)
    for dtype in (np.uint8, np.int64):
        prompt = np.array(PROMPT).astype(dtype)
        tokens, _ = models.generate(*gpt, prompt, max_new_tokens=2, temperature=0)
        assert mx.array_equal(tokens, expected)


GREEDY = {"max_new_tokens": 2, "temperature": 0}


@pytest.mark.parametrize(
    ("prompt", "options", "kind", "message"),
    [
        (PROMPT[:, :0], GREEDY, ValueError, r"at least one token, got \(2, 0\)"),
        (PROMPT[0], GREEDY, ValueError, r"got \(4,\); one text needs .* prompt\[None"),
        (PROMPT[:1], GREEDY, ValueError, "as many texts as the cache, 2, got 1"),
        (PROMPT * 1.0, GREEDY, TypeError, "prompt must be .*integer"),
        ([[1, 2]], GREEDY, TypeError, "prompt must be"),
        (
            mx.zeros((2, 20), mx.int32),
            GREEDY,
            ValueError,
            "a prompt of 20 and 2 new tokens, 21 in all, got a cache of 20; shorten",
        ),
        (
            PROMPT,
            {"max_new_tokens": 2},
            ValueError,
            "key must be given .* got None; give key",
        ),
        (PROMPT, {"max_new_tokens": 0}, ValueError, "max_new_tokens must be at least"),
        (PROMPT, {**GREEDY, "temperature": -1}, ValueError, "temperature must be at l"),
        (PROMPT, {**GREEDY, "top_k": 0}, ValueError, "top_k must be at least 1"),
        (PROMPT, {**GREEDY, "top_p": 0}, ValueError, r"top_p must be in \(0, 1\]"),
        (PROMPT, {**GREEDY, "end_token": -1}, ValueError, "end_token must be at least"),
        (PROMPT, {**GREEDY, "temperature": 1, "key": 3}, TypeError, "key must be"),
    ],
)
def test_wrong_arguments_are_errors(prompt, options, kind, message, gpt):
    with pytest.raises(kind, match=f"^generate: .*{message}"):
        models.generate(*gpt, prompt, **options)


def test_a_model_without_a_cache_is_an_error(gpt):
    model = models.gpt(50, 24, **SIZES)
    with pytest.raises(ValueError, match=r"must have a cache, .*cache=\(batch"):
        models.generate(model, gpt[1], {}, PROMPT, **GREEDY)


def test_a_cache_that_is_almost_full_is_an_error(gpt):
    decoder, params, _ = gpt
    _, full = models.generate(*gpt, PROMPT, max_new_tokens=13, temperature=0)
    with pytest.raises(ValueError, match="room for the 16 tokens in it, a prompt of 4"):
        models.generate(decoder, params, full, PROMPT, **GREEDY)


def test_a_function_in_the_place_of_a_layer_is_an_error(gpt):
    with pytest.raises(TypeError, match="generate: layer must be a layer"):
        models.generate(gpt[0].apply, *gpt[1:], PROMPT, **GREEDY)


def test_nan_logits_give_no_token(gpt):
    decoder, params, state = gpt
    broken = {**params, "ln_f": tree.map(lambda x: x * mx.nan, params["ln_f"])}
    tokens, _ = models.generate(decoder, broken, state, PROMPT, **GREEDY)
    assert tokens[:, 4:].tolist() == [[-1, -1]] * 2
