"""The context windows of hosted models, by name: for providers that do not tell them."""

from __future__ import annotations

import re

# The first that fits counts. A name stands for its family: the figure is what every model of it takes in.
_KNOWN: tuple[tuple[str, int], ...] = (
    (r"gpt-5(\.\d+)?-chat", 128_000),
    (r"gpt-5", 400_000),
    (r"gpt-4\.1", 1_047_576),
    (r"(chatgpt-4o|gpt-4o|gpt-4\.5|gpt-4-turbo|gpt-4-1106|gpt-4-0125)", 128_000),
    (r"gpt-4-32k", 32_768),
    (r"gpt-4", 8_192),
    (r"gpt-3\.5", 16_385),
    (r"gpt-oss", 131_072),
    (r"o1-(mini|preview)", 128_000),
    (r"o[134]", 200_000),
    (r"claude-(2\.0|instant)", 100_000),
    (r"claude", 200_000),
    (r"gemini-(pro|1\.0)", 32_768),
    (r"gemini", 1_048_576),
    (r"gemma-?3", 131_072),
    (r"(meta-)?llama-?(3[.-]\d|4)", 131_072),
    (r"(meta-)?llama-?3", 8_192),
    (r"(mistral-(large|medium)|ministral|magistral|devstral)", 131_072),
    (r"(open-)?(mistral|mixtral)", 32_768),
    (r"(qwen-?[23]|qwq)", 32_768),
    (r"deepseek", 65_536),
    (r"command-[ar]", 128_000),
    (r"grok", 131_072),
    (r"(kimi|glm-[45])", 131_072),
    (r"phi-?4", 16_384),
)
_PATTERNS = tuple([(re.compile(rf"{name}(?![a-z0-9])"), tokens) for name, tokens in _KNOWN])


def known_context(model: str) -> int | None:
    """Tokens that a model of this name takes in; `None` for an unknown one.

    Understands a maker before the name (`openai/gpt-4o`) and fine-tuned names (`ft:gpt-4o-mini:…`).
    """
    name = model.lower().removeprefix("ft:").rpartition("/")[2]
    return next((tokens for pattern, tokens in _PATTERNS if pattern.match(name)), None)
