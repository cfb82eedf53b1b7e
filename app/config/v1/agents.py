"""The `agents` section of a v1 file."""

from __future__ import annotations

from app.config.document import Key
from app.config.v1.rewrite import Rewrite

_WORKING = ("strategy", "budget", "window_size", "threshold", "target")
_REFLECTION = (
    *("enable_self_reflection", "enable_structured_reflection", "enable_meta_reasoning", "enable_goal_extraction"),
    *("enable_goal_evolution", "enable_dynamic_quality", "enable_completion_verification", "quality_threshold"),
)
_WINDOW = (
    *("include_context", "include_history", "include_tools", "max_history_messages", "max_context_length"),
    *("enable_summarization", "summarize_threshold", "smart_memory", "memory_budget"),
)


def rewrite_agents(file: Rewrite) -> None:
    for name in file.names("agents"):
        at = ("agents", name)
        kind = file.text(*at, "type").lower()
        if kind == "a2a":
            file.ignore(("agents",), (name,), "agents of type a2a are not built yet; this one is left out")
            file.unlist(name, "sub_agents", "names an agent that is left out")
            continue
        if kind in ("", "native"):
            file.drop(*at, "type")
        else:
            file.refuse((*at, "type"), f"must be native or left out (got {kind!r})")
        _rewrite_agent(file, at)
        _rewrite_prompt(file, (*at, "prompt"))
        _rewrite_memory(file, (*at, "memory"))
        _rewrite_reasoning(file, (*at, "reasoning"))


def _rewrite_agent(file: Rewrite, at: Key) -> None:
    for name, section in (("database", "storage"), ("session_store", "storage"), ("embedder", "embedders")):
        file.ignore(at, (name,), f"ignored; all agents share what `{section}` says")
    file.ignore(at, ("url", "credentials", "a2a"), "ignored; it belongs to agents of type a2a, which are not built yet")
    file.ignore(at, ("task",), "ignored; every turn is kept in the database of `storage`")
    file.ignore(at, ("search",), "ignored; how documents are found is not set by agent: document_stores")
    file.ignore(at, ("structured_output",), "ignored; write it under llms.<name>, whose answers it is about")
    file.ignore(at, ("docs_folder",), "ignored; name the folder under document_stores.<name>.paths")
    file.ignore(at, ("enable_tools",), "ignored; an agent has the tools that it lists")
    if not file.has(*at, "security"):
        return
    schemes = file.text(*at, "security", "jwks_url") or file.get(*at, "security", "schemes")
    if schemes and not file.is_off(*at, "security", "enabled"):
        file.refuse(
            (*at, "security"),
            "agents have no security of their own: list the callers and their keys under auth.keys, or remove this",
        )
    file.drop(*at, "security")


def _rewrite_prompt(file: Rewrite, at: Key) -> None:
    if file.has(*at, "prompt_slots"):
        file.note("is read as a part of agents.<name>.prompt", (*at, "prompt_slots"))
        for slot in file.names(*at, "prompt_slots"):
            file.move((*at, "prompt_slots", slot), (*at, slot), None)
        file.drop(*at, "prompt_slots")
    if file.has(*at, "instructions"):
        target = "system_prompt" if file.text(*at, "system_prompt") else "additional"
        parts = [file.get(*at, target), file.drop(*at, "instructions")]
        text = "\n\n".join([str(part) for part in parts if part])
        file.put((*at, target), text or None, of=(*at, "instructions"))
        file.note(f"is read as agents.<name>.prompt.{target}", (*at, "instructions"))
    file.ignore(at, _WINDOW, "ignored; what of a conversation is sent is said by memory.working")
    templates = ("full_template", "template", "variables")
    file.ignore(at, templates, "ignored; there are no templates: write the text into system_prompt")


def _rewrite_memory(file: Rewrite, at: Key) -> None:
    for name in _WORKING:
        file.move((*at, name), (*at, "working", name), "is read as a part of agents.<name>.memory.working")
    file.move((*at, "long_term"), (*at, "longterm"), "is read as agents.<name>.memory.longterm")
    file.ignore((*at, "longterm"), ("collection",), "ignored; memories live in the database of `storage`")
    summarizing = ("summarization", "summarization_threshold")
    file.ignore(at, summarizing, "ignored; strategy: summary_buffer sums up, from memory.working.threshold on")


def _rewrite_reasoning(file: Rewrite, at: Key) -> None:
    file.ignore(at, _REFLECTION, "ignored; models reflect by themselves")
    shown = ("tool_display_mode", "show_tool_args", "show_tool_results")
    file.ignore(at, shown, "ignored; show_tool_execution shows calls with arguments and results")
