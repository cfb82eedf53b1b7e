"""The door for clients of OpenAI's API: models, chat completions, responses, conversations, embeddings.

A model is an agent, a conversation a session, a response a turn. Nothing is stored here.
"""

from app.compat.openai.routes import door

__all__ = ["door"]
