"""Writes the trained model as GGUF, the file format of llama.cpp, chat template included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType
from model import NORM_EPSILON, ROPE_BASE, Array, Model
from tokenizer import BEGIN, BYTES, CONTROL, END, UNKNOWN, Tokenizer

# The model learned single questions, so the last one is all it is shown.
CHAT_TEMPERATURE = 0.2  # unless a request says otherwise: a small model had better not be bold

CHAT_TEMPLATE = (
    "{%- set last = namespace(question='') -%}"
    "{%- for message in messages -%}{%- if message.role == 'user' -%}"
    "{%- set last.question = message.content -%}"
    "{%- endif -%}{%- endfor -%}"
    "<|user|>{{ last.question | trim }}<|assistant|>"
)


def write_gguf(path: Path, model: Model, tokenizer: Tokenizer) -> None:
    """Write first under a temporary name, so that `path` is a whole model or absent."""
    shape = model.shape
    unfinished = path.with_name(path.name + ".tmp")
    writer = GGUFWriter(unfinished, "llama")
    writer.add_name("train-gpt")
    writer.add_description("A small language model trained by the example train-gpt of maillage")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_layer_norm_rms_eps(NORM_EPSILON)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_sampling_temp(CHAT_TEMPERATURE)
    _add_tokenizer(writer, tokenizer, shape.vocabulary)
    for name, array in tensors(model).items():
        writer.add_tensor(name, np.ascontiguousarray(array, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unfinished.replace(path)


def tensors(model: Model) -> dict[str, Array]:
    """The weights under llama.cpp's names. The output table is the token table: it is left out."""
    width, hidden, named = model.shape.width, model.shape.hidden, model.named
    found = {"token_embd.weight": named["tokens"], "output_norm.weight": named["norm"]}
    for layer in range(model.shape.layers):
        qkv, gate_up = named[f"{layer}.qkv"], named[f"{layer}.gate_up"]
        block = {
            "attn_norm": named[f"{layer}.attention_norm"],
            "attn_q": qkv[:width],
            "attn_k": qkv[width : 2 * width],
            "attn_v": qkv[2 * width :],
            "attn_output": named[f"{layer}.attention_out"],
            "ffn_norm": named[f"{layer}.hidden_norm"],
            "ffn_gate": gate_up[:hidden],
            "ffn_up": gate_up[hidden:],
            "ffn_down": named[f"{layer}.down"],
        }
        found |= {f"blk.{layer}.{name}.weight": array for name, array in block.items()}
    return found


def _add_tokenizer(writer: GGUFWriter, tokenizer: Tokenizer, size: int) -> None:
    """Pieces, scores and kinds. A vocabulary larger than what was learned is filled with unused pieces."""
    unused = [f"<unused{number}>" for number in range(len(tokenizer.pieces), size)]
    kinds = [TokenType.CONTROL] * len(CONTROL) + [TokenType.BYTE] * len(BYTES)
    kinds[UNKNOWN] = TokenType.UNKNOWN
    kinds += [TokenType.NORMAL] * (len(tokenizer.pieces) - len(kinds)) + [TokenType.UNUSED] * len(unused)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([*tokenizer.pieces, *unused])
    writer.add_token_scores([tokenizer.score(token) for token in range(size)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(END)
    writer.add_unk_token_id(UNKNOWN)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)
