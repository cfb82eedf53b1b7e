"""The openai client: what it is given with each request, so that it makes up nothing of its own."""

from __future__ import annotations

import inspect

import openai
from openai._models import FinalRequestOptions

from app.llm.openai_compatible import _options


def test_every_option_of_a_request_has_a_value() -> None:
    """A default would be copied for each request; a new release of the client may have a new option."""
    of_post = {"method", "url", "json_data", "content", "files"}
    of_responses = {"post_parser"}  # a plain default, not copied
    assert set(FinalRequestOptions.model_fields) == {*_options({}), *of_post, *of_responses}
    assert {"content", "body", "files"} <= set(inspect.signature(openai.AsyncOpenAI.post).parameters)
