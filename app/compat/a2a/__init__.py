"""A2A 1.0 and 0.3 on our sessions: a context is a session, a task is a turn. Nothing here is kept beside them."""
