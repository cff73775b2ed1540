"""A vision-language model with random weights, built on the spot: it looks at the pictures and keeps to the schema.

A LLaVA of two small layers reads 16 tokens a picture and then the text; each of its tokens is drawn from those that a
JSON answer can go on with. What it says means nothing, but it is always valid, and depends on the seed, on the text
and on every picture. `ModelServer(TinyVLM(seed).answer)` serves it. It downloads nothing.
"""

from __future__ import annotations

import io
import json
import math
import threading
from typing import Any

import llguidance
import numpy as np
import torch
from json_schemas import Schema, bounded
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from model_server import Request
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from ludus.seeding import child, rng

HIDDEN = 32
IMAGE, PATCH = 64, 16  # px; a picture is resized to a square
IMAGE_TOKENS = (IMAGE // PATCH) ** 2
MOST_TEXT = 1024  # tokens; of a longer text the middle is not read
MOST_TOKENS = 600  # of the answer, before it is brought to an end
QUOTE = 4.0  # nats in favour of ending a string
SAID = r"[a-z][a-z ]{%d,%d}"  # what a string may be, if the schema leaves it open
END, PICTURE = "<end>", "<picture>"
WORDS = (
    "the a red green blue cube block arm hand table push pull lift stack place put on beside under near reach move "
    "is was has not and because slow fast high low left right better worse again more less first then next episode "
    "skill task plan goal policy reward success failure score learn try test compare picture shows true false null"
)


def build_tokenizer() -> Tokenizer:
    """Bytes, and the words above with the space before them."""
    tokens, merges = [END, PICTURE, *sorted(pre_tokenizers.ByteLevel.alphabet())], []
    for word in WORDS.split():
        part = "Ġ"  # how a space is written
        for letter in word:
            if part + letter not in tokens:
                merges.append((part, letter))
                tokens.append(part + letter)
            part += letter
    tokenizer = Tokenizer(models.BPE({token: k for k, token in enumerate(tokens)}, merges))
    tokenizer.add_special_tokens([END, PICTURE])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def build_model(seed: int, n_tokens: int, picture: int, end: int) -> LlavaForConditionalGeneration:
    layers = {"hidden_size": HIDDEN, "intermediate_size": 2 * HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**layers, image_size=IMAGE, patch_size=PATCH),
        text_config=LlamaConfig(
            **layers,
            vocab_size=n_tokens,
            max_position_embeddings=1 << 14,
            bos_token_id=None,
            eos_token_id=end,
            pad_token_id=end,
        ),
        image_token_index=picture,
        image_seq_length=IMAGE_TOKENS,
        vision_feature_layer=-1,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(child(seed, "tiny vlm", "weights"))
        model = LlavaForConditionalGeneration(config).eval()
        for weight in model.parameters():
            if weight.dim() > 1:  # larger than usual: an untrained model's answer hardly depends on what it sees
                fan_in = HIDDEN if weight.shape[0] == n_tokens else math.prod(weight.shape[1:])
                weight.normal_(0.0, 2 / math.sqrt(fan_in))
    return model


class TinyVLM:
    """See the module's docstring. The same seed and request, the same answer; a request's own `seed` changes it."""

    def __init__(self, seed: int) -> None:
        torch.set_num_threads(1)  # beside other tests, more only wait for each other
        self.seed = seed
        self.tokenizer = build_tokenizer()
        self.n_tokens = self.tokenizer.get_vocab_size()
        self.end, self.picture = (self.tokenizer.token_to_id(t) for t in (END, PICTURE))
        *self.closing, self.quote = (self.tokenizer.token_to_id(t) for t in ("]", "}", '"'))
        self.model = build_model(seed, self.n_tokens, self.picture, self.end)
        self._grammars = llguidance.LLTokenizer(self.tokenizer.to_str(), n_vocab=self.n_tokens, eos_token=self.end)
        self._one = threading.Lock()  # answers one request at a time

    def answer(self, request: Request) -> str:
        """JSON for the request's schema, or a few words if it has none."""
        ids = [i for i in self.tokenizer.encode(request.text).ids if i not in (self.end, self.picture)]
        ids = ids if len(ids) <= MOST_TEXT else ids[: MOST_TEXT // 2] + ids[-MOST_TEXT // 2 :]
        ids = [self.picture] * IMAGE_TOKENS * len(request.images) + ids
        pixels = [picture_pixels(png) for png in request.images]
        if request.schema is None:
            grammar = llguidance.LLMatcher.grammar_from_regex(SAID % (9, 59))
        else:
            grammar = json_grammar(request.schema)
        with self._one, torch.inference_mode():
            said = self._generate(
                ids or [self.end],
                torch.from_numpy(np.stack(pixels)) if pixels else None,
                llguidance.LLMatcher(self._grammars, grammar),
                rng(self.seed, "tiny vlm", "answer", str(request.settings.get("seed"))),
            )
        return said if request.schema is None else json.dumps(json.loads(said))

    def _generate(
        self,
        ids: list[int],
        pixels: torch.Tensor | None,  # [pictures, 3, IMAGE, IMAGE] float32
        matcher: llguidance.LLMatcher,
        dice: np.random.Generator,
    ) -> str:
        """Token after token; what can only go on in one way is not asked for."""
        if matcher.is_error():
            raise ValueError(matcher.get_error())
        mask, said, cache = allocate_token_bitmask(1, self.n_tokens), [], None
        while not matcher.is_accepting():
            out = self.model(
                input_ids=torch.tensor([ids]),
                pixel_values=pixels,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache, pixels = out.past_key_values, None
            fill_next_token_bitmask(matcher, mask)
            allowed = np.unpackbits(mask.view(np.uint8), bitorder="little")[: self.n_tokens].astype(bool)
            logits = out.logits[0, -1].double().numpy() + dice.gumbel(size=self.n_tokens)
            logits[self.quote] += QUOTE  # or every string would be as long as it may be
            if len(said) > MOST_TOKENS:
                logits[[*self.closing, self.quote]] += 1e6
            ids = [int(np.where(allowed, logits, -np.inf).argmax())]
            matcher.consume_tokens(ids)
            forced = matcher.compute_ff_tokens()
            matcher.consume_tokens(forced)
            ids += forced
            said += ids
            if matcher.is_error():
                raise ValueError(matcher.get_error())
        return self.tokenizer.decode(said)


def json_grammar(schema: Schema) -> str:
    finite = bounded(schema)
    assert finite is not None, f"no finite answer to {schema}"
    options: Any = {"whitespace_flexible": False}
    return llguidance.LLMatcher.grammar_from_json_schema(_speakable(finite), overrides=options)


def _speakable(part: Any) -> Any:
    """The schema with every string that may be anything made of letters and spaces, and nothing left out."""
    if isinstance(part, list):
        return [_speakable(p) for p in part]
    if not isinstance(part, dict) or "enum" in part:
        return part
    if part.get("type") == "string" and "maxLength" in part and "pattern" not in part:
        least, most = max(part["minLength"], 1), part["maxLength"]
        return {"type": "string", "pattern": f"^{SAID % (least - 1, most - 1)}$"} if most else {"enum": [""]}
    whole = {"required": list(part["properties"])} if part.get("type") == "object" else {}
    return {name: _speakable(p) for name, p in part.items()} | whole


def picture_pixels(picture: bytes) -> np.ndarray:
    """[3, IMAGE, IMAGE] float32 in [-1, 1]."""
    with Image.open(io.BytesIO(picture)) as image:
        small = image.convert("RGB").resize((IMAGE, IMAGE), Image.Resampling.BILINEAR)
    return np.asarray(small, np.float32).transpose(2, 0, 1) / 127.5 - 1
