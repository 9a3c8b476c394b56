"""Trains the embedded storyteller, first version: python docs/storyteller/train.py --output FOLDER [--steps N].

PyTorch is used here and nowhere in the package. Rows of 256 tokens are packed with whole stories (BOS story EOS BOS ...),
the last one cut; stories in a row are not masked from one another. The model is exported often, to a new folder that
then takes the old one's place, so that there is always a whole one. A run of the same seed and machine is the same.
"""

import argparse
import json
import math
import shutil
import time
from pathlib import Path

import sentencepiece
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from minimistral.stories import story

CONFIG = {
    "dim": 128, "n_layers": 6, "head_dim": 24, "hidden_dim": 384, "n_heads": 8, "n_kv_heads": 2, "norm_eps": 1e-5,
    "vocab_size": 1024, "rope_theta": 10000.0, "sliding_window": 48, "tied_embeddings": True, "max_position_embeddings": 512,
}  # fmt: skip
UNSEEN = 10**9  # validation stories have seeds from here; training uses 0, 1, 2, ...


def train_tokenizer(folder: Path, n_stories: int = 20000) -> Path:
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(story(seed) for seed in range(n_stories)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(folder / "tokenizer"), vocab_size=CONFIG["vocab_size"], model_type="bpe",
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True,
        split_digits=True, character_coverage=1.0, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, num_threads=1,
        minloglevel=2, max_sentence_length=100000,
    )  # fmt: skip
    return folder / "tokenizer.model"


class Layer(nn.Module):
    def __init__(self, c: dict):
        super().__init__()
        q, kv = c["n_heads"] * c["head_dim"], c["n_kv_heads"] * c["head_dim"]
        self.attention_norm, self.ffn_norm = (nn.RMSNorm(c["dim"], c["norm_eps"]) for _ in range(2))
        self.attention = nn.ModuleDict({
            "wq": nn.Linear(c["dim"], q, bias=False), "wk": nn.Linear(c["dim"], kv, bias=False),
            "wv": nn.Linear(c["dim"], kv, bias=False), "wo": nn.Linear(q, c["dim"], bias=False),
        })  # fmt: skip
        self.feed_forward = nn.ModuleDict({
            "w1": nn.Linear(c["dim"], c["hidden_dim"], bias=False), "w2": nn.Linear(c["hidden_dim"], c["dim"], bias=False),
            "w3": nn.Linear(c["dim"], c["hidden_dim"], bias=False),
        })  # fmt: skip

    def forward(self, h, c, cos, sin):
        B, T, _ = h.shape
        x = self.attention_norm(h)
        q, k, v = (self.attention[w](x).view(B, T, -1, c["head_dim"]).transpose(1, 2) for w in ("wq", "wk", "wv"))
        q, k = rotated(q, cos, sin), rotated(k, cos, sin)
        a = windowed_attention(q, k, v, c["sliding_window"])
        h = h + self.attention["wo"](a.transpose(1, 2).reshape(B, T, -1))
        x = self.ffn_norm(h)
        f = self.feed_forward
        return h + f["w2"](F.silu(f["w1"](x)) * f["w3"](x))


def windowed_attention(q, k, v, window: int, block: int = 64):
    """Position i attends to i - window + 1 .. i. Block by block of queries, so that few masked scores are computed."""
    outputs = []
    for start in range(0, q.shape[2], block):
        first, end = max(0, start - window + 1), start + block
        queries, keys, values = q[:, :, start:end], k[:, :, first:end], v[:, :, first:end]
        B, heads, T, size = queries.shape
        kv_heads, S = keys.shape[1:3]
        back = torch.arange(start, start + T)[:, None] - torch.arange(first, first + S)
        bias = torch.zeros(T, S).masked_fill((back < 0) | (back >= window), -math.inf)
        # The query heads that share a key/value head stand below one another: one product for all of them.
        scores = torch.baddbmm(
            bias.repeat(heads // kv_heads, 1),
            queries.reshape(B * kv_heads, -1, size),
            keys.reshape(B * kv_heads, S, size).transpose(1, 2),
            alpha=size**-0.5,
        )
        weighted = torch.bmm(scores.softmax(-1), values.reshape(B * kv_heads, S, size))
        outputs.append(weighted.view(B, heads, T, size))
    return torch.cat(outputs, 2)


def rotated(x, cos, sin):
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


class Storyteller(nn.Module):
    def __init__(self, c: dict):
        super().__init__()
        self.c = c
        self.tok_embeddings = nn.Embedding(c["vocab_size"], c["dim"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["n_layers"]))
        self.norm = nn.RMSNorm(c["dim"], c["norm_eps"])
        for name, p in self.named_parameters():
            if p.ndim == 2:
                # What a layer adds starts small beside the embedding, so that later layers still see which token it is.
                branch = 0.3 if name.endswith(("wo.weight", "w2.weight")) else 1.0
                std = {"tok_embeddings.weight": 0.3}.get(name, branch / math.sqrt(p.shape[1]))
                nn.init.normal_(p, std=std)
        self.norm.weight.data.fill_(0.1)  # the embedding is large; the first logits are to be small all the same
        for layer in self.layers:
            # A head starts by writing back what it reads: values and output are transposes, so looking at a token
            # (the embedding is also the output matrix) makes that token likelier, and where to look is learnt first.
            wv = layer.attention["wv"].weight.detach().view(c["n_kv_heads"], c["head_dim"], c["dim"])
            heads = wv.repeat_interleave(c["n_heads"] // c["n_kv_heads"], 0)  # (n_heads, head_dim, dim)
            layer.attention["wo"].weight.data = 0.3 * heads.flatten(0, 1).T.clone()

    def forward(self, tokens):
        T, c = tokens.shape[1], self.c
        position = torch.arange(T)
        angles = position[:, None] * c["rope_theta"] ** (-torch.arange(0, c["head_dim"], 2) / c["head_dim"])
        cos, sin = angles.cos(), angles.sin()
        h = self.tok_embeddings(tokens)
        for layer in self.layers:
            h = layer(h, c, cos, sin)
        return self.norm(h) @ self.tok_embeddings.weight.T


def rows(tokenizer, first_seed: int, length: int):
    """Endless rows of length + 1 ids, each starting with a story's beginning."""
    seed = first_seed
    while True:
        row: list[int] = []
        while len(row) <= length:
            row += [tokenizer.bos_id(), *tokenizer.encode(story(seed)), tokenizer.eos_id()]
            seed += 1
        yield row[: length + 1]


def export(model: Storyteller, tokenizer_file: Path, folder: Path, log: list[dict]) -> None:
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file({n: p.detach().to(torch.bfloat16).contiguous() for n, p in model.state_dict().items()},
              partial / "consolidated.safetensors", {"format": "pt"})  # fmt: skip
    (partial / "consolidated.safetensors").chmod(0o644)
    (partial / "params.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    (partial / "training.json").write_text(json.dumps(log, indent=1) + "\n")
    shutil.copy(tokenizer_file, partial / "tokenizer.model")
    if (folder / "README.md").exists():
        shutil.copy(folder / "README.md", partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def validation_loss(model: Storyteller, batch: torch.Tensor) -> float:
    """Mean loss a token in nats, over rows of unseen stories."""
    with torch.no_grad():
        losses = [F.cross_entropy(model(b[:, :-1]).flatten(0, 1), b[:, 1:].flatten()).item() for b in batch.split(16)]
    return sum(losses) / len(losses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    work = options.output.with_name(options.output.name + ".work")
    work.mkdir(parents=True, exist_ok=True)
    tokenizer_file = train_tokenizer(work)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_file))
    context = 256  # half of the model's: with a window in every layer only distances below 48 are ever seen
    unseen = rows(tokenizer, UNSEEN, context)
    held_out = torch.tensor([next(unseen) for _ in range(32)])
    model = Storyteller(CONFIG)
    decayed = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=options.learning_rate, betas=(0.9, 0.95),
    )  # fmt: skip
    data, log, start = rows(tokenizer, 0, context), [], time.time()
    for step in range(1, options.steps + 1):
        warm, done = min(1.0, step / 100), step / options.steps
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))
        batch = torch.tensor([next(data) for _ in range(options.batch)])
        loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0 or step in (1, 20, options.steps):
            log.append({
                "step": step, "tokens": step * options.batch * context, "train_loss": round(loss.item(), 4),
                "validation_loss": round(validation_loss(model, held_out), 4), "minutes": round((time.time() - start) / 60, 1),
            })  # fmt: skip
            print(log[-1], flush=True)
        if step % 200 == 0 or step == options.steps:
            export(model, tokenizer_file, options.output, log)


if __name__ == "__main__":
    main()
