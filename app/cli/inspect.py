"""hector list, info, check: agents, sessions, and the state of the configuration."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from app.cli.agents import get_agent
from app.cli.connection import Target, connect, read_config
from app.cli.failures import CommandFailed, ExitCode
from app.cli.run import complain, print_json
from app.cli.tables import SESSION_HEADINGS, moment, print_pairs, print_rows, session_row
from app.config.documents import DocumentStoreConfig
from app.config.load import LoadedConfig
from app.config.root import Config
from app.llm.detect import HOW_TO_CHANGE
from app.memory.notices import notices


async def list_(target: Target, agent: str | None, *, limit: int, status: str | None, as_json: bool) -> ExitCode:
    async with connect(target, only_looks=True) as client:
        if agent is None:
            agents = await client.agents()
            if as_json:
                print_json({"agents": agents})
            else:
                headings = ("agent", "name", "llm", "model", "tools")
                print_rows(headings, [_agent_row(found) for found in agents])
                for chosen in [found["description"] for found in agents if HOW_TO_CHANGE in found["description"]]:
                    complain(chosen)
            return ExitCode.OK
        await get_agent(client, agent)
        sessions, cursor = await client.agent(agent).sessions(limit=limit, status=status, order="activity")
        if as_json:
            print_json({"sessions": sessions, "next_cursor": cursor})
        else:
            print_rows(SESSION_HEADINGS, [session_row(session) for session in sessions])
            if cursor is not None:
                complain(f"there are more than {limit}; --limit shows them")
        return ExitCode.OK


def _agent_row(agent: dict[str, Any]) -> list[str]:
    llm = agent["llm"]
    return [agent["agent"], agent["name"], llm["name"], str(llm["model"]), ", ".join(agent["tools"])]


async def info(target: Target, agent: str, session_id: str | None, *, as_json: bool) -> ExitCode:
    async with connect(target, only_looks=True) as client:
        about = await get_agent(client, agent, ask_provider=session_id is None)
        found = about if session_id is None else await client.agent(agent).session(session_id).info()
        if as_json:
            print_json(found)
        elif session_id is None:
            stores = [store["store"] for store in await client.document_stores()]
            print_pairs(_about_agent(about, stores, client.place))
        else:
            print_pairs(_about_session(found))
        return ExitCode.OK


def _about_agent(agent: dict[str, Any], stores: list[str], place: str) -> list[tuple[str, str]]:
    return [
        ("agent", agent["agent"]),
        ("name", agent["name"]),
        ("description", agent.get("description") or ""),
        ("llm", f"{agent['llm']['name']} ({agent['llm']['model']})"),
        ("memory", _memory_words(agent["memory"])),
        ("context", _context_words(agent["memory"].get("context"))),
        ("tools", ", ".join(agent["tools"])),
        ("documents", ", ".join(stores)),
        ("streams", "yes" if agent["streaming"] else "no"),
        ("served by", place),
    ]


def _memory_words(memory: dict[str, Any]) -> str:
    budget = memory.get("budget")
    return f"{memory['strategy']}, {budget:,} tokens" if budget is not None else str(memory["strategy"])


def _context_words(context: dict[str, Any] | None) -> str:
    """How many tokens the model takes in, and who says so; an older server does not tell."""
    if context is None:
        return ""
    from app.llm.context import SENTENCES

    return f"{context['tokens']:,} tokens, {SENTENCES.get(context['source'], context['source'])}"


def _about_session(session: dict[str, Any]) -> list[tuple[str, str]]:
    usage, turn = session["usage"], session.get("turn")
    pairs = [
        ("session", session["session_id"]),
        ("agent", session["agent"]),
        ("user", session["user_id"]),
        ("title", session.get("title") or ""),
        ("status", "active, ending" if session.get("ending") else session["status"]),
        ("created", moment(session["created_at"])),
        ("active", moment(session["active_at"])),
        ("ended", moment(session["ended_at"]) if session.get("ended_at") else ""),
        ("expires", moment(session["expires_at"]) if session.get("expires_at") else "never"),
        ("messages", str(session["message_count"])),
        ("tokens", f"{usage['prompt_tokens']} + {usage['completion_tokens']}"),
        ("events", str(session["last_seq"])),
        ("queued", ", ".join([str(waiting["turn_id"]) for waiting in session.get("queue", [])])),
    ]
    if turn is not None:
        pairs += [("turn", f"{turn['turn_id']}, {turn['status']} since {moment(turn['started_at'])}")]
        pairs += [("so far", turn.get("partial_text") or "")]
    return pairs


# -- check --------------------------------------------------------------------------------------


def check(config: Path | None, *, as_json: bool) -> ExitCode:
    """Print every problem of the configuration, or a summary of what it declares."""
    try:
        loaded = read_config(config, tries_tools=True)
    except CommandFailed as failure:
        problems = re.split(r"\n(?! )", failure.message)
        if as_json:
            nothing: dict[str, Any] = {"warnings": [], "llms": [], "agents": [], "document_stores": []}
            print_json({"ok": False, "config": None, "problems": problems, **nothing})
        else:
            for problem in problems:
                print(problem)
            complain(f"{len(problems)} problem{'' if len(problems) == 1 else 's'}")
        return ExitCode.USAGE
    found = _checked(loaded)
    if as_json:
        print_json(found)
    else:
        _print_checked(found)
    return ExitCode.OK


def _checked(loaded: LoadedConfig) -> dict[str, Any]:
    config = loaded.config
    used = {name: [key for key, agent in config.agents.items() if agent.llm == name] for name in config.llms}
    sizes = asyncio.run(_sizes(config, [name for name, agents in used.items() if agents]))
    llms = [
        {
            "name": name,
            "type": llm.type,
            "model": llm.model,
            "configured": (missing := missing_of_llm(name, loaded.config)) is None,
            "missing": missing,
            "agents": used[name],
            "context": sizes.contexts.get(name),
        }
        for name, llm in config.llms.items()
    ]
    return {
        "ok": True,
        "config": str(loaded.path) if loaded.path is not None else None,
        "problems": [],
        "warnings": [*loaded.warnings, *notices(config)],
        "llms": llms,
        "agents": [
            {
                "agent": key,
                "name": agent.name,
                "llm": agent.llm,
                "description": agent.description,
                "budget": sizes.budgets[key],
            }
            for key, agent in config.agents.items()
        ],
        "document_stores": [
            {"store": name, "paths": [str(path) for path in store.paths], "missing": _missing_of_store(store)}
            for name, store in config.document_stores.items()
        ],
    }


@dataclass(frozen=True, slots=True)
class _Sizes:
    """The contexts of models, and of agents the tokens of history in a request (`None`: messages are counted)."""

    contexts: dict[str, dict[str, Any]]
    budgets: dict[str, int | None]


async def _sizes(config: Config, used: list[str]) -> _Sizes:
    """Asks the providers of the models in use, where they tell how much context a model has; for 2 s at most."""
    from app.agents import build_agents
    from app.llm.build import build_llm
    from app.memory.summary_buffer import SummaryBuffer

    models = {name: build_llm(name, llm) for name, llm in config.llms.items()}
    try:
        await asyncio.gather(*[models[name].context.find() for name in used if config.llms[name].is_configured])
        agents = build_agents(config, models)
        budgets: dict[str, int | None] = {}
        for key, agent in agents.items():
            if agent.budget is not None:
                agent.budget.apply()
            memory = agent.working_memory
            budgets[key] = memory.budget if isinstance(memory, SummaryBuffer) else None
        known = {name: models[name].context.known for name in used}
    finally:
        for model in models.values():
            await model.close()
    return _Sizes({name: {"tokens": one.tokens, "source": one.source} for name, one in known.items()}, budgets)


def missing_of_llm(name: str, config: Config) -> str | None:
    """What is missing before an llm can be used; `None` if nothing is."""
    from app.llm.weights import find_weights

    llm = config.llms[name]
    if not llm.is_configured:
        return f"no key; set llms.{name}.api_key"
    if llm.type != "local":
        return None
    if find_spec("xllamacpp") is None:
        return "no engine; pip install 'hector[local]'"
    if llm.model is not None:
        return None if Path(llm.model).is_file() else "no such file"
    return None if find_weights() is not None else "no weights; run hector weights"


def _missing_of_store(store: DocumentStoreConfig) -> list[str]:
    """What prevents files of a store from being found or read; empty if nothing does."""
    from app.documents.kinds import kind_of
    from app.documents.watch import MISSING, is_installed

    missing = [f"no such file or folder: {path}" for path in store.paths if not path.exists()]
    kinds = [kind_of(name) for name in (*store.patterns, *[str(path) for path in store.paths])]
    missing += dict.fromkeys([kind.missing for kind in kinds if kind.missing is not None])
    return missing + ([MISSING] if store.watch and not is_installed() else [])


def _print_checked(found: dict[str, Any]) -> None:
    print(found["config"] or "no file")
    for warning in found["warnings"]:
        print(f"warning: {warning}")
    for llm in found["llms"]:
        state = llm["missing"] or "configured"
        model = f" {llm['model']}" if llm["model"] else ""
        users = f"; used by {', '.join(llm['agents'])}" if llm["agents"] else "; not used"
        print(f"llm {llm['name']}: {llm['type']}{model}: {state}{users}")
        if llm["context"] is not None:
            print(f"llm {llm['name']}: context: {_context_words(llm['context'])}")
    for agent in found["agents"]:
        print(f"agent {agent['agent']}: {agent['name']}, on {agent['llm']}")
        if agent["budget"] is not None:
            print(f"agent {agent['agent']}: history: {agent['budget']:,} tokens")
        if found["config"] is None:
            print(agent["description"])
    for store in found["document_stores"]:
        print(f"document store {store['store']}: {', '.join(store['paths'])}")
        for missing in store["missing"]:
            print(f"document store {store['store']}: {missing}")
    print("ok")
