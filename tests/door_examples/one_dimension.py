"""Good calls of the functions of `one_dimension`."""

from tokensphere.one_dimension import (
    approach,
    blow_up_in_time,
    blowup,
    decay,
    growth,
    last_growth,
    lives,
    next_order,
    predict,
    simulate,
    slopes,
    tie_of_two,
)

X0 = {"x0": [0.5, 0.4]}
PARAMETERS = {"s": 1.0, "a": 0.5} | X0
ANY = {"mu": 1.0} | PARAMETERS
FALLING = {"mu": -1.0} | PARAMETERS
SLOW = {"s": -1.0, "a": 0.5} | X0
LOGS = [1.0, 2.0]

EXAMPLES = {
    blowup.time_alone: {"mu": 1.0, "s": 1.0, "x": 0.5},
    blowup.time_bounds: ANY,
    blowup.powers: PARAMETERS | {"first": 0},
    blowup.first_of_two: {"a": 0.5} | X0,
    blowup.time_of_two: {"mu": 1.0, "a": 0.5} | X0,
    decay.at_resonance: {"kappa": 0.5},
    decay.limits: {"mu": -1.0, "a": 0.5} | X0,
    decay.error_exponents: PARAMETERS,
    decay.first_corrections: FALLING,
    growth.first_token: {"mu": 1.0, "s": -1.0, "log_t": 100.0},
    growth.constants: SLOW,
    growth.offsets: SLOW,
    blow_up_in_time: ANY,
    last_growth.near_end: ANY | {"shares": [0.1, 0.01]},
    last_growth.first_law: {"mu": 1.0, "s": 1.0, "left": 0.1},
    last_growth.double_logarithm: {"s": 1.0, "a": 0.5, "log_before": 100.0, "zeros": 0},
    lives: ANY,
    tie_of_two: {"s": 1.0, "a": 0.5, "x1": 0.5},
    next_order.relative_errors: FALLING | {"log_times": LOGS},
    next_order.resonant_corrections: FALLING,
    next_order.expansion_of_first: {"mu": -1.0, "s": 1.0, "sign": 1},
    next_order.two_with_equal_steps: {"mu": -1.0, "a": 0.5, "log_t": LOGS} | X0,
    next_order.undamped: {"mu": -1.0, "log_t": LOGS} | X0,
    predict: ANY,
    simulate: FALLING | {"log_times": LOGS},
    approach: ANY | {"log_first": LOGS},
    slopes.slopes: {"mu": 1.0} | SLOW,
}

TAKEN = {("one_dimension.last_growth.first_law", "left"): ("a tensor", "an array")}

LEFT = {
    "a right-hand side, called at every step; it checks its arguments itself": [
        "one_dimension.field.velocity",
    ],
    "takes symbols": ["one_dimension.field.symbolic_velocity"],
    "takes what predict made": ["one_dimension.predict.reach"],
    "checks its own arguments, and stands behind every door of the room": [
        "one_dimension.arguments.number",
        "one_dimension.arguments.positive",
        "one_dimension.arguments.tokens",
        "one_dimension.arguments.as_time",
    ],
}
