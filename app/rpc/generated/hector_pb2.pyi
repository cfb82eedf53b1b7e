import datetime

from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateSessionRequest(_message.Message):
    __slots__ = ("agent", "session_id", "user_id", "title", "metadata", "ephemeral")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_FIELD_NUMBER: _ClassVar[int]
    agent: str
    session_id: str
    user_id: str
    title: str
    metadata: _struct_pb2.Struct
    ephemeral: bool
    def __init__(self, agent: _Optional[str] = ..., session_id: _Optional[str] = ..., user_id: _Optional[str] = ..., title: _Optional[str] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., ephemeral: _Optional[bool] = ...) -> None: ...

class GetSessionRequest(_message.Message):
    __slots__ = ("agent", "session_id", "user_id")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    agent: str
    session_id: str
    user_id: str
    def __init__(self, agent: _Optional[str] = ..., session_id: _Optional[str] = ..., user_id: _Optional[str] = ...) -> None: ...

class ListSessionsRequest(_message.Message):
    __slots__ = ("agent", "limit", "cursor", "status", "order", "user_id")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    agent: str
    limit: int
    cursor: str
    status: str
    order: str
    user_id: str
    def __init__(self, agent: _Optional[str] = ..., limit: _Optional[int] = ..., cursor: _Optional[str] = ..., status: _Optional[str] = ..., order: _Optional[str] = ..., user_id: _Optional[str] = ...) -> None: ...

class ListSessionsResponse(_message.Message):
    __slots__ = ("sessions", "next_cursor")
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedCompositeFieldContainer[Session]
    next_cursor: str
    def __init__(self, sessions: _Optional[_Iterable[_Union[Session, _Mapping]]] = ..., next_cursor: _Optional[str] = ...) -> None: ...

class DeleteSessionRequest(_message.Message):
    __slots__ = ("agent", "session_id", "user_id", "forget_all")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    FORGET_ALL_FIELD_NUMBER: _ClassVar[int]
    agent: str
    session_id: str
    user_id: str
    forget_all: bool
    def __init__(self, agent: _Optional[str] = ..., session_id: _Optional[str] = ..., user_id: _Optional[str] = ..., forget_all: _Optional[bool] = ...) -> None: ...

class DeleteSessionResponse(_message.Message):
    __slots__ = ("session_id", "status", "turn_id", "last_seq", "ordered_at", "upstream_closed_at", "tokens_after_order")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    ORDERED_AT_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_CLOSED_AT_FIELD_NUMBER: _ClassVar[int]
    TOKENS_AFTER_ORDER_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    status: str
    turn_id: str
    last_seq: int
    ordered_at: _timestamp_pb2.Timestamp
    upstream_closed_at: _timestamp_pb2.Timestamp
    tokens_after_order: int
    def __init__(self, session_id: _Optional[str] = ..., status: _Optional[str] = ..., turn_id: _Optional[str] = ..., last_seq: _Optional[int] = ..., ordered_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., upstream_closed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., tokens_after_order: _Optional[int] = ...) -> None: ...

class SendMessageRequest(_message.Message):
    __slots__ = ("agent", "message", "session_id", "user_id", "instructions", "on_busy", "background", "idempotency_key", "response_format", "debug")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTIONS_FIELD_NUMBER: _ClassVar[int]
    ON_BUSY_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FORMAT_FIELD_NUMBER: _ClassVar[int]
    DEBUG_FIELD_NUMBER: _ClassVar[int]
    agent: str
    message: str
    session_id: str
    user_id: str
    instructions: str
    on_busy: str
    background: bool
    idempotency_key: str
    response_format: str
    debug: bool
    def __init__(self, agent: _Optional[str] = ..., message: _Optional[str] = ..., session_id: _Optional[str] = ..., user_id: _Optional[str] = ..., instructions: _Optional[str] = ..., on_busy: _Optional[str] = ..., background: _Optional[bool] = ..., idempotency_key: _Optional[str] = ..., response_format: _Optional[str] = ..., debug: _Optional[bool] = ...) -> None: ...

class MessageResponse(_message.Message):
    __slots__ = ("response", "session_id", "turn_id", "message_id", "status", "usage", "timings", "output", "after", "waiting_for", "calls")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    WAITING_FOR_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    response: str
    session_id: str
    turn_id: str
    message_id: str
    status: str
    usage: Usage
    timings: Timings
    output: str
    after: int
    waiting_for: str
    calls: _containers.RepeatedCompositeFieldContainer[Call]
    def __init__(self, response: _Optional[str] = ..., session_id: _Optional[str] = ..., turn_id: _Optional[str] = ..., message_id: _Optional[str] = ..., status: _Optional[str] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ..., output: _Optional[str] = ..., after: _Optional[int] = ..., waiting_for: _Optional[str] = ..., calls: _Optional[_Iterable[_Union[Call, _Mapping]]] = ...) -> None: ...

class FollowSessionRequest(_message.Message):
    __slots__ = ("agent", "session_id", "user_id", "after", "cursor", "until_turn_end", "debug")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    UNTIL_TURN_END_FIELD_NUMBER: _ClassVar[int]
    DEBUG_FIELD_NUMBER: _ClassVar[int]
    agent: str
    session_id: str
    user_id: str
    after: int
    cursor: str
    until_turn_end: bool
    debug: bool
    def __init__(self, agent: _Optional[str] = ..., session_id: _Optional[str] = ..., user_id: _Optional[str] = ..., after: _Optional[int] = ..., cursor: _Optional[str] = ..., until_turn_end: _Optional[bool] = ..., debug: _Optional[bool] = ...) -> None: ...

class CancelTurnRequest(_message.Message):
    __slots__ = ("agent", "session_id", "user_id", "turn_id", "all")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    agent: str
    session_id: str
    user_id: str
    turn_id: str
    all: bool
    def __init__(self, agent: _Optional[str] = ..., session_id: _Optional[str] = ..., user_id: _Optional[str] = ..., turn_id: _Optional[str] = ..., all: _Optional[bool] = ...) -> None: ...

class CancelTurnResponse(_message.Message):
    __slots__ = ("turn",)
    TURN_FIELD_NUMBER: _ClassVar[int]
    turn: Turn
    def __init__(self, turn: _Optional[_Union[Turn, _Mapping]] = ...) -> None: ...

class DecideApprovalRequest(_message.Message):
    __slots__ = ("agent", "session_id", "user_id", "call_id", "approved", "arguments", "reason", "remember")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    APPROVED_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REMEMBER_FIELD_NUMBER: _ClassVar[int]
    agent: str
    session_id: str
    user_id: str
    call_id: str
    approved: bool
    arguments: str
    reason: str
    remember: str
    def __init__(self, agent: _Optional[str] = ..., session_id: _Optional[str] = ..., user_id: _Optional[str] = ..., call_id: _Optional[str] = ..., approved: _Optional[bool] = ..., arguments: _Optional[str] = ..., reason: _Optional[str] = ..., remember: _Optional[str] = ...) -> None: ...

class Session(_message.Message):
    __slots__ = ("session_id", "agent", "user_id", "status", "title", "metadata", "ephemeral", "created_at", "active_at", "expires_at", "ended_at", "message_count", "usage", "last_seq", "forked_from", "ending", "turn", "queued")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    FORKED_FROM_FIELD_NUMBER: _ClassVar[int]
    ENDING_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    agent: str
    user_id: str
    status: str
    title: str
    metadata: _struct_pb2.Struct
    ephemeral: bool
    created_at: _timestamp_pb2.Timestamp
    active_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    message_count: int
    usage: Usage
    last_seq: int
    forked_from: str
    ending: bool
    turn: OpenTurn
    queued: int
    def __init__(self, session_id: _Optional[str] = ..., agent: _Optional[str] = ..., user_id: _Optional[str] = ..., status: _Optional[str] = ..., title: _Optional[str] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., ephemeral: _Optional[bool] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., active_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., message_count: _Optional[int] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., last_seq: _Optional[int] = ..., forked_from: _Optional[str] = ..., ending: _Optional[bool] = ..., turn: _Optional[_Union[OpenTurn, _Mapping]] = ..., queued: _Optional[int] = ...) -> None: ...

class OpenTurn(_message.Message):
    __slots__ = ("turn_id", "status", "background", "user_message_id", "message_id", "message", "created_at", "started_at", "partial_text")
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    USER_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_TEXT_FIELD_NUMBER: _ClassVar[int]
    turn_id: str
    status: str
    background: bool
    user_message_id: str
    message_id: str
    message: str
    created_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    partial_text: str
    def __init__(self, turn_id: _Optional[str] = ..., status: _Optional[str] = ..., background: _Optional[bool] = ..., user_message_id: _Optional[str] = ..., message_id: _Optional[str] = ..., message: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., partial_text: _Optional[str] = ...) -> None: ...

class Turn(_message.Message):
    __slots__ = ("turn_id", "session_id", "status", "reason", "waiting_for", "background", "created_at", "started_at", "finished_at", "user_message_id", "message_id", "finish_reason", "usage", "timings")
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WAITING_FOR_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    USER_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    turn_id: str
    session_id: str
    status: str
    reason: str
    waiting_for: str
    background: bool
    created_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    finished_at: _timestamp_pb2.Timestamp
    user_message_id: str
    message_id: str
    finish_reason: str
    usage: Usage
    timings: Timings
    def __init__(self, turn_id: _Optional[str] = ..., session_id: _Optional[str] = ..., status: _Optional[str] = ..., reason: _Optional[str] = ..., waiting_for: _Optional[str] = ..., background: _Optional[bool] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finished_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., user_message_id: _Optional[str] = ..., message_id: _Optional[str] = ..., finish_reason: _Optional[str] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ...) -> None: ...

class Call(_message.Message):
    __slots__ = ("call_id", "session_id", "turn_id", "step", "agent", "name", "tool_class", "arguments", "edited", "state", "waiting_for", "why", "rule", "asked", "outcome", "result", "result_id", "expires_at")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TOOL_CLASS_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    EDITED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    WAITING_FOR_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    RESULT_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    session_id: str
    turn_id: str
    step: int
    agent: str
    name: str
    tool_class: str
    arguments: str
    edited: str
    state: str
    waiting_for: str
    why: str
    rule: str
    asked: str
    outcome: str
    result: str
    result_id: str
    expires_at: _timestamp_pb2.Timestamp
    def __init__(self, call_id: _Optional[str] = ..., session_id: _Optional[str] = ..., turn_id: _Optional[str] = ..., step: _Optional[int] = ..., agent: _Optional[str] = ..., name: _Optional[str] = ..., tool_class: _Optional[str] = ..., arguments: _Optional[str] = ..., edited: _Optional[str] = ..., state: _Optional[str] = ..., waiting_for: _Optional[str] = ..., why: _Optional[str] = ..., rule: _Optional[str] = ..., asked: _Optional[str] = ..., outcome: _Optional[str] = ..., result: _Optional[str] = ..., result_id: _Optional[str] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("prompt_tokens", "completion_tokens", "total_tokens", "source")
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    source: str
    def __init__(self, prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., total_tokens: _Optional[int] = ..., source: _Optional[str] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("queued_ms", "first_token_ms", "total_ms")
    QUEUED_MS_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MS_FIELD_NUMBER: _ClassVar[int]
    queued_ms: float
    first_token_ms: float
    total_ms: float
    def __init__(self, queued_ms: _Optional[float] = ..., first_token_ms: _Optional[float] = ..., total_ms: _Optional[float] = ...) -> None: ...

class MessageChunk(_message.Message):
    __slots__ = ("content", "done", "seq", "type", "cursor", "turn_queued", "turn_started", "turn_finished", "tool_call", "tool_progress", "tool_result", "waiting", "resumed", "approval_request", "approval_decided", "message_steered", "budget", "memory", "summary", "snapshot", "error", "session_ended", "session_terminated", "reconnect")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    TURN_QUEUED_FIELD_NUMBER: _ClassVar[int]
    TURN_STARTED_FIELD_NUMBER: _ClassVar[int]
    TURN_FINISHED_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALL_FIELD_NUMBER: _ClassVar[int]
    TOOL_PROGRESS_FIELD_NUMBER: _ClassVar[int]
    TOOL_RESULT_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    APPROVAL_REQUEST_FIELD_NUMBER: _ClassVar[int]
    APPROVAL_DECIDED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_STEERED_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    SESSION_ENDED_FIELD_NUMBER: _ClassVar[int]
    SESSION_TERMINATED_FIELD_NUMBER: _ClassVar[int]
    RECONNECT_FIELD_NUMBER: _ClassVar[int]
    content: str
    done: bool
    seq: int
    type: str
    cursor: str
    turn_queued: TurnAnnounced
    turn_started: TurnAnnounced
    turn_finished: TurnFinished
    tool_call: ToolCall
    tool_progress: ToolProgress
    tool_result: ToolResult
    waiting: Waiting
    resumed: Resumed
    approval_request: ApprovalRequest
    approval_decided: ApprovalDecided
    message_steered: MessageSteered
    budget: Budget
    memory: _struct_pb2.Struct
    summary: _struct_pb2.Struct
    snapshot: Snapshot
    error: Error
    session_ended: SessionOver
    session_terminated: SessionOver
    reconnect: Reconnect
    def __init__(self, content: _Optional[str] = ..., done: _Optional[bool] = ..., seq: _Optional[int] = ..., type: _Optional[str] = ..., cursor: _Optional[str] = ..., turn_queued: _Optional[_Union[TurnAnnounced, _Mapping]] = ..., turn_started: _Optional[_Union[TurnAnnounced, _Mapping]] = ..., turn_finished: _Optional[_Union[TurnFinished, _Mapping]] = ..., tool_call: _Optional[_Union[ToolCall, _Mapping]] = ..., tool_progress: _Optional[_Union[ToolProgress, _Mapping]] = ..., tool_result: _Optional[_Union[ToolResult, _Mapping]] = ..., waiting: _Optional[_Union[Waiting, _Mapping]] = ..., resumed: _Optional[_Union[Resumed, _Mapping]] = ..., approval_request: _Optional[_Union[ApprovalRequest, _Mapping]] = ..., approval_decided: _Optional[_Union[ApprovalDecided, _Mapping]] = ..., message_steered: _Optional[_Union[MessageSteered, _Mapping]] = ..., budget: _Optional[_Union[Budget, _Mapping]] = ..., memory: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., summary: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., snapshot: _Optional[_Union[Snapshot, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., session_ended: _Optional[_Union[SessionOver, _Mapping]] = ..., session_terminated: _Optional[_Union[SessionOver, _Mapping]] = ..., reconnect: _Optional[_Union[Reconnect, _Mapping]] = ...) -> None: ...

class TurnAnnounced(_message.Message):
    __slots__ = ("turn_id", "session_id", "message_id", "message")
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    turn_id: str
    session_id: str
    message_id: str
    message: str
    def __init__(self, turn_id: _Optional[str] = ..., session_id: _Optional[str] = ..., message_id: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class TurnFinished(_message.Message):
    __slots__ = ("turn_id", "status", "reason", "message_id", "finish_reason", "usage", "timings")
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    turn_id: str
    status: str
    reason: str
    message_id: str
    finish_reason: str
    usage: Usage
    timings: Timings
    def __init__(self, turn_id: _Optional[str] = ..., status: _Optional[str] = ..., reason: _Optional[str] = ..., message_id: _Optional[str] = ..., finish_reason: _Optional[str] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ...) -> None: ...

class ToolCall(_message.Message):
    __slots__ = ("turn_id", "call_id", "name", "arguments", "tool_class", "step", "agent", "depth")
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CLASS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    turn_id: str
    call_id: str
    name: str
    arguments: str
    tool_class: str
    step: int
    agent: str
    depth: int
    def __init__(self, turn_id: _Optional[str] = ..., call_id: _Optional[str] = ..., name: _Optional[str] = ..., arguments: _Optional[str] = ..., tool_class: _Optional[str] = ..., step: _Optional[int] = ..., agent: _Optional[str] = ..., depth: _Optional[int] = ...) -> None: ...

class ToolProgress(_message.Message):
    __slots__ = ("turn_id", "call_id", "text", "percent", "agent", "depth")
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    turn_id: str
    call_id: str
    text: str
    percent: float
    agent: str
    depth: int
    def __init__(self, turn_id: _Optional[str] = ..., call_id: _Optional[str] = ..., text: _Optional[str] = ..., percent: _Optional[float] = ..., agent: _Optional[str] = ..., depth: _Optional[int] = ...) -> None: ...

class ToolResult(_message.Message):
    __slots__ = ("turn_id", "call_id", "name", "status", "result", "preview", "result_id", "bytes", "ms", "sandbox", "agent", "depth")
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    RESULT_ID_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    MS_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    turn_id: str
    call_id: str
    name: str
    status: str
    result: str
    preview: str
    result_id: str
    bytes: int
    ms: int
    sandbox: str
    agent: str
    depth: int
    def __init__(self, turn_id: _Optional[str] = ..., call_id: _Optional[str] = ..., name: _Optional[str] = ..., status: _Optional[str] = ..., result: _Optional[str] = ..., preview: _Optional[str] = ..., result_id: _Optional[str] = ..., bytes: _Optional[int] = ..., ms: _Optional[int] = ..., sandbox: _Optional[str] = ..., agent: _Optional[str] = ..., depth: _Optional[int] = ...) -> None: ...

class Waiting(_message.Message):
    __slots__ = ("turn_id", "waiting_for", "call_id", "expires_at", "question", "choices", "schema")
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    WAITING_FOR_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    turn_id: str
    waiting_for: str
    call_id: str
    expires_at: _timestamp_pb2.Timestamp
    question: str
    choices: str
    schema: str
    def __init__(self, turn_id: _Optional[str] = ..., waiting_for: _Optional[str] = ..., call_id: _Optional[str] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., question: _Optional[str] = ..., choices: _Optional[str] = ..., schema: _Optional[str] = ...) -> None: ...

class Resumed(_message.Message):
    __slots__ = ("turn_id", "call_id")
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    turn_id: str
    call_id: str
    def __init__(self, turn_id: _Optional[str] = ..., call_id: _Optional[str] = ...) -> None: ...

class ApprovalRequest(_message.Message):
    __slots__ = ("turn_id", "call_id", "name", "arguments", "why", "rule", "expires_at", "agent", "depth")
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    turn_id: str
    call_id: str
    name: str
    arguments: str
    why: str
    rule: str
    expires_at: _timestamp_pb2.Timestamp
    agent: str
    depth: int
    def __init__(self, turn_id: _Optional[str] = ..., call_id: _Optional[str] = ..., name: _Optional[str] = ..., arguments: _Optional[str] = ..., why: _Optional[str] = ..., rule: _Optional[str] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., agent: _Optional[str] = ..., depth: _Optional[int] = ...) -> None: ...

class ApprovalDecided(_message.Message):
    __slots__ = ("turn_id", "call_id", "approved", "by", "edited", "reason", "remember")
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    APPROVED_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    EDITED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REMEMBER_FIELD_NUMBER: _ClassVar[int]
    turn_id: str
    call_id: str
    approved: bool
    by: str
    edited: bool
    reason: str
    remember: str
    def __init__(self, turn_id: _Optional[str] = ..., call_id: _Optional[str] = ..., approved: _Optional[bool] = ..., by: _Optional[str] = ..., edited: _Optional[bool] = ..., reason: _Optional[str] = ..., remember: _Optional[str] = ...) -> None: ...

class MessageSteered(_message.Message):
    __slots__ = ("turn_id", "message_id", "step", "message")
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    turn_id: str
    message_id: str
    step: int
    message: str
    def __init__(self, turn_id: _Optional[str] = ..., message_id: _Optional[str] = ..., step: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class Budget(_message.Message):
    __slots__ = ("turn_id", "kind", "used", "limit", "action")
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    turn_id: str
    kind: str
    used: float
    limit: float
    action: str
    def __init__(self, turn_id: _Optional[str] = ..., kind: _Optional[str] = ..., used: _Optional[float] = ..., limit: _Optional[float] = ..., action: _Optional[str] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("turn_id", "message_id", "text", "append")
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    APPEND_FIELD_NUMBER: _ClassVar[int]
    turn_id: str
    message_id: str
    text: str
    append: bool
    def __init__(self, turn_id: _Optional[str] = ..., message_id: _Optional[str] = ..., text: _Optional[str] = ..., append: _Optional[bool] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("turn_id", "reason", "message", "detail", "provider_status")
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_STATUS_FIELD_NUMBER: _ClassVar[int]
    turn_id: str
    reason: str
    message: str
    detail: str
    provider_status: int
    def __init__(self, turn_id: _Optional[str] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., detail: _Optional[str] = ..., provider_status: _Optional[int] = ...) -> None: ...

class SessionOver(_message.Message):
    __slots__ = ("session_id", "reason")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    reason: str
    def __init__(self, session_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Reconnect(_message.Message):
    __slots__ = ("after", "cursor")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    after: int
    cursor: str
    def __init__(self, after: _Optional[int] = ..., cursor: _Optional[str] = ...) -> None: ...
