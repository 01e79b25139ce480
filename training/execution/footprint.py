"""What training will take, from the model's shape and the recipe, before anything is loaded.

Parameters are exact for the families in `FAMILIES`. Activations are counted layer by layer as in
Korthikanti et al. (Reducing activation recomputation, arXiv:2205.05198), for a decoder with gated
MLP whose attention keeps no scores, and for a frozen base: what each layer keeps for the way back.
Time is the least that the arithmetic takes: two operations a parameter and token on the way
forward and two on the way back, since a frozen weight has no gradient of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training.errors import RecipeError
from training.recipe.methods import Lora, OptimizationConfig

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
ADAPTER_BYTES = 16
"""A trained number in float32: itself, its gradient, and AdamW's two moments."""
NF4_BYTES = 0.5 + 4 / 64 / 4  # a nibble, and a scale for 64 numbers, itself quantized to a byte
LOGIT_COPIES = 3
"""The logits, their float32 copy in the loss, and its gradient."""
GIB = 1 << 30
BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Shape:
    """A decoder's shape: widths in numbers, counts of layers and heads."""

    family: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """One layer's linear modules by name: numbers in, numbers out."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def in_linears(self) -> int:
        """Parameters of all layers' linear modules, which nf4 holds in 4 bits."""
        return self.layers * sum(i * o for i, o in self.linears.values())

    @property
    def parameters(self) -> int:
        """All parameters of the base."""
        layer_rest = 2 * self.hidden
        if self.family == "qwen2":  # biases of q, k and v
            layer_rest += (self.heads + 2 * self.kv_heads) * self.head_dim
        if self.family == "qwen3":  # norms of queries and keys
            layer_rest += 2 * self.head_dim
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return embeddings + self.in_linears + self.layers * layer_rest + self.hidden

    @property
    def kv_numbers(self) -> int:
        """Numbers that serving's KV cache keeps of one token."""
        return 2 * self.layers * self.kv_heads * self.head_dim


@dataclass(frozen=True)
class Footprint:
    """Bytes that one training process takes at its peak, by what takes them."""

    weights: int
    adapter: int
    activations: int

    @property
    def total(self) -> int:
        """All of it, without Python's, PyTorch's and the driver's own."""
        return self.weights + self.adapter + self.activations


def shape(config: Mapping[str, Any]) -> Shape:
    """Read a decoder's shape from its `config.json`.

    Raises:
        RecipeError: It is of a family whose shape is not known here, or says too little.
    """
    family = str(config.get("model_type"))
    if family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise RecipeError(f"What a model of type {family!r} takes is not known; only {known}.")
    try:
        heads = int(config["num_attention_heads"])
        return Shape(
            family=family,
            hidden=(hidden := int(config["hidden_size"])),
            intermediate=int(config["intermediate_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            vocabulary=int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings", False)),
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise RecipeError(f"The model's config.json says too little of its shape: {exc}") from exc


def adapter_parameters(shape: Shape, lora: Lora) -> int:
    """Return how many numbers an adapter has: rank times in and out of each module.

    Raises:
        RecipeError: A target is no linear module of such a model.
    """
    targets = lora.target_modules
    names = tuple(shape.linears) if targets == "all-linear" else targets
    if unknown := sorted(set(names) - set(shape.linears)):
        raise RecipeError(f"lora.target_modules: a {shape.family} has no {', '.join(unknown)}")
    return shape.layers * lora.rank * sum(sum(shape.linears[name]) for name in set(names))


def activation_numbers(shape: Shape, *, checkpointing: bool) -> int:
    """Return the numbers that one token keeps for the way back, the logits aside.

    Of a layer: the inputs of both norms and their outputs, queries, keys and values before and
    after rotation, attention's output, and of the MLP gate, its activation, up and their product.
    """
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    layer = 4 * shape.hidden + 3 * queries + 3 * keys + 4 * shape.intermediate
    if checkpointing:  # the input of each layer, and all of the one that is computed again
        return shape.layers * shape.hidden + layer
    return shape.layers * layer


def footprint(shape: Shape, lora: Lora, method: OptimizationConfig, dtype: str) -> Footprint:
    """Return what training takes with full batches of the longest examples.

    Args:
        shape: The base's.
        lora: The adapter's shape, and whether the base is held in 4 bits.
        method: The batch, the longest example and whether activations are computed twice.
        dtype: float32 or bfloat16, in which the base computes.
    """
    width = BYTES[dtype]
    rest = (shape.parameters - shape.in_linears) * width
    linears = shape.in_linears * (NF4_BYTES if lora.quantization == "nf4" else width)
    tokens = method.batch_size * method.max_length
    kept = activation_numbers(shape, checkpointing=method.gradient_checkpointing) * width
    return Footprint(
        weights=int(rest + linears),
        adapter=adapter_parameters(shape, lora) * ADAPTER_BYTES,
        activations=tokens * (kept + shape.vocabulary * 4 * LOGIT_COPIES),
    )


def least_seconds(
    shape: Shape, tokens: int, flops_per_s: float, *, checkpointing: bool = False
) -> float:
    """Return the least time that training on `tokens` tokens takes.

    Args:
        shape: The base's.
        tokens: Over all epochs.
        flops_per_s: What the device does of floating-point operations, measured or from its sheet.
        checkpointing: Whether the way forward is computed twice.
    """
    head = shape.vocabulary * shape.hidden
    passes = 6 if checkpointing else 4
    return passes * (shape.in_linears + head) * tokens / flops_per_s


def words(stage: str, method: OptimizationConfig, dtype: str, taken: Footprint) -> str:
    """Say what a stage takes, for people."""
    parts = {"weights": taken.weights, "adapter": taken.adapter, "activations": taken.activations}
    listed = ", ".join(f"{name} {size / GIB:.2f}" for name, size in parts.items())
    return (
        f"{stage} takes about {taken.total / GIB:.2f} GiB beside PyTorch's own ({listed}; "
        f"batches of {method.batch_size} with up to {method.max_length} tokens each, {dtype})."
    )
