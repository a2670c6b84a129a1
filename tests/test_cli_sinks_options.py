"""`tokensphere sinks`: tokenizers, first tokens, layers, heads; what is checked before loading."""

import inspect
import io
import json

import pytest
import torch
from sink_command import SIZES, WORDS, copy, make, refused, run

from tokensphere import records
from tokensphere.sinks.report import sources, text, tool

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

NEW = [*WORDS, "extra", "words"]


def other_tokenizer(folder, words=NEW, bos=False, around=""):
    """A tokenizer of other words; with `bos` it has a token for it. It adds nothing by itself, but
    what `around` has around $A."""
    added = [part for part in around.split() if part not in ("$A", "<s>")]
    start = ["<unk>", "<s>"] if bos else ["<unk>"]
    vocabulary = {word: index for index, word in enumerate([*start, *words, *added])}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    named = {"bos_token": "<s>"} if bos else {}
    if around:
        parts = [(part, vocabulary[part]) for part in around.split() if part != "$A"]
        model.post_processor = tokenizers.processors.TemplateProcessing(
            single=around, special_tokens=parts
        )
        named |= {"additional_special_tokens": added}
    with sources.quiet():
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=model, unk_token="<unk>", **named
        ).save_pretrained(folder)
    return folder


def prompts_of(place):
    return records.load(place / "report" / "sinks.json").data["prompts"]


def test_another_tokenizer(models, place, slight, capsys):
    folder = copy(models, place, "tokenizer.json", "tokenizer_config.json")
    refused(capsys, place, [folder], "has no usable tokenizer; name one by --tokenizer")
    other = other_tokenizer(place / "other")
    assert run(folder, "--tokenizer", str(other)) == 0
    # Without <bos>, of 9, 7 and 5 words, the first of which is its token 1.
    assert prompts_of(place)["lengths"] == [5, 7, 9]
    first = prompts_of(place)["first_tokens"]["forward"]
    assert {(token["id"], token["text"]) for token in first} == {(1, "w0"), (5, "w4"), (11, "w10")}
    assert records.load(place / "report" / "sinks.json").parameters["tokenizer"] == str(other)


def test_tokenizers_that_do_not_fit(models, place, capsys):
    folder = models["mamba"]
    refused(capsys, place, [folder, "--tokenizer", "./none"], "tokenizer: ./none cannot be loaded")
    (place / "broken").mkdir()
    (place / "broken" / "tokenizer.json").write_text("{")
    refused(capsys, place, [folder, "--tokenizer", "./broken"], "tokenizer: ./broken cannot be")
    large = other_tokenizer(place / "large", [f"x{index}" for index in range(30)] + WORDS)
    said = "tokenizer: gives the token 39 in line 1, where the model knows 24 tokens"
    refused(capsys, place, [folder, "--tokenizer", str(large)], said)
    foreign = other_tokenizer(place / "foreign", ["un", "deux"])
    said = "tokenizer: knows no word of the prompts"
    refused(capsys, place, [folder, "--tokenizer", str(foreign)], said)
    refused(capsys, place, ["typeseg", "--tokenizer", str(large)], "tokenizer: typeseg reads bytes")


def test_an_empty_tokenizer_is_none(models, place, capsys):
    """What transformers makes up for a Mamba's folder without a tokenizer's files."""
    folder = place / "bare"
    with sources.quiet():
        transformers.MambaForCausalLM(transformers.MambaConfig(**SIZES)).save_pretrained(folder)
    refused(capsys, place, [folder], "has no usable tokenizer", "its vocabulary is empty")


def test_the_beginning_of_text_token_can_be_asked_for(models, place, slight, capsys):
    other = str(other_tokenizer(place / "other", WORDS, bos=True))
    for tokenizer, bos, begins in (
        (None, None, True),
        (None, True, True),
        (None, False, False),
        (other, None, False),
        (other, True, True),
        (other, False, False),
    ):
        found = text.open_text(str(models["mamba"]), tokenizer, bos=bos)
        assert found.bos == 1
        assert found.encode("w0 w1") == ([1, 2, 3] if begins else [2, 3])
        assert found.encode("") == ([1] if begins else [])
    assert run(models["mamba"], "--tokenizer", other, "--bos") == 0
    assert (prompts_of(place)["bos"], prompts_of(place)["lengths"]) == (True, [6, 8, 10])
    assert run(models["mamba"], "--no-bos") == 0
    assert (prompts_of(place)["bos"], prompts_of(place)["lengths"]) == (False, [5, 7, 9])
    capsys.readouterr()
    none = str(other_tokenizer(place / "none"))
    said = "bos: the tokenizer of", "has no beginning-of-text token"
    refused(capsys, place, [models["mamba"], "--tokenizer", none, "--bos"], *said)
    assert text.open_text(str(models["mamba"]), none, bos=False).encode("w0") == [1]


def test_special_tokens_before_a_text_are_seen_for_what_they_are(models, place, capsys):
    def encode(around, asked, bos=True, given="w0 w1"):
        name = str(other_tokenizer(place / "other", WORDS, bos, around))
        return text.open_text(str(models["mamba"]), name, bos=asked).encode(given)

    # <s> is 1, w0 is 2 and what is added follows the words: 22, 23.
    assert encode("<eos> <s> $A", None) == [22, 1, 2, 3]
    assert encode("<eos> <s> $A", True) == [22, 1, 2, 3]
    assert encode("<eos> <s> $A", False) == [22, 2, 3]
    assert encode("<s> $A <eos>", False) == [2, 3, 22]
    assert encode("<s> $A <eos>", False, given="") == [22]
    assert encode("[CLS] $A [SEP]", True) == [1, 22, 2, 3, 23]
    # What ends a text, or is in it, is none that the tokenizer puts before it.
    assert encode("$A [SEP]", False) == [2, 3, 22]
    assert encode("$A [SEP]", False, given="[SEP] w0") == [22, 2, 22]
    for bos in (True, False):
        with pytest.raises(
            ValueError, match=r"^bos: .* to leave out; it begins texts with '\[CLS\]'"
        ):
            encode("[CLS] $A [SEP]", False, bos)
    options = ["--tokenizer", str(place / "other"), "--no-bos"]
    refused(capsys, place, [models["mamba"], *options], "bos: the tokenizer of", "'[CLS]'")


def test_a_filler_in_digits_is_a_text_before_it_is_an_id(models, place):
    other = str(other_tokenizer(place / "other", [*WORDS, "7"]))
    find = text.open_text(str(models["mamba"]), other).find
    assert [find(given) for given in ("7", " 7", "8", "21")] == [21, 21, 8, 21]


def test_the_first_token_is_replaced_by_the_one_named(models, place, slight):
    find = text.open_text(str(models["mamba"])).find
    assert [find(given) for given in ("w19", "21", "<unk>", " w19 ")] == [21, 21, 0, 21]
    assert run(models["mamba"], "--no-bos", "--replace-with", "<unk>") == 0
    assert prompts_of(place)["replace_with"] == {"id": 0, "text": "<unk>"}
    shown = (place / "report" / "index.html").read_text("utf-8")
    assert "&lt;unk&gt;" in shown and "id 0." in shown


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--replace-with", "99"], "replace-with: the tokenizer has no token 99"),
        (["--replace-with", "w1 w2"], "replace-with: 'w1 w2' is 2 tokens to the tokenizer"),
        (["--replace-with", "nothing"], "replace-with: 'nothing' is unknown to the tokenizer"),
        (["--replace-with", ""], "replace-with: '' is 0 tokens"),
        (["--replace-with", "<bos>"], "replace-with: line 1 begins with that token already"),
        (["--no-bos", "--replace-with", "w4"], "replace-with: line 2 begins with that token"),
    ],
)
def test_fillers_that_cannot_be_used(models, place, capsys, options, said):
    refused(capsys, place, [models["mamba"], *options], said)


def test_a_filler_for_bytes(place, capsys, slight):
    pytest.importorskip("typeseg")
    (place / "prompts.txt").write_text("abc def\nghi jkl\n")
    find = text.open_text("typeseg").find
    assert [find(given) for given in ("z", "122", "7")] == [122, 122, 55]
    few = ["--layers", "0", "--channels", "2"]
    assert run("typeseg", *few, "--replace-with", "z") == 0
    assert prompts_of(place)["replace_with"] == {"id": 122, "text": "z"}
    capsys.readouterr()
    refused(capsys, place, ["typeseg", "--replace-with", "g"], "line 2 begins with that token")
    said = "replace-with: line 1 ends with that token already, takes one that no prompt ends with"
    refused(capsys, place, ["typeseg", "--replace-with", "f"], said)
    for given in ("zz", "999"):
        refused(capsys, place, ["typeseg", "--replace-with", given], "replace-with: got")


def test_prompts_from_the_standard_input(models, place, slight, monkeypatch, capsys):
    content = (place / "prompts.txt").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert run(models["mamba"], prompts="-") == 0
    assert prompts_of(place)["lengths"] == [6, 8, 10]
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"w1\n\xff\n")))
    said = "prompts: standard input is not UTF-8 text", "in line 2"
    refused(capsys, place, [models["mamba"]], *said, prompts="-")


def test_json_lines_that_were_cut_are_no_plain_text(models, place, capsys):
    lines = [json.dumps({"prompt": f"w{i} w{i + 1} w{i + 2}"}) for i in range(6)]
    (place / "cut.txt").write_text("\n".join(lines)[:-5])
    said = "prompts: line 6 is no JSON object with a prompt, where others are: was it cut?"
    refused(capsys, place, [models["mamba"]], said, prompts="cut.txt")


def test_layers_are_chosen_by_number_or_name(models, place, slight):
    name = "backbone.layers.1.mixer"
    for given in (name, f"1-1, {name}"):
        assert run(models["mamba"], "--layers", given) == 0
        data = records.load(place / "report" / "sinks.json").data
        assert [(layer["index"], layer["name"]) for layer in data["layers"]] == [(1, name)]
        assert data["model"]["mixers"] == 2


def jamba():
    return transformers.JambaConfig(
        vocab_size=24,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        attn_layer_offset=1,
        attn_layer_period=2,
        num_experts=1,
        num_experts_per_tok=1,
        intermediate_size=16,
        mamba_d_state=4,
        mamba_dt_rank=3,
        pad_token_id=0,
    )


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("MambaModel", lambda: transformers.MambaConfig(**SIZES)),
        ("JambaForSequenceClassification", jamba),
    ],
)
def test_models_without_a_language_model_head(models, place, slight, kind, config):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        folder = make(place / "model", getattr(transformers, kind)(config()))
    assert run(folder) == 0
    data = records.load(place / "report" / "sinks.json").data
    assert (data["model"]["class"], data["model"]["head"]) == (kind, False)
    shown = " ".join((place / "report" / "index.html").read_text("utf-8").split())
    assert "without a language-model head" in shown
    # Where the config names no class, one that its weights fill is found.
    if kind == "MambaModel":
        content = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(content | {"architectures": None}))
        assert run(folder) == 0
        again = records.load(place / "report" / "sinks.json").data
        assert again["layers"][0]["first"] == data["layers"][0]["first"]


def test_weights_that_the_model_does_not_use_are_refused(models, place, slight, capsys):
    from safetensors.torch import load_file, save_file

    folder = copy(models, place)
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")

    def store(changes=None, **more):
        (folder / "config.json").write_text(json.dumps(config | (changes or {})))
        save_file(weights | more, folder / "model.safetensors", metadata={"format": "pt"})

    store({"num_hidden_layers": 1})
    said = "holds 10 weights that MambaForCausalLM does not use, such as backbone.layers.1.mixer."
    refused(capsys, place, [folder], said)
    name = "backbone.layers.0.mixer.x_proj.lora_A.weight"
    store(**{name: torch.zeros(2, 2)})
    said = f"holds 1 weight that MambaForCausalLM does not use, such as {name}:"
    refused(capsys, place, [folder], said)
    # A class without a head leaves out a head's weights, and no others.
    head = torch.zeros(24, 16)
    store({"architectures": ["MambaModel"]}, **{name: torch.zeros(2, 2), "lm_head.weight": head})
    refused(capsys, place, [folder], "holds 1 weight that MambaModel does not use, such as " + name)
    store({"architectures": ["MambaModel"]}, **{"lm_head.weight": head})
    assert run(folder) == 0


def test_a_checkpoint_of_mamba_ssm_is_read_as_such(models, place, slight, capsys, monkeypatch):
    """Whatever `mamba_ssm` makes of it: its own tests have the rest."""
    from tokensphere.sinks.mixers import checkpoints as mamba_ssm

    folder = place / "native"
    folder.mkdir()
    (folder / "config.json").write_text('{"d_model": 16, "n_layer": 2, "vocab_size": 24}')
    refused(capsys, place, [folder], "holds no weights")
    torch.save({}, folder / "pytorch_model.bin")
    refused(capsys, place, [folder], "has no usable tokenizer; name one by --tokenizer")
    for wrong, said in (
        ('"vocab_size": "37"', "vocab_size = '37', takes an int >= 1"),
        ('"vocab_size": [37]', "vocab_size = [37], takes an int >= 1"),
        ('"ssm_cfg": [1]', "ssm_cfg = [1], takes an object"),
    ):
        (folder / "config.json").write_text(f'{{"d_model": 16, "n_layer": 2, {wrong}}}')
        refused(capsys, place, [folder, "--tokenizer", str(models["mamba"])], said)
    (folder / "config.json").write_text('{"d_model": 16, "n_layer": 2, "vocab_size": 24}')
    asked = []

    def load(found, dtype=None):
        asked.append((found, dtype))
        return transformers.MambaForCausalLM.from_pretrained(models["mamba"])

    monkeypatch.setattr(mamba_ssm, "load", load)
    options = ["--tokenizer", str(models["mamba"])]
    assert run(folder, *options) == 0
    assert run(folder, *options, "--dtype", "bfloat16") == 0
    assert asked == [(folder, None), (folder, torch.bfloat16)]
    capsys.readouterr()
    (folder / "config.json").write_text('{"d_model": 16, "n_layer": 2, "vocab_size": 9}')
    refused(capsys, place, [folder, *options], "where the model knows 9 tokens")


@pytest.mark.parametrize(
    "options",
    [
        ["--channels", "0"],
        ["--seed", "-1"],
        ["--threshold", "inf"],
        ["--batch-size", "0"],
        ["--max-length", "0"],
        ["--dtype", "half"],
        ["--device", "abacus"],
        ["--seed", "99999999999999999999"],
        ["--layers", "7"],
        ["--layers", "0-9999999999"],
        ["--layers", "backbone.layers.7.mixer"],
        ["--tokenizer", "./none"],
        ["--replace-with", "nothing"],
        ["--replace-with", "<bos>"],
        ["--ablate", "--max-length", "5"],
    ],
)
def test_what_can_be_known_is_said_before_the_weights_load(
    models, place, capsys, monkeypatch, options
):
    def load(*args, **kwargs):
        raise AssertionError("loaded")

    monkeypatch.setattr(sources, "load", load)
    name = options[0].removeprefix("--")
    refused(capsys, place, [models["mamba"], *options], f"tokensphere: {name}: ")
    with pytest.raises(AssertionError, match="loaded"):
        run(models["mamba"])
    assert {entry.name for entry in place.iterdir()} == {"prompts.txt"}


def test_prompts_places_and_kinds_too(models, place, capsys, monkeypatch):
    monkeypatch.setattr(sources, "load", None)
    refused(capsys, place, [models["gpt2"]], "GPT2LMHeadModel holds no supported mixer")
    refused(capsys, place, [models["mamba"]], "no such folder", out="none/report")
    for content, said in (
        (b"w1 w2\n\xff", "in line 2"),
        (b"w1 w2\nw1 w2\n", "2 that are all the same when cut"),
    ):
        (place / "prompts.txt").write_bytes(content)
        refused(capsys, place, [models["mamba"]], said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not a valid JSON file"),
        ("[]", "cannot be loaded"),
        ('{"model_type": "mamba", "vocab_size": "a"}', "Field 'vocab_size' expected int, got str"),
    ],
)
def test_a_config_that_is_none(models, place, capsys, content, said):
    folder = copy(models, place)
    (folder / "config.json").write_text(content)
    refused(capsys, place, [folder], f"model: {folder} cannot be loaded: ", said)
    refused(capsys, place, [""], "model: got no name")


def test_weights_that_are_no_numbers_are_named_by_their_layer(models, place, capsys):
    from safetensors.torch import load_file, save_file

    folder = copy(models, place)
    weights = load_file(folder / "model.safetensors")
    weights["backbone.layers.1.mixer.A_log"][0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refused(capsys, place, [folder], "NaN or infinity in backbone.layers.1.mixer")


def test_options_are_named_with_dashes_and_others_are_left_alone():
    from tokensphere.cli.errors import InputError
    from tokensphere.cli.sinks import _one_line

    for error, said in (
        ("max_length: got 1", "max-length: got 1"),
        ("a_b: a_c", "a_b: a_c"),
        ("no name", "no name"),
    ):
        with pytest.raises(InputError, match=f"^{said}$"), _one_line({"max_length": 1}):
            raise ValueError(error + "\nand more")


def test_a_tokenizer_by_itself():
    found = text.open_text("typeseg")
    assert found.encode("aé") == [97, 0xA4, 0xA4] and found.decode(0xA4) == "other"
    assert found.bos is None
    with pytest.raises(ValueError, match="^bos: typeseg reads bytes"):
        text.open_text("typeseg", bos=True)
    assert text.open_text("typeseg", bos=False).encode("a") == [97]
    assert inspect.signature(tool.write_report).parameters["bos"].default is None


@pytest.mark.parametrize("kind", ["Mamba", "Mamba2", "FalconMamba"])
def test_weights_are_loaded_as_they_were_trained(place, kind):
    sizes = {**SIZES, "rescale_prenorm_residual": True, "use_cache": False}
    if kind == "Mamba2":
        sizes |= {"num_heads": 4, "head_dim": 8, "n_groups": 1}
    model = getattr(transformers, f"{kind}ForCausalLM")(
        getattr(transformers, f"{kind}Config")(**sizes)
    )
    folder = make(place / "model", model)
    loaded = sources.load(str(folder)).model.state_dict()
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded[name], weight), name
