//! The catalogue of error codes: their meaning on every front, and what to do.

use batuta_statemachine::Code;
use tonic::Code as Grpc;

use super::code_info::{CodeInfo, line};

/// Returns the meaning of a code on every front, and what to do about it. `docs/errors.md` is generated from it.
#[must_use]
#[expect(clippy::too_many_lines, reason = "one match, a line a code")]
pub fn info(code: Code) -> CodeInfo {
    match code {
        Code::AlreadyBootstrapped => line(code, 409, Grpc::FailedPrecondition, [
            "No bootstrap token of this id is open",
            "The bootstrap token was used, has ended, or never was; or the cluster has an administrator already.",
            "Log in as an administrator. When nobody can, make a recovery token on the disk of a member: `batuta access recover --data-dir DIR`.",
        ]),
        Code::AlreadyGranted => line(code, 409, Grpc::FailedPrecondition, [
            "The acquisition holds its lock",
            "The acquisition to be withdrawn no longer waits: it was granted its lock, under `fencing_token`, and holds it.",
            "Release it with `lock_id` if the lock is not wanted.",
        ]),
        Code::AlreadyInitialised => line(code, 409, Grpc::AlreadyExists, [
            "The cluster already has its identity",
            "A second bootstrap of a cluster that has already been created.",
            "Nothing: the cluster works. Start new nodes with `join` instead of a bootstrap set.",
        ]),
        Code::AuditUnavailable => line(code, 503, Grpc::Unavailable, [
            "The audit cannot be used",
            "The node cannot write its audit, and `audit.on_failure = refuse` asks it to refuse privileged calls then; or its audit was to be read and cannot be. The request was not executed; all other calls work.",
            "Use another node, or give the audit of this node a disk with room: the log of the node says what is wrong.",
        ]).retry_after(5_000),
        Code::AuthBusy => line(code, 503, Grpc::Unavailable, [
            "Too many logins wait",
            "Checking a password takes memory and time, so a node checks only a few at once. As many logins as it accepts wait already. Calls with a token are not affected.",
            "Retry with an increasing pause, or log in at another node.",
        ]).retry_after(1_000),
        Code::BindingNotFound => line(code, 404, Grpc::NotFound, [
            "No such binding",
            "The binding ended, or never was.",
            "List the bindings with `batuta access grants`.",
        ]),
        Code::BodyTooLarge => line(code, 413, Grpc::ResourceExhausted, [
            "The body is too large",
            "The request body is longer than the node accepts (`limit` names the limit).",
            "Send less: locks have names and short metadata, not data.",
        ]),
        Code::BuiltInRole => line(code, 409, Grpc::FailedPrecondition, [
            "The role is built in",
            "The roles admin, operator, editor and viewer are built in and stay as they are.",
            "Make a role of another name.",
        ]),
        Code::CapacityMismatch => line(code, 409, Grpc::FailedPrecondition, [
            "The semaphore has another capacity",
            "The semaphore is in use with another capacity (`capacity`).",
            "Use that capacity, or wait until the semaphore is free: then the next request sets the capacity.",
        ]),
        Code::Compacted => line(code, 410, Grpc::OutOfRange, [
            "The history is gone",
            "A watch asked for changes older than those that the node keeps, or the node itself skipped changes while it caught up by a snapshot. Its history begins at `oldest_revision`.",
            "Watch with a snapshot: it sends the current objects and every change after them. Another node may still have the history.",
        ]),
        Code::Deadlock => line(code, 409, Grpc::Aborted, [
            "Waiting would deadlock",
            "The owner would wait for a lock whose holder waits, directly or through others, for a lock of this owner. `cycle` names the steps, of a long one the first and the last 16.",
            "Release what you hold and start again; or take all the locks in one request, or always in the same order.",
        ]),
        Code::DiskFull => line(code, 507, Grpc::ResourceExhausted, [
            "The disk is nearly full",
            "The leader has less free disk space than `disk_free_min_bytes`, and no other voter has room to lead. Requests that add to the state are refused before the log is harmed. Reads, keep-alives, extensions, releases and closing sessions still work.",
            "Free disk space on the nodes; the error then ends by itself. `batuta cluster status` shows which node lacks space.",
        ]).retry_after(5_000),
        Code::Draining => line(code, 503, Grpc::Unavailable, [
            "The node is shutting down",
            "The node is stopping and accepts no new waits. A wait that was queued here stays queued if the request has a retry key.",
            "Send the same request, under the same key, to another node.",
        ]).retry_after(100),
        Code::EscalationRefused => line(code, 403, Grpc::PermissionDenied, [
            "The caller would give what it does not have",
            "A role, a binding, a membership or a credential for somebody else may be written only by who has all that it gives: in those namespaces, for those names, and at least as long. `permission`, `namespace` and `names` say what is missing.",
            "Ask somebody who has the permission there, or who has `access:escalate`. Or give less: fewer namespaces, narrower names, an earlier end.",
        ]),
        Code::GrantEnded => line(code, 410, Grpc::FailedPrecondition, [
            "The lock was granted and has ended since",
            "A retry under the same key found that its grant has since been released, expired or been taken away (`reason`).",
            "The lock is not held. Acquire it again with a new key.",
        ]),
        Code::GroupNotFound => line(code, 404, Grpc::NotFound, [
            "No such group",
            "No group has that name.",
            "Check the name, or make the group first.",
        ]),
        Code::HandshakeRefused => line(code, 400, Grpc::InvalidArgument, [
            "The WebSocket handshake is refused",
            "The request is not a WebSocket upgrade, offers only unsupported subprotocols, or comes from a web page of another origin.",
            "Connect to /ws/v1 with subprotocol `batuta.v1+json`, or without any; to /graphql with `graphql-transport-ws`.",
        ]),
        Code::HostNotAllowed => line(code, 421, Grpc::PermissionDenied, [
            "The request is for another host",
            "The host of the request (`Host`, or `:authority`) is a name that the node does not have: not one on which it listens, not one that it advertises, and not in `api.allowed_hosts`. A web page whose name resolves to the node's address would send such requests (DNS rebinding).",
            "Call the node by an IP address or by a name that it advertises, or add the name to `api.allowed_hosts` in the configuration of every node.",
        ]),
        Code::Internal => line(code, 500, Grpc::Internal, [
        "Internal error",
        "A defect of Batuta, or a node that cannot continue (its log says why).",
        "Use another node. Report the defect, with the node's log.",
    ]),
        Code::InvalidArgument => line(code, 422, Grpc::InvalidArgument, [
            "A field is wrong",
            "The value of `field` breaks a rule; `problem` says which.",
            "Correct the field.",
        ]),
        Code::InvalidQuery => line(code, 400, Grpc::InvalidArgument, [
            "The GraphQL query is wrong",
            "The GraphQL document cannot be parsed, does not match the schema, or asks for introspection where it is disabled.",
            "Correct the document; the message says where. The schema is `docs/schema.graphql`, or `batuta schema`.",
        ]),
        Code::InvalidToken => line(code, 401, Grpc::Unauthenticated, [
            "The token is not valid",
            "The credential of the call is not a token of this cluster: it was mistyped or cut (`problem` says so when it shows), or it belongs to another cluster.",
            "Send the token as it was shown when it was made. If it is lost, make another one: `batuta access key create`, or `batuta login`.",
        ]),
        Code::KeyReused => line(code, 422, Grpc::InvalidArgument, [
            "The retry key was used for another request",
            "The idempotency key, or the number in the session's sequence, was used before with a different request.",
            "Use a new key for each request, and the same key only to repeat a request.",
        ]),
        Code::Lagged => line(code, 410, Grpc::Aborted, [
            "The watcher is too slow",
            "More changes were queued for the watcher than the node keeps for one watcher (`limits.watch_queue_changes_max`, or 16 MiB).",
            "Watch again from `resume_revision`; nothing is lost while the history reaches back that far. Read changes faster, or select fewer of them.",
        ]),
        Code::LastAdmin => line(code, 409, Grpc::FailedPrecondition, [
            "No administrator would be left",
            "After the change no principal that is not suspended would have the role admin in all namespaces, without an end, and a password or a key.",
            "Make another administrator first: a user, its key or password, and the role admin in all namespaces without an end.",
        ]),
        Code::LimitExceeded => line(code, 429, Grpc::ResourceExhausted, [
            "A limit is reached",
            "The cluster-wide limit named in `limit` is reached.",
            "Wait until others release what they hold, or raise the limit with `batuta cluster limits set` (it applies on all nodes at once).",
        ]).retry_after(1_000),
        Code::LockDelayed => line(code, 423, Grpc::Unavailable, [
            "The lock is closed by a lock-delay",
            "The last holder lost the lock (it expired, or was released by force) and had asked for a lock-delay. The lock stays closed for `remaining_ms`.",
            "Wait with `wait_ms`, or retry after `remaining_ms`.",
        ]).retry_after(1_000),
        Code::LockHeld => line(code, 409, Grpc::Aborted, [
            "The lock is held",
            "Someone else holds the lock, or waits ahead, and the request does not wait.",
            "Set `wait_ms` to wait for it. `explain` shows who holds it and who waits.",
        ]).retry_after(500),
        Code::LockNotFound => line(code, 404, Grpc::NotFound, [
            "The lock is free",
            "Nobody holds the lock or waits for it. A free lock is not stored.",
            "Nothing: this is the answer for a free lock.",
        ]),
        Code::LockNotHeld => line(code, 409, Grpc::FailedPrecondition, [
            "The lock is not held under this id",
            "The grant was released, expired, was taken away or never existed; or it does not include that name.",
            "Stop the work that the lock protected. Acquire the lock again to get a new token.",
        ]),
        Code::MalformedBody => line(code, 400, Grpc::InvalidArgument, [
            "The body cannot be read",
            "The body is not valid JSON, or not of the expected shape; `problem` says where.",
            "Correct the body; the schema is at /openapi.json.",
        ]),
        Code::MembershipChangeRefused => line(code, 409, Grpc::FailedPrecondition, [
            "The membership cannot change like this",
            "The change is not possible now: another change is in progress, the member has not caught up, or the last voter would be removed.",
            "Check `batuta cluster status`, and retry when the membership is settled.",
        ]),
        Code::MethodNotAllowed => line(code, 405, Grpc::Unimplemented, [
            "The path does not support this method",
            "The path exists, but with other methods.",
            "Look the call up at /docs.",
        ]),
        Code::ModeMismatch => line(code, 409, Grpc::FailedPrecondition, [
            "The lock is in use as another kind",
            "A name is a semaphore, an election, or an exclusive and shared lock while it is held or waited for.",
            "Use the kind that the lock has, or another name.",
        ]),
        Code::NamespaceMismatch => line(code, 403, Grpc::PermissionDenied, [
            "It is in another namespace",
            "The session or acquisition was created in another namespace than the call names. Requests that name it by its id are refused.",
            "Send the namespace in which it was created (`Batuta-Namespace`).",
        ]),
        Code::NoLeader => line(code, 503, Grpc::Unavailable, [
            "No leader",
            "No leader is known that a majority of the nodes follows: an election is under way, or too few nodes can be reached. The request was not executed.",
            "Retry. If the error persists, check `batuta cluster status` on each node.",
        ]).retry_after(500),
        Code::NodeLost => line(code, 503, Grpc::Unavailable, [
            "The node of the wait counted as lost",
            "The node where the call waited did not answer the others for some seconds, or was restarted. Its queued acquisitions were withdrawn, so that nobody waits behind callers that may be gone. Nothing is held and nothing waits.",
            "Send the same request again: under the same key it finds its old place in the queue.",
        ]).retry_after(100),
        Code::NodeRemoved => line(code, 503, Grpc::Unavailable, [
            "The node was removed from the cluster",
            "The node is no longer a member of its cluster: it was removed. It refuses every call at once.",
            "Use another node. To bring the node back, stop it, move its data directory away and start it again: it joins as a new member.",
        ]).retry_after(100),
        Code::NotOwner => line(code, 409, Grpc::FailedPrecondition, [
            "The grant belongs to another owner",
            "The call names a session in `session_id`, and the grant does not belong to that session.",
            "Nothing of another owner was changed. Name the grant that the session holds; an operator leaves `session_id` out, or uses `force_release`.",
        ]),
        Code::OutcomeUnknown => line(code, 504, Grpc::DeadlineExceeded, [
            "Whether the request took effect is unknown",
            "The request was sent to the leader and no answer came in time. It may have been executed, or may still be.",
            "Send the same request again under the same retry key: it takes effect once and gets the same answer (`retryable` is true exactly when the request had a key). Without a key, read the state first.",
        ]),
        Code::Overloaded => line(code, 503, Grpc::ResourceExhausted, [
            "The node is busy",
            "The node has as many requests in flight as it accepts. The request was not executed.",
            "Retry with an increasing pause.",
        ]).retry_after(200),
        Code::OwnedBySession => line(code, 409, Grpc::FailedPrecondition, [
            "The lock is owned by a session",
            "Only a one-shot lock has its own TTL.",
            "Keep the session alive instead of extending the lock.",
        ]),
        Code::PasswordChanged => line(code, 409, Grpc::Aborted, [
            "The password was changed meanwhile",
            "The password was changed between the request and its execution.",
            "Try again with the new password.",
        ]),
        Code::PathNotFound => line(code, 404, Grpc::Unimplemented, [
            "There is nothing at this path",
            "The path is not part of the API.",
            "Look the call up at /docs or /openapi.json.",
        ]),
        Code::PermissionDenied => line(code, 403, Grpc::PermissionDenied, [
            "The caller lacks a permission",
            "No rule of the caller covers `permission` in `namespace` for `name`, or its key is narrowed. The answer does not say whether there is anything of that name.",
            "Ask an administrator. `batuta access explain` shows what the caller may do, and which rule is missing.",
        ]),
        Code::PrincipalNotFound => line(code, 404, Grpc::NotFound, [
            "No such principal",
            "No user or service account has that name.",
            "Check the name, or make the principal first.",
        ]),
        Code::PrincipalSuspended => line(code, 403, Grpc::PermissionDenied, [
            "The caller is suspended",
            "An administrator suspended the principal. Whatever its bindings give, it may do nothing.",
            "Ask an administrator to end the suspension.",
        ]),
        Code::QueryTooLarge => line(code, 400, Grpc::InvalidArgument, [
            "The GraphQL query is too large",
            "A GraphQL request has limits on the length, nesting, depth, fields and cost of its document; `limit` names the exceeded limit.",
            "Request fewer fields or smaller pages (`first`), or use several requests. docs/api-graphql.md lists the limits.",
        ]),
        Code::RateLimited => line(code, 429, Grpc::ResourceExhausted, [
            "Too many attempts",
            "Too many logins of this user, or from this network, failed shortly before. `limit` names the limit. The password was not looked at; calls with a token are not affected.",
            "Wait as long as the answer says (`Retry-After`), then try again with the right password. Others log in from other networks without waiting.",
        ]).retry_after(10_000),
        Code::RegisterNotFound => line(code, 404, Grpc::NotFound, [
            "No such register",
            "The register was never advanced, or was deleted.",
            "Advance it first: the first token creates it.",
        ]),
        Code::RoleNotFound => line(code, 404, Grpc::NotFound, [
            "No such role",
            "No role has that name.",
            "Check the name, or make the role first. Built in are admin, operator, editor and viewer.",
        ]),
        Code::SecretNotRepeatable => line(code, 409, Grpc::FailedPrecondition, [
            "The secret was given before",
            "The key was made by an earlier attempt under the same retry key, and its secret was in the answer to that attempt only. `credential_id` names it.",
            "If the earlier answer is lost, delete that credential and make another one under a new retry key.",
        ]),
        Code::SequenceTooOld => line(code, 409, Grpc::FailedPrecondition, [
            "The sequence is older than the session's window",
            "Only the last answers of a session are remembered (`session_window`); this answer is forgotten.",
            "Read the state. Retry sooner, or keep fewer requests in flight.",
        ]),
        Code::SessionClosed => line(code, 410, Grpc::FailedPrecondition, ["The session was closed", "The session that waited was closed by its owner.", "Open a new session."]),
        Code::SessionExpired => line(code, 410, Grpc::FailedPrecondition, [
            "The session expired",
            "No keep-alive arrived within the session's TTL. Everything that it owned has been released.",
            "Stop the work its locks protected, and open a new session.",
        ]),
        Code::SessionNotFound => line(code, 404, Grpc::NotFound, [
            "No such session",
            "The session was closed, expired, or never opened.",
            "Stop the work its locks protected, and open a new session.",
        ]),
        Code::ShuttingDown => line(code, 503, Grpc::Unavailable, [
            "The node is stopping",
            "The node stopped before it accepted the request. The request was not executed.",
            "Use another node.",
        ]).retry_after(100),
        Code::TokenExpired => line(code, 401, Grpc::Unauthenticated, [
            "The credential has expired",
            "The time of the credential is over.",
            "Log in again, or use a newer key.",
        ]),
        Code::TokenNotFound => line(code, 404, Grpc::NotFound, [
            "No such credential",
            "The credential ended, or never was.",
            "List the credentials; the id is the part of a token between its first two underscores.",
        ]),
        Code::TokenRevoked => line(code, 401, Grpc::Unauthenticated, [
            "The credential was revoked",
            "The credential, or the principal that it belonged to, was deleted.",
            "Log in again, or use another key.",
        ]),
        Code::TokenSuperseded => line(code, 409, Grpc::FailedPrecondition, [
            "The fencing token is no longer valid",
            "The lock is held under another token, or the register has seen a newer one (`newest_token`). Without `newest_token`, the lock is free.",
            "The holder of this token must stop. To force a release, read the lock again and use the token that it shows.",
        ]),
        Code::Unauthenticated => line(code, 401, Grpc::Unauthenticated, [
            "The caller must prove who it is",
            "The call has no credential and nobody may make it without one, or the user and the password of a login do not fit together.",
            "Send a token (`Authorization: Bearer`, `BATUTA_TOKEN`), or log in with `batuta login`.",
        ]),
        Code::UnknownField => line(code, 422, Grpc::InvalidArgument, [
            "Unknown field",
            "The request has a field that the API does not know. Unknown fields are errors, so that no typo goes unnoticed.",
            "Correct or remove the field (`suggestion` may name the intended one).",
        ]),
        Code::UnknownMember => line(code, 404, Grpc::NotFound, [
            "No such member",
            "No member of the cluster has that id or name.",
            "Use an id or a name from `batuta cluster members`.",
        ]),
        Code::UnsupportedMediaType => line(code, 415, Grpc::InvalidArgument, [
            "The format of the body is not supported",
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
            "The acquisition was cancelled: by its owner, because the connections of all calls that waited for it were lost, or because its owner asked for the same locks again through another call, which waits instead.",
            "Acquire again with a new key.",
        ]),
        Code::WaitTimeout => line(code, 408, Grpc::DeadlineExceeded, [
            "The wait ended without a grant",
            "`wait_ms` passed before the lock became free. Nothing is held and nothing waits.",
            "Acquire again with a new key and a longer `wait_ms`. `explain` shows what blocks the waiter.",
        ]),
    }
}
