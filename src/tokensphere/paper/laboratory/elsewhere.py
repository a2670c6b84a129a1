"""What no bench shows, and why: pages as wholes, and boxes and figures of the other pages."""

COUNTS = "shares over thousands of draws, more than a page can run"
LAYERS = "layers of a finite depth, or a residual stream: the benches have the flow"
CHANGING = "parameters that change with depth: those of the benches are constant"
HIGHER = "more than three dimensions"

ELSEWHERE = {
    "setting/s6_layer": "the layer of a model, no flow",
    "other-tokens/autoregressive": "eq (13), whose weights do not depend on tokens",
    "one-dimension/higher_dimension": "tokens in R^D that are not normalised",
    "one-dimension/refinements": "layers and trained models",
    "experiments/attention_sink": "trained models",
    "experiments/reordered_training": "trained models",
    "setting/flow#thm-depth": LAYERS,
    "setting/flow#prop-independent": LAYERS,
    "setting/flow#fig-flow-depth": LAYERS,
    "setting/flow#prop-bounded": LAYERS,
    "setting/flow#prop-gain": LAYERS,
    "setting/flow#thm-stream": LAYERS,
    "setting/flow#fig-flow-long": LAYERS,
    "setting/flow#thm-long-later": LAYERS,
    "setting/flow#rem-off-sphere": "tokens off the sphere",
    "setting/simulations#fig-turn-turning": CHANGING,
    "setting/simulations#fig-count": COUNTS,
    "setting/simulations#fig-dials": COUNTS,
    "setting/simulations#rem-dials": COUNTS,
    "first-token/alignment#fig-align-rates": COUNTS,
    "first-token/equilibria#fig-equilibria-count": HIGHER,
    "first-token/stability#fig-stab-counts": HIGHER,
    "one-dimension/rates#thm-line-undamped": "a = 0: the bench takes a positive a",
    "other-tokens/attraction#prop-attract-27": "an inequality at every state",
    "other-tokens/attraction#prop-attract-moves": "a sentence about all null sets",
    "other-tokens/attraction#rem-attract-after": "a sentence about all later tokens, by words",
    "other-tokens/attraction#rem-attract-b8": "what a theorem's words say",
    "other-tokens/attraction#fig-attract-basins": COUNTS,
    "other-tokens/general_steps#fig-general-ends": COUNTS,
    "other-tokens/pair_interactions#rem-pairs-linear": "an identity of maps",
    "other-tokens/pair_interactions#fig-pairs-slopes": "speeds of pairs by two formulas",
    "other-tokens/positive_angles#fig-angles-map": COUNTS,
    "other-tokens/unstable_set#rem-unstable-manifold": "the dimension of a set of starts",
    "other-tokens/unstable_set#fig-unstable-surface": COUNTS,
}
