"""Base addresses of model APIs, as people paste them: without the path, or with the path of one endpoint too many."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit, urlunsplit

# The path of the OpenAI-compatible API at hosts that many people name without it.
_PATHS = {
    "api.openai.com": "/v1",
    "api.anthropic.com": "/v1",
    "generativelanguage.googleapis.com": "/v1beta/openai",
    "openrouter.ai": "/api/v1",
    "api.groq.com": "/openai/v1",
    "api.mistral.ai": "/v1",
    "api.deepseek.com": "/v1",
    "api.together.xyz": "/v1",
    "api.together.ai": "/v1",
    "api.fireworks.ai": "/inference/v1",
    "api.x.ai": "/v1",
    "api.cerebras.ai": "/v1",
    "api.moonshot.ai": "/v1",
    "api.moonshot.cn": "/v1",
    "api.cohere.ai": "/compatibility/v1",
    "api.cohere.com": "/compatibility/v1",
    "api.deepinfra.com": "/v1/openai",
    "dashscope.aliyuncs.com": "/compatible-mode/v1",
    "dashscope-intl.aliyuncs.com": "/compatible-mode/v1",
    "open.bigmodel.cn": "/api/paas/v4",
    "integrate.api.nvidia.com": "/v1",
    "router.huggingface.co": "/v1",
    "models.github.ai": "/inference",
    "ollama.com": "/v1",
}
_AZURE = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")
OLLAMA_PORT = 11434
_LOCAL_PORTS = {OLLAMA_PORT, 1234}  # Ollama, LM Studio
# Types whose servers have one path wherever they run, also behind a host of one's own.
_OF_TYPE = {"ollama": "/v1", "vllm": "/v1", "anthropic": "/v1", "gemini": "/v1beta/openai", "openrouter": "/api/v1"}

_ENDPOINT = re.compile(r"/(?:chat/completions|completions|embeddings|responses|messages|models)$")
_OLLAMA_ENDPOINT = re.compile(r"^/api(?:/(?:chat|generate|embed|embeddings|tags|version))?$")


def base_address(host: str, kind: str = "") -> str:
    """The base address that `host` means, for an entry of type `kind`; a query stays behind the path.

    What is no address of http or https is given back as it is.
    """
    try:
        parts = urlsplit(host.strip())
        port = parts.port
    except ValueError:
        return host
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return host
    path = re.sub(r"/{2,}", "/", parts.path).rstrip("/")
    path = _ENDPOINT.sub("", path)
    is_ollama = kind == "ollama" or port == OLLAMA_PORT
    if is_ollama and _OLLAMA_ENDPOINT.match(path):
        path = ""
    if not path:
        path = _usual_path(parts, port, kind)
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def ollama_address(named: str) -> str:
    """Where Ollama is, by the forms of OLLAMA_HOST: `host`, `host:port`, `http://host:port`; empty: this machine."""
    named = named.strip().rstrip("/")
    try:
        parts = urlsplit(named if "://" in named else f"http://{named or '127.0.0.1'}")
        port = parts.port or (443 if parts.scheme == "https" else OLLAMA_PORT)
    except ValueError:
        return f"http://127.0.0.1:{OLLAMA_PORT}"
    host = parts.hostname or "127.0.0.1"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # where it listens, not where to call it
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def checked_address(address: str) -> str:
    """The address itself.

    Raises:
        ValueError: it is none of http or https, names no host, or has a port that is no number.
    """
    try:
        parts = urlsplit(address)
        has_host = bool(parts.hostname)
        parts.port  # noqa: B018  # raises
    except ValueError:
        raise ValueError("is no address: check its brackets and its port") from None
    if parts.scheme not in ("http", "https") or not has_host:
        raise ValueError("must be an address such as http://localhost:11434/v1")
    return address


def is_azure(address: str) -> bool:
    """Whether Azure answers there: its keys travel in a header of their own, `api-key`."""
    return (urlsplit(address).hostname or "").lower().rstrip(".").endswith(_AZURE)


def key_header(key: str, address: str) -> dict[str, str]:
    """The header in which a key travels to an address."""
    return {"api-key": key} if is_azure(address) else {"Authorization": f"Bearer {key}"}


def without_password(address: str) -> str:
    """An address to be shown."""
    return re.sub(r"(?<=://)[^/@]*@", "***@", address)


def _usual_path(parts: SplitResult, port: int | None, kind: str) -> str:
    name = (parts.hostname or "").lower().rstrip(".")
    if name in _PATHS:
        return _PATHS[name]
    if name.endswith(_AZURE):
        return "/openai/v1"
    return _OF_TYPE.get(kind) or ("/v1" if port in _LOCAL_PORTS else "")
