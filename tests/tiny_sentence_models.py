"""Random BERTs of a few kilobytes: a sentence-embedding model and a cross-encoder.

Their weights mean nothing. Texts that share words have embeddings nearer to each other than others,
since an embedding is the mean over what is said.
"""

from __future__ import annotations

from pathlib import Path

TOKENS = 32
"""What both read at most."""
WIDTH = 32


def _bert(folder: Path, head: str, seed: int, **config: int) -> Path:
    import torch
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = [
        *special,
        *letters,
        *(f"##{one}" for one in letters),
        *("refund", "money", "parcel", "kettle"),
    ]
    vocabulary = {word: n for n, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=TOKENS,
    )
    torch.manual_seed(seed)
    made = getattr(transformers, head)(
        transformers.BertConfig(
            vocab_size=len(words),
            hidden_size=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=TOKENS,
            initializer_range=0.2,
            **config,
        )
    ).eval()
    made.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def make_sentence_model(folder: Path, *, seed: int = 0) -> Path:
    """Write a model of sentence embeddings with `WIDTH` numbers, the mean over tokens."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    bert = _bert(folder / "bert", "BertModel", seed)
    whole = SentenceTransformer(modules=[Transformer(str(bert)), Pooling(WIDTH)], device="cpu")
    whole.save(str(folder))
    return folder


def make_cross_encoder(folder: Path, *, seed: int = 0, labels: int = 1) -> Path:
    """Write a cross-encoder with one score a pair."""
    return _bert(folder, "BertForSequenceClassification", seed, num_labels=labels)
