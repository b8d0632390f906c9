//! What each code means, on every front.

use batuta_statemachine::Code;
use tonic::Code as Grpc;

use super::code_info::{CodeInfo, line};

/// What a code means on every front, and what to do about it. `docs/errors.md` is written from here.
#[must_use]
#[expect(clippy::too_many_lines, reason = "one match, a line a code")]
pub fn info(code: Code) -> CodeInfo {
    match code {
        Code::AlreadyGranted => line(code, 409, Grpc::FailedPrecondition, [
            "The acquisition holds its lock",
            "What was to be withdrawn waits no more: it was granted its lock, under `fencing_token`, and holds it.",
            "Release it, under `lock_id`, if it is not wanted.",
        ]),
        Code::AlreadyInitialised => line(code, 409, Grpc::AlreadyExists, [
            "The cluster has its identity already",
            "A second bootstrap of a cluster that was born before.",
            "Nothing: the cluster works. Start new nodes with `join` instead of a bootstrap set.",
        ]),
        Code::BodyTooLarge => line(code, 413, Grpc::ResourceExhausted, [
            "The body is too large",
            "The request body is longer than the node accepts (`limit` names the bound).",
            "Send less: locks carry names and short metadata, not data.",
        ]),
        Code::CapacityMismatch => line(code, 409, Grpc::FailedPrecondition, [
            "The semaphore has another capacity",
            "The semaphore is in use with the capacity in `capacity`; a request that disagrees is refused.",
            "Ask with that capacity, or wait until the semaphore is free: then the next request sets it.",
        ]),
        Code::Compacted => line(code, 410, Grpc::OutOfRange, [
            "The history is gone",
            "A watch asked for changes older than those the node keeps, or the node itself skipped changes while it caught up by a snapshot. `oldest_revision` is where its history begins.",
            "Watch with a snapshot first: it gives the objects as they are and every change after them. Another node may still have the history.",
        ]),
        Code::Deadlock => line(code, 409, Grpc::Aborted, [
            "Waiting would deadlock",
            "The owner would wait for a lock whose holder waits, directly or through others, for a lock of this owner. `cycle` names the steps, of a long one the first and the last 16.",
            "Release what you hold and start again, or take all the locks in one request, or always in the same order.",
        ]),
        Code::DiskFull => line(code, 507, Grpc::ResourceExhausted, [
            "The disk is nearly full",
            "The leader has less free disk than `disk_free_min_bytes`, and no other voter has room to lead; what adds to the state is refused before the log is harmed. Reads, keep-alives, extensions, releases and closings still work.",
            "Free disk space on the nodes; it clears itself. `batuta cluster status` says which node is short of it.",
        ]).retry_after(5_000),
        Code::Draining => line(code, 503, Grpc::Unavailable, [
            "The node is shutting down",
            "The node was told to stop and takes no new waits; a wait that was queued here stays queued when the request has a retry key.",
            "Send the same request, under the same key, to another node.",
        ]).retry_after(100),
        Code::GrantEnded => line(code, 410, Grpc::FailedPrecondition, [
            "The lock was granted and has ended since",
            "A retry under the same key found that its grant was released, expired or taken away since (`reason`).",
            "The lock is not held. Ask again under a new key.",
        ]),
        Code::HandshakeRefused => line(code, 400, Grpc::InvalidArgument, [
            "The WebSocket handshake is refused",
            "The request is not a WebSocket upgrade, offers only subprotocols that are not spoken here, or comes from a web page of another origin.",
            "Connect to /ws/v1 with subprotocol `batuta.v1+json`, or without any; to /graphql with `graphql-transport-ws`.",
        ]),
        Code::Internal => line(code, 500, Grpc::Internal, [
        "Internal error",
        "A defect of Batuta, or a node that cannot go on (its log says why).",
        "Ask another node. Report it with the node's log.",
    ]),
        Code::InvalidArgument => line(code, 422, Grpc::InvalidArgument, [
            "A field is wrong",
            "The value of `field` breaks a rule; `problem` says which.",
            "Correct the field.",
        ]),
        Code::InvalidQuery => line(code, 400, Grpc::InvalidArgument, [
            "The GraphQL query is wrong",
            "The GraphQL document cannot be parsed, does not fit the schema, or asks for introspection where it is switched off.",
            "Correct the document; the message says where. The schema is `docs/schema.graphql`, or `batuta schema`.",
        ]),
        Code::KeyReused => line(code, 422, Grpc::InvalidArgument, [
            "The retry key was used for another request",
            "The Idempotency-Key, or the session's sequence, came before with a different request.",
            "Use a new key for each request; the same one only to repeat it.",
        ]),
        Code::Lagged => line(code, 410, Grpc::Aborted, [
            "The watcher is too slow",
            "More changes waited for the watcher than the node keeps for one (`limits.watch_queue_changes_max`, or 16 MiB of them).",
            "Watch again from `resume_revision`; nothing is lost while the history reaches back that far. Take changes faster, or ask for fewer of them.",
        ]),
        Code::LimitExceeded => line(code, 429, Grpc::ResourceExhausted, [
            "A limit is reached",
            "The cluster-wide bound named in `limit` is reached.",
            "Wait for others to give back, or raise the limit with `batuta cluster limits set` (it holds on every node at once).",
        ]).retry_after(1_000),
        Code::LockDelayed => line(code, 423, Grpc::Unavailable, [
            "The lock is closed for a while",
            "Its last holder lost it (expired, or by force) and asked for a lock-delay; it stays closed for `remaining_ms`.",
            "Wait with `wait_ms`, or ask again after `remaining_ms`.",
        ]).retry_after(1_000),
        Code::LockHeld => line(code, 409, Grpc::Aborted, [
            "The lock is held",
            "Someone else holds the lock, or waits ahead, and the request does not wait.",
            "Set `wait_ms` to queue for it. `explain` shows who holds it and who waits.",
        ]).retry_after(500),
        Code::LockNotFound => line(code, 404, Grpc::NotFound, [
            "The lock is free",
            "Nobody holds the lock or waits for it; a free lock leaves nothing behind.",
            "Nothing: this is how a free lock looks.",
        ]),
        Code::LockNotHeld => line(code, 409, Grpc::FailedPrecondition, [
            "The lock is not held under this id",
            "The grant was released, expired, was taken away or never existed; or it does not hold that name.",
            "Stop the work the lock protected. Acquire again for a new token.",
        ]),
        Code::MalformedBody => line(code, 400, Grpc::InvalidArgument, [
            "The body cannot be read",
            "The body is not valid JSON, or not of the expected shape; `problem` says where.",
            "Correct the body; the schema is at /openapi.json.",
        ]),
        Code::MembershipChangeRefused => line(code, 409, Grpc::FailedPrecondition, [
            "The membership cannot change like this",
            "The change is not possible now: another one is under way, the member is not caught up, or the last voter would go.",
            "Look at `batuta cluster status`, and ask again when it is settled.",
        ]),
        Code::MethodNotAllowed => line(code, 405, Grpc::Unimplemented, [
            "The path does not know this method",
            "The path exists, with other methods.",
            "Look the call up at /docs.",
        ]),
        Code::ModeMismatch => line(code, 409, Grpc::FailedPrecondition, [
            "The lock is in use as another kind",
            "A lock is either a semaphore or an exclusive/shared lock while it is held or waited for.",
            "Ask with the kind it has, or under another name.",
        ]),
        Code::NamespaceMismatch => line(code, 403, Grpc::PermissionDenied, [
            "It lives in another namespace",
            "The session or acquisition was made in another namespace than the call names; whatever is asked of it by its id is refused.",
            "Send the namespace it was made in (`Batuta-Namespace`).",
        ]),
        Code::NoLeader => line(code, 503, Grpc::Unavailable, [
            "No leader",
            "No leader is known that a majority of the nodes follows: an election is under way, or too few nodes can be reached. The request was not executed.",
            "Ask again. If it stays so, look at `batuta cluster status` on each node.",
        ]).retry_after(500),
        Code::NodeLost => line(code, 503, Grpc::Unavailable, [
            "The node of the wait counted as lost",
            "The node where the call waited did not answer the others for some seconds, or was restarted: what it had queued was withdrawn, so that nobody waits behind callers that may be gone. Nothing is held and nothing waits.",
            "Send the same request again: under the same key it finds its old place in the queue.",
        ]).retry_after(100),
        Code::NodeRemoved => line(code, 503, Grpc::Unavailable, [
            "The node was removed from the cluster",
            "The node that was asked is not a member of its cluster any more: it was removed. It refuses every call at once.",
            "Ask another node. To bring the node back, stop it, move its data directory away and start it again: it joins as a new member.",
        ]).retry_after(100),
        Code::OutcomeUnknown => line(code, 504, Grpc::DeadlineExceeded, [
            "Whether the request took effect is unknown",
            "The request was sent to the leader and no answer came in time. It may have been executed, or may still be.",
            "Send the same request again under the same retry key: it has its effect once and gets the same answer (`retryable` is true exactly when the request carried one). Without a key, read the state first.",
        ]),
        Code::Overloaded => line(code, 503, Grpc::ResourceExhausted, [
            "The node is busy",
            "As many requests are in flight as the node takes. The request was not executed.",
            "Ask again after a pause that grows.",
        ]).retry_after(200),
        Code::OwnedBySession => line(code, 409, Grpc::FailedPrecondition, [
            "The lock lives with a session",
            "Only a one-shot lock has a time to live of its own.",
            "Keep the session alive instead of extending the lock.",
        ]),
        Code::PathNotFound => line(code, 404, Grpc::Unimplemented, [
            "There is nothing at this path",
            "The path is not part of the API.",
            "Look the call up at /docs or /openapi.json.",
        ]),
        Code::QueryTooLarge => line(code, 400, Grpc::InvalidArgument, [
            "The GraphQL query asks for too much",
            "One GraphQL request has a bound on the length, nesting, depth, fields and cost of its document; `limit` names the one that was passed.",
            "Ask for fewer fields, smaller pages (`first`), or in several requests. docs/api-graphql.md lists the bounds.",
        ]),
        Code::RegisterNotFound => line(code, 404, Grpc::NotFound, [
            "No such register",
            "The register was never advanced, or was deleted.",
            "Advance it first: the first token makes it.",
        ]),
        Code::SequenceTooOld => line(code, 409, Grpc::FailedPrecondition, [
            "The sequence is older than the session's window",
            "A session's last answers are remembered (`session_window`); this one is forgotten.",
            "Read the state. Retry sooner, or keep fewer requests in flight.",
        ]),
        Code::SessionClosed => line(code, 410, Grpc::FailedPrecondition, ["The session was closed", "The session that waited was closed by its owner.", "Open a new session."]),
        Code::SessionExpired => line(code, 410, Grpc::FailedPrecondition, [
            "The session expired",
            "No keep-alive came within the session's time to live; what it owned is released.",
            "Stop the work its locks protected, and open a new session.",
        ]),
        Code::SessionNotFound => line(code, 404, Grpc::NotFound, [
            "No such session",
            "The session was closed, expired, or never opened.",
            "Stop the work its locks protected, and open a new session.",
        ]),
        Code::ShuttingDown => line(code, 503, Grpc::Unavailable, [
            "The node is stopping",
            "The node stopped before it took the request. The request was not executed.",
            "Ask another node.",
        ]).retry_after(100),
        Code::TokenSuperseded => line(code, 409, Grpc::FailedPrecondition, [
            "The fencing token does not count any more",
            "Another token holds the lock, or the register has seen a newer one (`newest_token`); without `newest_token` the lock is free.",
            "The holder of this token must stop. To force a release, look at the lock again and use the token it shows.",
        ]),
        Code::UnknownField => line(code, 422, Grpc::InvalidArgument, [
            "Unknown field",
            "The request has a field the API does not know; unknown fields are errors, so that a typing mistake never passes silently.",
            "Correct or remove the field (`suggestion` may name the one that was meant).",
        ]),
        Code::UnknownMember => line(code, 404, Grpc::NotFound, [
            "No such member",
            "No member of the cluster has that id or name.",
            "Take an id or name from `batuta cluster members`.",
        ]),
        Code::UnsupportedMediaType => line(code, 415, Grpc::InvalidArgument, [
            "The body's format is not spoken here",
            "The content type is not application/json, or the body is compressed (`Content-Encoding`).",
            "Send `Content-Type: application/json`, uncompressed.",
        ]),
        Code::UpgradePending => line(code, 409, Grpc::FailedPrecondition, [
            "Not every member knows the request yet",
            "The request came with a newer version of Batuta, and not every member of the cluster runs that version yet: during a rolling upgrade, or when a member was forgotten. The request was not executed; the message names the version, and the members that are not upgraded.",
            "Upgrade the members that are named (`batuta cluster members` shows the version and level of each), then send the same request again. It works a moment after the last member is upgraded.",
        ]).retry_after(5_000),
        Code::WaitCancelled => line(code, 409, Grpc::Cancelled, [
            "The wait was withdrawn",
            "The acquisition was cancelled: by its owner, because the connections of all calls that waited for it were lost, or because its owner asked for the same locks again by another call, which waits instead.",
            "Ask again under a new key.",
        ]),
        Code::WaitTimeout => line(code, 408, Grpc::DeadlineExceeded, [
            "The wait ended without a grant",
            "`wait_ms` passed before the lock became free. Nothing is held and nothing waits.",
            "Ask again under a new key, with a longer `wait_ms`; `explain` shows who is in the way.",
        ]),
    }
}
