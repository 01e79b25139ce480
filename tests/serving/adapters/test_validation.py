import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from serving.adapters.validation import check_adapter
from serving.errors import AdapterRefused

MODULE = "base_model.model.model.layers.0.self_attn.q_proj"
A, B = f"{MODULE}.lora_A.weight", f"{MODULE}.lora_B.weight"
WEIGHTS = "adapter_model.safetensors"


def check(folder: Path, max_rank: int = 8, base_folder: Path | None = None) -> int:
    return check_adapter(folder, base_hash="base-hash", max_rank=max_rank, base_folder=base_folder)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def test_a_good_adapter_passes_and_tells_its_rank(adapter) -> None:
    assert check(adapter(rank=4)) == 4
    assert check(adapter(rank=8)) == 8


def test_an_adapter_of_embeddings_passes(adapter) -> None:
    name = "base_model.model.model.embed_tokens.lora_embedding_"
    assert check(adapter(tensors={f"{name}A": zeros(4, 99), f"{name}B": ones(16, 4)})) == 4


@pytest.mark.filterwarnings("ignore::FutureWarning")  # transformers' own, as it saves
def test_what_peft_saves_passes(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    from serving.adapters.artifacts import model_hash, stamp

    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    base = transformers.LlamaForCausalLM(config)
    base.save_pretrained(tmp_path / "base")
    targets = ["q_proj", "down_proj"]
    lora = peft.LoraConfig(r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False)
    peft.get_peft_model(base, lora).save_pretrained(tmp_path / "adapter")
    base_hash = model_hash(tmp_path / "base")
    stamp(tmp_path / "adapter", base_model="base", base_hash=base_hash)
    assert check_adapter(
        tmp_path / "adapter", base_hash=base_hash, max_rank=4, base_folder=tmp_path / "base"
    )


@pytest.mark.parametrize("name", ["adapter_config.json", WEIGHTS, "switchboard.json"])
def test_a_missing_file_is_named(adapter, name: str) -> None:
    folder = adapter()
    (folder / name).unlink()
    with pytest.raises(AdapterRefused, match=f"{name} is missing"):
        check(folder)


@pytest.mark.parametrize("text", ["{", "[]", '"LORA"', "\udcff"])
@pytest.mark.parametrize("name", ["adapter_config.json", "switchboard.json"])
def test_a_corrupt_json_file_is_named(adapter, name: str, text: str) -> None:
    folder = adapter()
    (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(AdapterRefused, match=name):
        check(folder)


@pytest.mark.parametrize("kept", [0, 7, 8, 50, -1, -100])
def test_truncated_weights_are_refused(adapter, kept: int) -> None:
    folder = adapter()
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:kept])
    with pytest.raises(AdapterRefused, match=r"truncated|corrupt"):
        check(folder)


def test_weights_with_a_tail_are_refused(adapter) -> None:
    folder = adapter()
    with (folder / WEIGHTS).open("ab") as file:
        file.write(b"tail")
    with pytest.raises(AdapterRefused, match="padded"):
        check(folder)


@pytest.mark.parametrize(
    "header",
    [
        b"\xff" * 20,
        b"[1, 2]",
        b'{"a": 3}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}',
        b'{"a": {"dtype": "F32", "shape": 4, "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": ["0", "4"]}}',
        b'{"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}',
        b"[" * 100_000,
    ],
)
def test_a_corrupt_header_is_refused(adapter, header: bytes) -> None:
    folder = adapter()
    (folder / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(AdapterRefused, match="corrupt"):
        check(folder)


def test_tensors_that_overlap_are_refused(adapter) -> None:
    folder = adapter()
    entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    header = json.dumps({A: entry, B: entry}).encode()
    (folder / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    with pytest.raises(AdapterRefused, match="corrupt"):
        check(folder)


def test_another_base_is_refused(adapter) -> None:
    with pytest.raises(AdapterRefused, match="another base model"):
        check_adapter(adapter(), base_hash="other", max_rank=8)


def test_a_rank_over_the_servers_is_refused_with_the_fix(adapter) -> None:
    with pytest.raises(AdapterRefused, match=r"rank 16 is over the server's 8.*max_rank"):
        check(adapter(rank=16))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"peft_type": "IA3"}, "only LORA"),
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "biases"),
        ({"lora_bias": True}, "bias on B"),
        ({"modules_to_save": ["lm_head"]}, "whole modules"),
        ({"rank_pattern": {"q_proj": 8}}, "a rank per module"),
        ({"alpha_pattern": {"q_proj": 8}}, "an alpha per module"),
        ({"layer_replication": [[0, 1]]}, "replicated"),
        ({"trainable_token_indices": [3]}, "trained tokens"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the base"),
        ({"r": 0}, "positive integer"),
        ({"r": True}, "positive integer"),
        ({"r": "4"}, "positive integer"),
        ({"lora_alpha": None}, "lora_alpha"),
        ({"lora_alpha": 0}, "lora_alpha"),
        ({"target_modules": None}, "target_modules is None"),
        ({"target_modules": []}, "name the layers"),
        ({"target_modules": [3]}, "name the layers"),
        ({"target_modules": "("}, "no regular expression"),
        ({"exclude_modules": 3}, "exclude_modules is 3"),
        ({"layers_to_transform": ["1"]}, "list of numbers"),
    ],
)
def test_what_the_engine_does_not_serve_is_refused(adapter, config, reason: str) -> None:
    with pytest.raises(AdapterRefused, match=reason):
        check(adapter(**config))


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({}, "no tensors"),
        ({A: zeros(4, 16)}, "only A"),
        ({B: zeros(32, 4)}, "only B"),
        ({A: zeros(4, 16), B: zeros(32, 2)}, "rank 4 in A and 2 in B"),
        ({A: zeros(2, 16), B: zeros(32, 2)}, "says 4"),
        ({A: zeros(4, 16), B: zeros(4, 32)}, "in B"),
        ({A: zeros(4, 4, 4), B: zeros(32, 4)}, "must be a matrix"),
        ({A: zeros(4, 0), B: zeros(32, 4)}, "must be a matrix"),
        ({A: zeros(4, 16).astype(np.int8), B: zeros(32, 4)}, "type I8"),
        ({A: zeros(4, 16), B: zeros(32, 4), "lm_head.weight": zeros(2, 2)}, "no LoRA weight"),
        ({A: zeros(4, 16), B: zeros(32, 4), f"{MODULE}.lora_A": zeros(2, 2)}, "no LoRA weight"),
    ],
)
def test_tensors_that_are_no_lora_are_refused(adapter, tensors, reason: str) -> None:
    with pytest.raises(AdapterRefused, match=reason):
        check(adapter(tensors=tensors))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, "bfloat16"])
def test_weights_that_are_not_finite_are_refused(adapter, value: float, dtype) -> None:
    if dtype == "bfloat16":
        torch = pytest.importorskip("torch")
        from safetensors.torch import save_file as save_torch

        folder = adapter()
        wrong = torch.ones(32, 4, dtype=torch.bfloat16)
        save_torch({A: torch.zeros(4, 16), B: wrong}, folder / WEIGHTS)
        assert check(folder) == 4
        wrong[5, 2] = value
        save_torch({A: torch.zeros(4, 16), B: wrong}, folder / WEIGHTS)
    else:
        weights = zeros(32, 4).astype(dtype)
        weights[5, 2] = value
        folder = adapter(tensors={A: zeros(4, 16), B: weights})
    with pytest.raises(AdapterRefused, match=r"lora_B\.weight holds infinities or NaN"):
        check(folder)


def test_the_largest_finite_weights_pass(adapter) -> None:
    for dtype in (np.float32, np.float16):
        limits = np.finfo(dtype)
        weights = np.array([[limits.max, limits.min, limits.tiny, -0.0]] * 32, dtype)
        assert check(adapter(tensors={A: zeros(4, 16), B: weights})) == 4


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base of two blocks, each with q_proj and v_proj, and an embedding."""
    folder = tmp_path / "base"
    folder.mkdir()
    tensors = {"model.embed_tokens.weight": zeros(99, 16), "model.norm.weight": zeros(16)}
    for block in range(2):
        for name, outputs in (("q_proj", 32), ("v_proj", 8)):
            tensors[f"model.layers.{block}.self_attn.{name}.weight"] = zeros(outputs, 16)
    save_file(tensors, folder / "model.safetensors")
    return folder


def weights(*modules: str, outputs: int = 32, inputs: int = 16) -> dict[str, np.ndarray]:
    return {
        f"base_model.model.model.layers.{module}.lora_{side}.weight": ones(*shape)
        for module in modules
        for side, shape in (("A", (4, inputs)), ("B", (outputs, 4)))
    }


Q = "0.self_attn.q_proj", "1.self_attn.q_proj"


def test_an_adapter_of_every_layer_that_it_names_passes(adapter, base: Path) -> None:
    assert check(adapter(tensors=weights(*Q)), base_folder=base) == 4
    assert check(adapter(tensors=weights(Q[1]), layers_to_transform=[1]), base_folder=base) == 4
    regex = r"model\.layers\.0\..*q_proj"
    assert check(adapter(tensors=weights(Q[0]), target_modules=regex), base_folder=base) == 4


@pytest.mark.parametrize(
    ("tensors", "config", "reason"),
    [
        (weights(*Q, inputs=17), {}, r"q_proj is for a weight of \[32, 17\].*\[32, 16\]"),
        (weights(*Q, outputs=16, inputs=32), {}, r"for a weight of \[16, 32\].*\[32, 16\]"),
        (weights(*Q, "2.self_attn.q_proj"), {}, r"layers\.2\.self_attn.q_proj is no layer"),
        (weights(*Q, "0.attn.q_proj"), {}, r"0\.attn\.q_proj is no layer.*no effect"),
        (weights(Q[0]), {}, r"covers 1 layers.*layers\.1\.self_attn\.q_proj"),
        (weights(*Q), {"target_modules": ["q_proj", "v_proj"]}, "covers 2 layers.*v_proj"),
        (weights(*Q), {"target_modules": "all-linear"}, "covers 2 layers.*v_proj"),
        (weights(Q[0]), {"target_modules": r".*q_proj"}, "covers 1 layers"),
    ],
)
def test_an_adapter_that_would_work_in_part_is_refused_by_name(
    adapter, base: Path, tensors, config, reason: str
) -> None:
    with pytest.raises(AdapterRefused, match=reason):
        check(adapter(tensors=tensors, **config), base_folder=base)


def test_an_adapter_that_was_registered_before_works_in_part_with_a_warning(
    adapter, base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def load(tensors: dict[str, np.ndarray]) -> int:
        return check_adapter(
            adapter(tensors=tensors),
            base_hash="base-hash",
            max_rank=8,
            base_folder=base,
            only_warn=True,
        )

    assert load(weights(Q[0])) == 4
    (record,) = caplog.records
    assert "would be refused if it came today: target_modules covers 1 layers" in record.message
    with pytest.raises(AdapterRefused, match="is for a weight of"):
        load(weights(*Q, inputs=17))


def test_an_embedding_of_another_vocabulary_is_refused(adapter, base: Path) -> None:
    name = "base_model.model.model.embed_tokens.lora_embedding_"
    tensors = {f"{name}A": ones(4, 99), f"{name}B": ones(16, 4)}
    options = {"target_modules": ["embed_tokens"]}
    assert check(adapter(tensors=tensors, **options), base_folder=base) == 4
    with pytest.raises(AdapterRefused, match=r"for a weight of \[98, 16\]"):
        check(adapter(tensors=tensors | {f"{name}A": ones(4, 98)}, **options), base_folder=base)


def test_an_adapter_that_was_not_trained_is_refused(adapter) -> None:
    with pytest.raises(AdapterRefused, match=r"every B .* is zero"):
        check(adapter(tensors={A: ones(4, 16), B: -zeros(32, 4)}))


def test_an_adapter_of_the_output_layer_is_refused_with_the_reason(adapter) -> None:
    head = "base_model.model.lm_head"
    tensors = {f"{head}.lora_A.weight": ones(4, 16), f"{head}.lora_B.weight": ones(99, 4)}
    with pytest.raises(AdapterRefused, match=r"lm_head: .*prompt_logprobs"):
        check(adapter(tensors=tensors, target_modules=["lm_head"]))


def test_an_adapter_that_changes_nothing_passes_where_it_brings_a_prompt(adapter) -> None:
    nothing = {A: ones(4, 16), B: zeros(32, 4)}
    with pytest.raises(AdapterRefused, match="would change nothing"):
        check(adapter(tensors=nothing))
    folder = adapter(tensors=nothing)
    (folder / "prompts").mkdir()
    prompt = folder / "prompts" / "summary.jinja"
    prompt.write_text("{% block user %}OWN{% endblock %}")
    assert check(folder) == 4
    prompt.write_text("{% block user %}{{ nobody }}{% endblock %}")
    with pytest.raises(AdapterRefused, match=r"summary\.jinja: 'nobody' is undefined"):
        check(folder)
