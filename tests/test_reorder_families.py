"""Every family of mixers that sinks reads can be reordered, and refuses what would go wrong."""

import pytest
import torch
from hybrids import EVERY, build
from mamba_ssm_doubles import MIXERS as NATIVE
from mamba_ssm_doubles import MambaLMHeadModel, native
from test_sinks_capture import batch
from test_sinks_vision import IMAGES, Vision, s6_classifier

from tokensphere import reorder, sinks
from tokensphere.reorder.policies import pass_keys
from tokensphere.sinks.mixers import FAMILIES, find

IDS = batch("left")["input_ids"]
MAKES = {name: (lambda make=make: (make(), IDS)) for name, make in EVERY.items()}
MAKES |= {
    f"mamba-ssm-{name}": (lambda case=case: (native(case[0], **case[1]), IDS % 37))
    for name, case in NATIVE.items()
}
MAKES |= {"mambavision": lambda: (build(Vision), IMAGES), "s6": s6_classifier}
FIXED = reorder.FixedOrder()


def run(model, inputs):
    found = model(inputs, **uncached(model))
    return getattr(found, "logits", found)


def uncached(model):
    """transformers' models fill a cache unless they are told not to."""
    return {"use_cache": False} if hasattr(model, "generate") else {}


def outputs(model, inputs):
    with torch.no_grad():
        return run(model, inputs)


def by_hand(model, seed):
    """Hooks that permute each mixer's input and put its output back."""
    mixers = [module for module in model.modules() if find(module)]
    keys = pass_keys(seed, torch.tensor(0), len(mixers))

    def order(tokens):
        return FIXED.orders(keys, tokens.shape[1])[0]

    def before(module, args, named):
        if args:
            return (args[0][:, order(args[0])], *args[1:]), named
        tokens = named["hidden_states"]
        return args, {**named, "hidden_states": tokens[:, order(tokens)]}

    def after(module, args, output):
        return output[:, order(output).argsort()]

    handles = []
    for mixer in mixers:
        handles.append(mixer.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(mixer.register_forward_hook(after))
    return handles


@pytest.mark.parametrize("family", MAKES)
def test_a_fixed_order_is_a_permutation_by_hand(family):
    model, inputs = MAKES[family]()
    plain = outputs(model, inputs)
    handles = by_hand(model, seed=3)
    want = outputs(model, inputs)
    for handle in handles:
        handle.remove()
    assert reorder.wrap(model, FIXED, seed=3) is model
    # The same computation; float32, and a gather may sum nothing anew.
    torch.testing.assert_close(outputs(model, inputs), want, rtol=1e-5, atol=1e-5)
    assert float((want - plain).abs().max()) > 1e-3
    with pytest.raises(ValueError, match="unwrap the model first"):
        sinks.capture(model, inputs)
    reorder.unwrap(model)
    torch.testing.assert_close(outputs(model, inputs), plain)


@pytest.mark.parametrize("family", EVERY)
def test_padding_is_refused(family):
    model = reorder.wrap(EVERY[family](), FIXED)
    for side in ("left", "right"):
        with pytest.raises(ValueError, match="^attention_mask: got padding"):
            model(**batch(side), **uncached(model))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("family", [name for name in EVERY if name != "typeseg"])
def test_a_cache_is_refused(family):
    model = reorder.wrap(EVERY[family](), FIXED)
    with pytest.raises(ValueError, match="^cache_params: got a cache"):
        model(IDS, use_cache=True)


def test_what_belongs_to_other_tokens_is_refused():
    model = reorder.wrap(native(NATIVE["mamba2"][0]), FIXED)
    mixer = model.backbone.layers[0].mixer
    for name in ("inference_params", "seq_idx", "cu_seqlens"):
        with pytest.raises(ValueError, match=f"^{name}: got "):
            mixer(torch.zeros(2, 5, 24), **{name: torch.zeros(2)})
    assert isinstance(model, MambaLMHeadModel)


@pytest.mark.parametrize("policy", [reorder.RandomOrder(), reorder.ByImportance(0.3)])
@pytest.mark.parametrize("family", MAKES)
def test_they_can_be_trained(family, policy):
    model, inputs = MAKES[family]()
    reorder.wrap(model.train(), policy)
    run(model, inputs).square().mean().backward()
    for module in model.modules():
        if find(module):
            gradient = module.in_proj.weight.grad
            assert bool(gradient.isfinite().all()) and bool(gradient.any())


def test_the_tables_are_one():
    assert tuple(FAMILIES) == reorder.MIXERS
