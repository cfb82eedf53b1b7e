"""Calls a server with a client that was generated from its OpenAPI document: python call.py BASE_URL KEY

Prints what each operation answered, as one JSON object. Run by a Python that has what the generated client needs.
"""

import json
import sys

from hector_api import AuthenticatedClient, models
from hector_api.api.memories import add_memory, search_memories
from hector_api.api.messages import get_turn, list_events, list_messages, send_message
from hector_api.api.server import list_agents
from hector_api.api.sessions import (
    create_session,
    end_session,
    get_session,
    list_sessions,
    patch_session,
    terminate_session,
)

AGENT, SESSION = "assistant", "from-python"
client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])

agents = list_agents.sync(client=client)
created = create_session.sync(AGENT, client=client, body=models.CreateSession(session_id=SESSION, title="Birds"))
listed = list_sessions.sync(AGENT, client=client, status=models.ListSessionsStatus.ACTIVE, limit=5)
body = models.SendMessage(message="What is a parrot?")
sent = send_message.sync(AGENT, SESSION, client=client, body=body, idempotency_key="once")
assert isinstance(sent, models.Answer)
messages = list_messages.sync(AGENT, SESSION, client=client)
events = list_events.sync(AGENT, SESSION, client=client)
turn = get_turn.sync(AGENT, SESSION, sent.turn_id, client=client)
patched = patch_session.sync(AGENT, SESSION, client=client, body=models.PatchSession(title="Parrots"))
memory = models.AddMemory(text="Ann keeps a parrot", pinned=True)
added = add_memory.sync(AGENT, client=client, body=memory, x_user_id="ann")
search = models.SearchMemories(query="Who keeps a parrot?", limit=1)
found = search_memories.sync(AGENT, client=client, body=search)
ended = end_session.sync(AGENT, SESSION, client=client)
receipt = terminate_session.sync(AGENT, SESSION, client=client)
refused = get_session.sync(AGENT, SESSION, client=client)

finished = [event for event in events.events if isinstance(event, models.TurnFinishedEvent)]
print(
    json.dumps(
        {
            "list_agents": [agent.agent for agent in agents.agents],
            "create_session": created.title,
            "list_sessions": [session.session_id for session in listed.sessions],
            "send_message": sent.response,
            "list_messages": [message.role.value for message in messages.messages],
            "list_events": finished[0].status.value,
            "get_turn": turn.usage.source.value,
            "patch_session": patched.title,
            "add_memory": added.pinned,
            "search_memories": found.hits[0].text,
            "end_session": ended.status.value,
            "terminate_session": receipt.status,
            "refused": refused.error.reason,
        }
    )
)
