"""The recipe's sections on how an adapter is trained: its shape, and each method's optimisation."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from training.recipe.base import RecipeSection


class Lora(RecipeSection):
    """The adapter's shape."""

    rank: int = Field(16, ge=1, le=512, description="Rank; at most the server's adapters.max_rank.")
    alpha: float = Field(
        32, gt=0, description="Scale; the update is multiplied by alpha / rank, or see variant."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the adapter's input.")
    target_modules: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear",
        description="Layers that get an adapter: all-linear, or names such as q_proj.",
    )
    variant: Literal["lora", "rslora", "dora"] = Field(
        "lora",
        description="lora scales by alpha / rank, rslora by alpha / sqrt(rank), which keeps high "
        "ranks learning (Kalajdzievski 2023, arXiv:2312.03732). dora is refused: vLLM serves none.",
    )
    quantization: Literal["none", "nf4"] = Field(
        "none",
        description="nf4 holds the frozen base in 4 bits while training (QLoRA, Dettmers et al. "
        "2023, arXiv:2305.14314): about a quarter of the memory. Needs bitsandbytes and a GPU, or "
        "device: cpu to try it slowly.",
    )

    @field_validator("variant")
    @classmethod
    def _can_be_served(cls, variant: str) -> str:
        if variant == "dora":
            raise ValueError(
                "vLLM does not serve DoRA (its peft_helper refuses use_dora), so such an adapter "
                "could be trained and never answer; use lora or rslora"
            )
        return variant


class OptimizationConfig(RecipeSection):
    """What every method shares; its subclasses add their own."""

    epochs: float = Field(3, gt=0, description="Passes over the training examples.")
    max_steps: int | None = Field(
        None, ge=1, description="Stop after this many optimizer steps, whatever epochs says."
    )
    batch_size: int = Field(8, ge=1, description="Examples per device and forward pass.")
    gradient_accumulation: int = Field(
        1, ge=1, description="Forward passes per optimizer step: saves memory, costs nothing else."
    )
    learning_rate: float = Field(2e-4, gt=0, description="Peak learning rate.")
    scheduler: Literal["linear", "cosine", "constant"] = Field(
        "cosine", description="How the learning rate falls."
    )
    warmup_share: float = Field(
        0.05, ge=0, lt=1, description="Share of the steps over which the learning rate rises."
    )
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay.")
    max_length: int = Field(
        2048,
        ge=16,
        description="Longest example in tokens; longer ones are left out, never cut, and counted.",
    )
    seed: int = Field(
        42, ge=0, description="The same seed on the same data gives the same adapter."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where to train; auto takes a GPU if there is one."
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Weights of the frozen base; auto is bfloat16 on a GPU, else float32. A device "
        "that would only emulate bfloat16, as a CPU without AVX512_BF16 or AMX, takes float32.",
    )
    gradient_checkpointing: bool = Field(
        False, description="Less memory for about a fifth more time."
    )
    checkpoint_steps: int | None = Field(
        None,
        ge=0,
        description="Save a checkpoint every so many steps, 100 by default; 0 saves none. With "
        "`validation` one is saved at each look instead.",
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads; all by default. Leave some to a server beside it."
    )


class Sft(OptimizationConfig):
    """Supervised fine-tuning."""


class Dpo(OptimizationConfig):
    """Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290)."""

    epochs: float = Field(1, gt=0, description="Passes over the pairs.")
    learning_rate: float = Field(
        5e-6, gt=0, description="Peak learning rate; a tenth of SFT's or less."
    )
    beta: float = Field(
        0.1, gt=0, description="How closely the policy keeps to the reference; higher is closer."
    )
    loss: Literal["sigmoid", "ipo", "hinge", "robust"] = Field(
        "sigmoid",
        description="sigmoid is DPO's own; ipo (Azar et al. 2023) does not overfit pairs that "
        "always agree; hinge is SLiC's; robust allows for label_noise of wrong pairs.",
    )
    label_noise: float = Field(
        0.0, ge=0, lt=0.5, description="loss robust: share of the pairs thought to be reversed."
    )
    min_pairs: int = Field(20, ge=1, description="Fewer pairs than this, and nothing is trained.")

    @model_validator(mode="after")
    def _noise_is_used(self) -> Self:
        if self.label_noise and self.loss != "robust":
            raise ValueError(f"label_noise is used by loss robust only, not by {self.loss}")
        return self


class Kto(OptimizationConfig):
    """Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv:2402.01306)."""

    epochs: float = Field(1, gt=0, description="Passes over the labelled answers.")
    batch_size: int = Field(
        8, ge=2, description="Answers per device and forward pass; the KL term pairs them up."
    )
    learning_rate: float = Field(
        5e-6, gt=0, description="Peak learning rate; a tenth of SFT's or less."
    )
    beta: float = Field(
        0.1, gt=0, description="How closely the policy keeps to the reference; higher is closer."
    )
    loss: Literal["kto", "apo_zero_unpaired"] = Field(
        "kto",
        description="kto is the paper's; apo_zero_unpaired (arXiv:2408.06266) has no KL term.",
    )
    desirable_weight: float | None = Field(
        None, gt=0, description="Weight of a good answer; by default the rarer side is weighed up."
    )
    undesirable_weight: float | None = Field(
        None, gt=0, description="Weight of a bad answer; by default the rarer side is weighed up."
    )
    min_each: int = Field(
        10, ge=1, description="Fewer good or fewer bad answers than this, and nothing is trained."
    )


class ValidationConfig(RecipeSection):
    """Early stopping on conversations kept back from the training ones, never on the hold-out."""

    share: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="Share of the training conversations that are not learned from but looked at "
        "to choose the best checkpoint; 0 keeps none and trains to the end.",
    )
    steps: int | None = Field(
        None, ge=1, description="Look every so many optimizer steps; after each epoch by default."
    )
    patience: int = Field(
        3, ge=1, description="Looks in a row without a lower loss after which training ends."
    )


class LaunchConfig(RecipeSection):
    """How the trainer's process is started."""

    accelerate_config: str | None = Field(
        None,
        description="Configuration file for `accelerate launch`: several GPUs, DDP or FSDP. "
        "None trains in one process on one device.",
    )
