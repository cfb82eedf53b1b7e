"""Terminates a session at the first piece of its answer, and tries to come back to it, which has to fail."""

import asyncio

from hector_client import Agent, Session
from hector_client.events import Error, Text, Thinking, ToolCall, ToolResult, TurnFinished


async def main() -> None:
    agent = await Agent.fetch("essayist")
    print(f"Created agent: {agent.display_name}\n")

    session = await agent.create_session()
    await session.connect()
    print(f"Session connected: {session.session_id}")
    saved_id = session.session_id

    await session.send("Go ahead, write the essay.")
    print("Sent message, waiting for first delta...\n")

    async for event in session.listen():
        if event.delta:
            print(f"Got first delta: {event.delta!r}")
            print("Terminating session immediately!")
            await session.terminate()
            break

    print(f"\nSession terminated. is_connected={session.is_connected}")

    print(f"\nAttempting to resume terminated session: {saved_id}")
    try:
        session2 = Session(session_id=saved_id)
        await session2.connect()
        print("Resumed (unexpected). Sending message...")
        await session2.send("Are you still there?")
        got_response = False
        async for event in session2.listen(event_types=[Text, TurnFinished, Error, ToolCall, ToolResult, Thinking]):
            if event.error:
                print(f"Got error (expected after terminate): {event.error}")
                got_response = True
                break
            if event.delta:
                print(f"Got delta (session was NOT terminated): {event.delta!r}")
                got_response = True
            if event.is_complete:
                print("Got complete response (session was NOT terminated)")
                got_response = True
                break
        if not got_response:
            print("No response: the session is terminated, as expected.")
        await session2.disconnect()
    except Exception as error:
        print(f"Resume failed (expected): {type(error).__name__}: {error}")

    print("\nDone.")


if __name__ == "__main__":
    asyncio.run(main())
