"""Every schedule: `make()(step)`."""

from lucid_fn import schedules
from tests.registry.case import Case

# They never end, or end elsewhere: the others are constant from step 60 on.
ENDLESS = frozenset({"constant after the end"})

stairs = {"step_size": 7, "gamma": 0.5}
cycle = {"up_steps": 4, "down_steps": 9}

GAMMA = {"gamma": "positive and finite"}

NO_CASES = {"reduce_on_plateau": "has a state: not a function of the step"}
"""Public functions that make no schedule, and why."""

SCHEDULES = [
    Case("constant", lambda: schedules.constant(0.3)),
    Case(
        "step_decay",
        lambda: schedules.step_decay(0.3, **stairs),
        exempt=ENDLESS,
        ranges=GAMMA,
    ),
    Case(
        "multi_step_decay",
        lambda: schedules.multi_step_decay(0.3, milestones=(9, 4, 31), gamma=0.1),
        ranges=GAMMA,
    ),
    Case(
        "exponential_decay",
        lambda: schedules.exponential_decay(0.3, gamma=0.97),
        exempt=ENDLESS,
        ranges=GAMMA,
    ),
    Case(
        "polynomial_decay",
        lambda: schedules.polynomial_decay(0.3, decay_steps=60, power=1.5, end=0.1),
    ),
    Case("linear", lambda: schedules.linear(0.3, total_steps=60)),
    Case("cosine_decay", lambda: schedules.cosine_decay(0.3, decay_steps=60, end=0.1)),
    Case(
        "cosine_annealing",
        lambda: schedules.cosine_annealing(0.3, decay_steps=20),
        exempt=ENDLESS,
    ),
    Case(
        "cosine_restarts",
        lambda: schedules.cosine_restarts(0.3, first_period=5, growth=2),
        exempt=ENDLESS,
    ),
    Case(
        "warmup_cosine",
        lambda: schedules.warmup_cosine(0.3, warmup_steps=9, total_steps=60, end=0.1),
    ),
    Case(
        "warmup_linear",
        lambda: schedules.warmup_linear(0.3, warmup_steps=9, total_steps=60, end=0.1),
    ),
    Case(
        "inverse_sqrt",
        lambda: schedules.inverse_sqrt(0.3, warmup_steps=9),
        exempt=ENDLESS,
        ranges={"warmup_steps": "at least 1"},
    ),
    Case(
        "noam",
        lambda: schedules.noam(64, warmup_steps=9),
        exempt=ENDLESS,
        ranges={"warmup_steps": "at least 1", "factor": "finite"},
    ),
    Case("one_cycle", lambda: schedules.one_cycle(0.3, total_steps=60)),
    Case(
        "one_cycle_momentum",
        lambda: schedules.one_cycle_momentum(total_steps=60),
        ranges={"base": "finite"},
    ),
    Case("cyclic", lambda: schedules.cyclic(0.1, 0.3, **cycle), exempt=ENDLESS),
    Case(
        "cyclic_halving",
        lambda: schedules.cyclic_halving(0.1, 0.3, **cycle),
        exempt=ENDLESS,
    ),
    Case(
        "cyclic_exponential",
        lambda: schedules.cyclic_exponential(0.1, 0.3, gamma=0.9, **cycle),
        exempt=ENDLESS,
        ranges=GAMMA,
    ),
    Case(
        "join",
        lambda: schedules.join(
            [schedules.linear(0.3), schedules.cosine_decay(0.3, decay_steps=50)],
            boundaries=[9],
        ),
    ),
    Case(
        "warmup",
        lambda: schedules.warmup(
            schedules.cosine_decay(0.3, decay_steps=50), warmup_steps=9
        ),
        ranges={"warmup_steps": "at least 1", "start": "finite"},
    ),
    Case(
        "per_epoch",
        lambda: schedules.per_epoch(schedules.cosine_decay(0.3, decay_steps=9), 6),
    ),
    Case(
        "scale",
        lambda: schedules.scale(schedules.cosine_decay(3, decay_steps=60), 0.1),
        ranges={"factor": "finite"},
    ),
]
