"""`ask_user`: a question for a person. The call waits without a process, and is run again with the answer."""

from __future__ import annotations

import json
from typing import Any

from app.domain.act import ToolClass
from app.tools.arguments import BadArguments, fit, read
from app.tools.base import Question, ToolContext, ToolFailed, ToolOutcome, ToolResult, ToolSpec
from app.tools.mistakes import cut
from app.tools.schemas import compiled

MAX_ANSWER = 100_000
"""Characters of an answer."""

SPEC = ToolSpec(
    "ask_user",
    "Ask the person you work for, and wait for the answer. Use it when you cannot go on without it.",
    {
        "type": "object",
        "properties": {
            "question": {"type": "string", "minLength": 1, "maxLength": 4_000},
            "choices": {
                "type": "array",
                "items": {"type": "string", "minLength": 1, "maxLength": 200},
                "minItems": 1,
                "maxItems": 20,
                "uniqueItems": True,
                "description": "The answers to choose from; leave it out for an answer in words.",
            },
            "schema": {
                "type": "object",
                "description": "A JSON schema of the answer, for a form; not together with choices.",
            },
        },
        "required": ["question"],
        "additionalProperties": False,
    },
    ToolClass.IDEMPOTENT,
    reads="fixed",
)


class AskUser:
    spec = SPEC

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        question = _question(arguments)
        if context.answer is None:
            return question
        try:
            answer = check_answer(question, context.answer)
        except BadArguments as exc:
            return Question(f"{question.question}\n\n{exc}", question.choices, question.schema)
        return ToolResult(answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False), answer)


def check_answer(question: Question, answer: Any) -> Any:
    """The answer as the question wants it: one of the choices, what fits the schema, or any text.

    Raises:
        BadArguments: it is none of these; the message is for the person.
    """
    if len(json.dumps(answer, default=str)) > MAX_ANSWER:
        raise BadArguments(f"The answer is longer than {MAX_ANSWER:,} characters.")
    if question.choices:
        return _choice(question.choices, answer)
    if question.schema is not None:
        return _form(question.schema, answer)
    if isinstance(answer, str) and not answer.strip():
        raise BadArguments("The answer is empty.")
    return answer


def _choice(choices: tuple[str, ...], answer: Any) -> str:
    if isinstance(answer, str):
        for choice in choices:
            if answer.strip().casefold() == choice.strip().casefold():
                return choice
    raise BadArguments(f"The answer must be one of: {', '.join(choices)}.")


def _form(schema: dict[str, Any], answer: Any) -> Any:
    wants_text = schema.get("type") == "string"
    value = read(answer) if isinstance(answer, str) and not wants_text else answer
    fitting, mistakes = fit(value, compiled(schema))
    if mistakes:
        raise BadArguments("The answer does not fit: " + "; ".join(mistakes).replace("the call ", "it ") + ".")
    return fitting


def _question(arguments: dict[str, Any]) -> Question:
    choices, schema = arguments.get("choices"), arguments.get("schema")
    if choices and schema is not None:
        raise ToolFailed("Ask with `choices` or with a `schema`, not with both.")
    if schema is not None and (problem := compiled(schema).problem) is not None:
        raise ToolFailed(f"`schema` is no JSON schema that can be used ({cut(problem, 300)}).")
    return Question(arguments["question"], tuple(choices or ()), schema)
