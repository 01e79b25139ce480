from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

gguf = pytest.importorskip("gguf", reason="gguf comes with make real-setup")
real = pytest.importorskip("model")  # imports gguf itself

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def llama() -> LlamaForCausalLM:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=261,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        max_position_embeddings=128,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        tie_word_embeddings=True,
        initializer_range=0.3,  # far apart, so that a wrong order of rows shows
    )
    return LlamaForCausalLM(config).eval()


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """The order of rows in which llama.cpp's converter writes Q and K."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))


def write(file: Path, source: LlamaForCausalLM, split: str = "smollm") -> Path:
    """Write a Llama as llama.cpp's converter does."""
    config = source.config
    out = gguf.GGUFWriter(file, "llama")
    out.add_context_length(config.max_position_embeddings)
    out.add_embedding_length(config.hidden_size)
    out.add_feed_forward_length(config.intermediate_size)
    out.add_block_count(config.num_hidden_layers)
    out.add_head_count(config.num_attention_heads)
    out.add_head_count_kv(config.num_key_value_heads)
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    out.add_rope_freq_base(100_000.0)
    out.add_rope_dimension_count(16)
    out.add_vocab_size(config.vocab_size)
    letters = sorted(real.pre_tokenizers.ByteLevel.alphabet())
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre(split)
    out.add_token_list([*special, *letters, "ĠR", "22"])
    out.add_token_types([real.CONTROL] * 3 + [int(gguf.TokenType.NORMAL)] * 258)
    out.add_token_merges(["Ġ R", "2 2"])
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_unk_token_id(0)
    out.add_pad_token_id(2)
    out.add_chat_template(TEMPLATE)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    state = {key: value.numpy() for key, value in source.model.state_dict().items()}
    out.add_tensor("token_embd.weight", state["embed_tokens.weight"])
    out.add_tensor("output_norm.weight", state["norm.weight"])
    for layer in range(config.num_hidden_layers):
        for ours, theirs in NAMES.items():
            weight = state[f"layers.{layer}.{ours}.weight"]
            if theirs in heads:
                weight = interleaved(weight, heads[theirs])
            out.add_tensor(f"blk.{layer}.{theirs}.weight", weight)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return file


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[LlamaForCausalLM, Path]:
    source = llama()
    folder = tmp_path_factory.mktemp("gguf")
    return source, real.convert(write(folder / "tiny.gguf", source), folder / "out")


def test_the_checkpoint_computes_what_the_model_before_gguf_computed(made: Any) -> None:
    source, folder = made
    again = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.randint(0, 261, (2, 64), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected, found = source(ids).logits, again(ids).logits
    assert float(expected.std()) > 0.5
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert again.config.tie_word_embeddings
    assert not hasattr(again.config, "quantization_config")


def test_the_tokenizer_splits_digits_and_keeps_special_tokens_and_the_template(made: Any) -> None:
    words = AutoTokenizer.from_pretrained(made[1])
    ids = words(" R 22 né<|im_end|>")["input_ids"]
    assert words.convert_ids_to_tokens(ids) == ["ĠR", "Ġ", "2", "2", *"ĠnÃ©", "<|im_end|>"]
    assert words.decode(ids) == " R 22 né<|im_end|>"
    chat = words.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert chat == "<|im_start|>hi<|im_end|>"
    assert (words.eos_token_id, words.pad_token_id) == (2, 2)


def test_a_model_of_random_weights_finds_english_unlikely(made: Any) -> None:
    assert real.perplexity(made[1], real.ENGLISH) > real.PERPLEXITY_LIMIT


def test_another_tokenizer_is_refused_by_name(tmp_path: Path) -> None:
    file = write(tmp_path / "tiny.gguf", llama(), split="llama-bpe")
    with pytest.raises(real.BadModel, match="gpt2 with llama-bpe"):
        real.convert(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()
