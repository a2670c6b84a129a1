"""The port of typeseg's Mamba, against the package's own numpy code."""

import sys

import pytest
import torch

import tokensphere.s6
from tokensphere.sinks.capture import capture, check
from tokensphere.sinks.typeseg import TypeSeg, encode, load

package = pytest.importorskip("typeseg")
TEXT = tokensphere.s6.__doc__ + "def f(x):\n\treturn x ** 2  # naïve – \x07 \x7f €\r\n"


@pytest.fixture(scope="module")
def model():
    return load()


def theirs(ids):
    from typeseg._numpy_backend import mamba_forward
    from typeseg._runtime import _weights

    return torch.from_numpy(mamba_forward(_weights("mamba_al.npz"), ids.numpy()))


def test_bytes_are_those_that_typeseg_reads():
    from typeseg._tokenize import text_to_bytes

    every = "".join(map(chr, range(300))) + "\U0001f600\ud800"
    for text in (TEXT, every, ""):
        assert encode(text).tolist() == text_to_bytes(text).tolist()


def test_logits_are_those_of_typeseg(model):
    ids = encode(TEXT)
    assert len(ids) > 500
    got, want = model(ids[None]).logits[0], theirs(ids)
    assert want.shape == (len(ids), 35)
    # Two float32 implementations, six blocks deep.
    assert float((got - want).abs().max() / want.abs().max()) < 1e-5
    # What typeseg gives to padding inside of a text, and to bytes that encode never makes.
    ids = torch.tensor([[256, 65, 200, 128, 127, 0]])
    assert float((model(ids).logits[0] - theirs(ids[0])).abs().max()) < 1e-4


def test_residual_stream(model):
    ids = encode(TEXT[:50])[None]
    assert model(ids).hidden_states is None
    output = model(ids, output_hidden_states=True)
    assert len(output.hidden_states) == 7
    assert {tuple(hidden.shape) for hidden in output.hidden_states} == {(1, 50, 256)}
    torch.testing.assert_close(output.hidden_states[0], model.embeddings(ids))
    logits = model.head(model.norm(output.hidden_states[-1]))
    torch.testing.assert_close(logits, output.logits)
    last = model.blocks[5](output.hidden_states[5])
    torch.testing.assert_close(last, output.hidden_states[6])


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(model, side):
    texts = [encode(TEXT[:40]), encode(TEXT[40:57]), encode("x")]
    ids = torch.full((3, 40), 256)
    mask = torch.zeros(3, 40)
    for row, text in enumerate(texts):
        where = slice(0, len(text)) if side == "right" else slice(40 - len(text), 40)
        ids[row, where], mask[row, where] = text, 1
    logits = model(ids, attention_mask=mask).logits
    for row, text in enumerate(texts):
        # float32, logits of order 10.
        torch.testing.assert_close(
            logits[row][mask[row] > 0], model(text[None]).logits[0], rtol=0, atol=1e-4
        )
    assert max(check(model, {"input_ids": ids, "attention_mask": mask}).values()) < 1e-5


def test_both_directions_are_captured(model):
    ids = encode(TEXT[:64])[None]
    layers = capture(model, ids)
    assert [(layer.name, layer.reverse) for layer in layers] == [
        (f"blocks.{block}.mixer", reverse) for block in range(6) for reverse in (False, True)
    ]
    for ahead, back in zip(layers[::2], layers[1::2], strict=True):
        for name in ("u", "delta", "B", "C", "gate"):
            torch.testing.assert_close(getattr(ahead, name), getattr(back, name).flip(-1))
        assert torch.equal(ahead.A, back.A)
    errors = check(model, ids)
    assert len(errors) == 6
    assert max(errors.values()) < 1e-5


def test_loading_draws_no_random_numbers():
    random = torch.get_rng_state()
    model = load()
    assert torch.equal(torch.get_rng_state(), random)
    assert not model.training
    assert not any(value.requires_grad for value in model.parameters())
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    assert {value.device.type for value in model.parameters()} == {"cpu"}


def test_gradients_reach_the_input():
    torch.manual_seed(0)
    model = TypeSeg(blocks=1, width=4, inner=4, states=2, rank=2, classes=3)
    model(torch.tensor([[1, 2, 3]])).logits.sum().backward()
    assert float(model.embeddings.weight.grad[1:4].abs().min()) > 0


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "typeseg", None)
    with pytest.raises(ModuleNotFoundError, match="pip install typeseg"):
        load()
