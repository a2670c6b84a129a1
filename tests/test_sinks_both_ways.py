"""A pair of mixers of which one reads the tokens flipped, in a deep stack, for every family."""

import pytest
import torch
from hybrids import FIRST, HYBRIDS, ROUNDING, build
from test_sinks_capture import VOCABULARY, batch
from torch import nn

from tokensphere.sinks.capture import capture, check
from tokensphere.sinks.mixers import Seen, find
from tokensphere.sinks.walk import find_mixers


class BothWays(nn.Module):
    """Pairs of mixers in a deep stack: one reads the tokens, the other reads them flipped."""

    def __init__(self, mixers, vocabulary, width):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in mixers[::2])
        self.ahead, self.back = nn.ModuleList(mixers[::2]), nn.ModuleList(mixers[1::2])

    def forward(self, input_ids, attention_mask=None):
        x = self.embedding(input_ids)
        flipped = None if attention_mask is None else attention_mask.flip(1)
        for norm, ahead, back in zip(self.norms, self.ahead, self.back, strict=True):
            y = norm(x)
            one = ahead(y, attention_mask=attention_mask)
            x = x + one + back(y.flip(1), attention_mask=flipped).flip(1)
        return x


def both_ways(family, pairs=5):
    models = [build(HYBRIDS.get(family) or FIRST[family], seed) for seed in range(pairs)]
    mixers = [mixer for model in models for mixer in list(find_mixers(model).values())[:2]]
    width = mixers[0].in_proj.in_features
    return build(lambda: BothWays(mixers, VOCABULARY, width))


@pytest.mark.parametrize("padding", ["left", "right", "none"])
@pytest.mark.parametrize("family", ["mamba", "mamba2", *HYBRIDS])
def test_a_pair_that_reads_both_ways(family, padding):
    model, inputs = both_ways(family), batch("left" if padding == "none" else padding)
    if padding == "none":
        inputs = {"input_ids": inputs["input_ids"]}
    layers = capture(model, inputs)
    assert [layer.reverse for layer in layers] == [False, True] * 5
    assert max(check(model, inputs).values()) <= ROUNDING
    # The first token of the mixer that reads back is the last: there it sees nothing before it, as
    # it does where that token is alone.
    if padding == "none":
        return
    y = model.norms[0](model.embedding(inputs["input_ids"]))
    last = y[0, inputs["attention_mask"][0].nonzero()[-1]]
    with torch.no_grad():
        mixer = model.back[0]
        want = find(mixer).read(mixer, seen_alone(mixer, last[None]))
    torch.testing.assert_close(layers[1].u[0, :, :1], want["u"][0], rtol=1e-4, atol=ROUNDING)
    torch.testing.assert_close(layers[1].B[0, ..., :1], want["B"][0], rtol=1e-4, atol=ROUNDING)


def seen_alone(mixer, hidden):
    return Seen(hidden, None)
