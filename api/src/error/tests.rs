//! Checks that every failure has a line in the table, and every line a section in `docs/errors.md`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use batuta_statemachine::{
    Namespace, Permission, Position, Principal, PrincipalName, ReleaseReason, SessionEnd, TokenId, WaitEnd,
    access, cluster, lock, register, session,
};

use super::*;

fn lock_id() -> LockId {
    LockId(Position { index: 7, ordinal: 0 })
}

fn session() -> SessionId {
    SessionId(Position { index: 5, ordinal: 0 })
}

fn name() -> Name {
    Name::new("orders/42").expect("valid")
}

/// One of each kind of refusal. The match makes the compiler demand a new kind here.
fn rejections() -> Vec<Rejection> {
    let known = |rejection: &Rejection| match rejection {
        Rejection::InvalidArgument { .. }
        | Rejection::LimitExceeded { .. }
        | Rejection::KeyReused
        | Rejection::SequenceTooOld { .. }
        | Rejection::Session(
            session::Refusal::SessionNotFound { .. } | session::Refusal::NamespaceMismatch { .. },
        )
        | Rejection::Lock(
            lock::Refusal::LockHeld { .. }
            | lock::Refusal::LockDelayed { .. }
            | lock::Refusal::LockNotHeld { .. }
            | lock::Refusal::ForeignLock { .. }
            | lock::Refusal::AlreadyGranted { .. }
            | lock::Refusal::GrantEnded { .. }
            | lock::Refusal::WaitEnded { .. }
            | lock::Refusal::Deadlock { .. }
            | lock::Refusal::ModeMismatch { .. }
            | lock::Refusal::CapacityMismatch { .. }
            | lock::Refusal::OwnedBySession { .. }
            | lock::Refusal::NotOwner { .. }
            | lock::Refusal::NotInUse { .. }
            | lock::Refusal::TokenSuperseded { .. },
        )
        | Rejection::Register(register::Refusal::RegisterNotFound { .. })
        | Rejection::Cluster(cluster::Refusal::AlreadyInitialised { .. })
        | Rejection::Access(
            access::Refusal::PermissionDenied { .. }
            | access::Refusal::PrincipalSuspended { .. }
            | access::Refusal::TokenExpired { .. }
            | access::Refusal::TokenRevoked { .. }
            | access::Refusal::EscalationRefused { .. }
            | access::Refusal::LastAdmin
            | access::Refusal::PrincipalNotFound { .. }
            | access::Refusal::GroupNotFound { .. }
            | access::Refusal::RoleNotFound { .. }
            | access::Refusal::BindingNotFound { .. }
            | access::Refusal::TokenNotFound { .. }
            | access::Refusal::PasswordChanged { .. }
            | access::Refusal::AlreadyBootstrapped { .. }
            | access::Refusal::BuiltInRole { .. },
        ) => {}
    };
    let ends = [
        WaitEnd::TimedOut,
        WaitEnd::Cancelled,
        WaitEnd::SessionEnded(SessionEnd::Closed),
        WaitEnd::SessionEnded(SessionEnd::Expired),
        WaitEnd::NodeLost,
        WaitEnd::Denied,
    ];
    let mut all = vec![
        Rejection::InvalidArgument { field: "ttl_ms".into(), problem: "is missing".to_owned() },
        Rejection::LimitExceeded { limit: "waiters_per_lock_max".into(), max: 3, remedy: "wait".into() },
        Rejection::Session(session::Refusal::SessionNotFound { session: session() }),
        Rejection::Session(session::Refusal::NamespaceMismatch {
            session: session(),
            namespace: Namespace::default(),
        }),
        Rejection::Lock(lock::Refusal::LockHeld { name: name(), holder_tokens: vec![3], waiters: 1 }),
        Rejection::Lock(lock::Refusal::LockDelayed { name: name(), remaining_ms: 40 }),
        Rejection::Lock(lock::Refusal::LockNotHeld { lock_id: lock_id() }),
        Rejection::Lock(lock::Refusal::ForeignLock { lock_id: lock_id() }),
        Rejection::Lock(lock::Refusal::AlreadyGranted { lock_id: lock_id(), token: 3 }),
        Rejection::Lock(lock::Refusal::GrantEnded { lock_id: lock_id(), reason: ReleaseReason::Expired }),
        Rejection::Lock(lock::Refusal::Deadlock { cycle: vec!["a waits for b".to_owned()] }),
        Rejection::Lock(lock::Refusal::ModeMismatch { name: name(), actual: "semaphore".into() }),
        Rejection::Lock(lock::Refusal::CapacityMismatch { name: name(), actual: 3 }),
        Rejection::Lock(lock::Refusal::OwnedBySession { lock_id: lock_id(), session: session() }),
        Rejection::Lock(lock::Refusal::NotOwner { lock_id: lock_id(), session: session() }),
        Rejection::Lock(lock::Refusal::NotInUse { name: name() }),
        Rejection::Lock(lock::Refusal::TokenSuperseded { token: 1, newest: 2 }),
        Rejection::Register(register::Refusal::RegisterNotFound { name: name() }),
        Rejection::KeyReused,
        Rejection::SequenceTooOld { sequence: 1, oldest: 2 },
        Rejection::Cluster(cluster::Refusal::AlreadyInitialised { cluster_id: "c".to_owned() }),
    ];
    all.extend(refusals_of_access().into_iter().map(Rejection::Access));
    all.extend(ends.map(|reason| Rejection::Lock(lock::Refusal::WaitEnded { lock_id: lock_id(), reason })));
    all.iter().for_each(known);
    all
}

fn refusals_of_access() -> Vec<access::Refusal> {
    let word = |text| PrincipalName::new(text).expect("valid");
    let ann = || Principal::User(word("ann"));
    let token = TokenId::new("abcDEF012345").expect("valid");
    let (permission, namespace) = (Permission::LockAcquire, Namespace::default());
    vec![
        access::Refusal::PermissionDenied {
            principal: ann(),
            permission,
            namespace: namespace.clone(),
            name: Some(name()),
        },
        access::Refusal::PrincipalSuspended { principal: ann() },
        access::Refusal::TokenExpired { token },
        access::Refusal::TokenRevoked { token },
        access::Refusal::EscalationRefused {
            principal: ann(),
            permission,
            namespace: Some(namespace),
            names: "orders/**".to_owned(),
        },
        access::Refusal::LastAdmin,
        access::Refusal::PrincipalNotFound { principal: ann() },
        access::Refusal::GroupNotFound { group: word("ops") },
        access::Refusal::RoleNotFound { role: word("orders") },
        access::Refusal::BindingNotFound { binding: access::BindingId(Position { index: 7, ordinal: 0 }) },
        access::Refusal::TokenNotFound { token },
        access::Refusal::PasswordChanged { principal: ann() },
        access::Refusal::AlreadyBootstrapped { token },
        access::Refusal::BuiltInRole { role: word("admin") },
    ]
}

fn errors_of_the_edge() -> Vec<ApiError> {
    vec![
        ApiError::OutcomeUnknown { waited_ms: 10, keyed: false, lock_id: None },
        ApiError::invalid("name", "must not be empty"),
        ApiError::UnknownField { field: "nmae".to_owned(), suggestion: Some("name".to_owned()) },
        ApiError::MalformedBody { problem: "line 1".to_owned() },
        ApiError::BodyTooLarge { max_bytes: 10 },
        ApiError::UnsupportedMediaType,
        ApiError::UnsupportedCoding { header: "Content-Encoding", coding: "gzip".to_owned() },
        ApiError::InvalidQuery { problem: "no such field".to_owned() },
        ApiError::QueryTooLarge { limit: "query_depth_max", max: 12 },
        ApiError::PathNotFound { path: "/x".to_owned() },
        ApiError::MethodNotAllowed { method: "PUT".to_owned(), path: "/x".to_owned() },
        ApiError::LockNotFound { name: name(), revision: 9 },
        ApiError::UnknownMember { member: "n9".to_owned(), members: vec!["n1".to_owned()] },
        ApiError::Draining,
        ApiError::Busy { what: "waiting_calls_max", max: 1 },
        ApiError::CallCancelled,
        ApiError::HandshakeRefused { problem: "no".to_owned() },
        ApiError::HostNotAllowed { host: "evil.example".to_owned(), remedy: "use another" },
        ApiError::Compacted { from_revision: 3, oldest_revision: 9 },
        ApiError::Lagged { resume_revision: 9 },
        ApiError::Unauthenticated { problem: "send a token" },
        ApiError::InvalidToken { problem: "it was mistyped or cut".to_owned() },
        ApiError::AuthBusy { waiting_max: 64 },
        ApiError::AuditUnavailable { problem: "no" },
        ApiError::RateLimited { limit: "failed_logins", retry_after_ms: 40 },
        ApiError::SecretNotRepeatable { credential: TokenId::new("abcDEF012345").expect("valid") },
        ApiError::Internal("x".to_owned()),
    ]
}

fn errors_of_the_replica() -> Vec<ApiError> {
    [
        ProposeError::NoLeader { waited_ms: 5 },
        ProposeError::OutcomeUnknown { waited_ms: 5 },
        ProposeError::DiskFull { free_bytes: 1, min_bytes: 2 },
        ProposeError::Overloaded,
        ProposeError::ShuttingDown,
        ProposeError::NotAMember { node_id: 9 },
        ProposeError::Removed { node_id: 9 },
        ProposeError::UpgradePending("n3".to_owned()),
        ProposeError::Membership("no".to_owned()),
        ProposeError::Fatal("disk".to_owned()),
    ]
    .into_iter()
    .map(ApiError::from)
    .collect()
}

fn all() -> Vec<ApiError> {
    let mut all: Vec<ApiError> = rejections().into_iter().map(ApiError::from).collect();
    all.extend(errors_of_the_replica());
    all.extend(errors_of_the_edge());
    all
}

#[test]
fn every_failure_has_a_line_that_can_occur() {
    let occurring: BTreeSet<Code> = all().iter().map(ApiError::code).collect();
    assert_eq!(occurring, BTreeSet::from(Code::ALL));
    for code in Code::ALL {
        assert_eq!(info(code).code, code);
    }
}

/// gRPC sends details as texts, and clients convert them to their form in REST.
#[test]
fn facts_that_are_json_are_known() {
    for error in all() {
        for (name, value) in error.details() {
            let is_text = value.is_string() || value.is_null();
            assert_ne!(batuta_proto::facts::is_json(&name), is_text, "{name} of {} is {value}", error.code());
        }
    }
}

#[test]
fn statuses_are_errors_and_titles_are_short() {
    for info in Code::ALL.map(info) {
        assert!((400..600).contains(&info.http), "{}", info.code);
        assert_ne!(info.grpc, tonic::Code::Ok, "{}", info.code);
        assert!(info.summary.len() <= 60 && !info.summary.ends_with('.'), "{}", info.code);
        assert!(info.cause.ends_with('.') && info.remedy.ends_with(['.', ')']), "{}", info.code);
        assert_eq!(info.code.retryable(), info.retry_after_ms.is_some(), "{}", info.code);
    }
}

#[test]
fn details_name_what_is_to_blame() {
    for (error, key) in [
        (
            ApiError::from(Rejection::LimitExceeded {
                limit: "grants".into(),
                max: 3,
                remedy: "wait".into(),
            }),
            "limit",
        ),
        (ApiError::from(Rejection::Lock(lock::Refusal::Deadlock { cycle: vec!["a".to_owned()] })), "cycle"),
        (
            ApiError::from(Rejection::Lock(lock::Refusal::TokenSuperseded { token: 1, newest: 2 })),
            "newest_token",
        ),
        (ApiError::invalid("ttl_ms", "too short"), "field"),
        (ApiError::OutcomeUnknown { waited_ms: 1, keyed: true, lock_id: Some(lock_id()) }, "lock_id"),
    ] {
        assert!(error.details().contains_key(key), "{} lacks {key}", error.code());
    }
    assert_eq!(ApiError::invalid("ttl_ms", "too short").field(), Some("ttl_ms"));
}

#[test]
fn token_of_a_free_lock_is_compared_with_none() {
    let free = ApiError::from(Rejection::Lock(lock::Refusal::TokenSuperseded { token: 7, newest: 0 }));
    assert_eq!(free.to_string(), "token 7 does not hold the lock: the lock is free");
    assert!(!free.details().contains_key("newest_token"));
    for (newest, told) in [
        (9, "token 7 is superseded; the newest is 9"),
        (5, "token 7 does not hold the lock; the newest token that does is 5"),
    ] {
        let error = ApiError::from(Rejection::Lock(lock::Refusal::TokenSuperseded { token: 7, newest }));
        assert_eq!((error.to_string().as_str(), &error.details()["newest_token"]), (told, &newest.into()));
    }
}

#[test]
fn only_retryable_errors_have_a_pause() {
    for error in all() {
        assert_eq!(error.retry_after_ms().is_some(), error.retryable(), "{}", error.code());
    }
    let delayed =
        ApiError::from(Rejection::Lock(lock::Refusal::LockDelayed { name: name(), remaining_ms: 1_234 }));
    assert_eq!(delayed.retry_after_ms(), Some(1_234));
    let keyed = ApiError::OutcomeUnknown { waited_ms: 1, keyed: true, lock_id: None };
    assert!(keyed.retryable() && keyed.to_string().contains("under the same key"));
}

fn page() -> String {
    let mut page = String::from(
        "# Errors\n\n\
         <!-- Written from `info` in api/src/error/catalogue.rs; BATUTA_WRITE_DOCS=1 cargo test -p batuta-api renews it. -->\n\n\
         Every failed call carries one of these codes, the same on every API: in REST as `code` of a problem document\n\
         (RFC 9457, `application/problem+json`), over WebSocket as `code` of the same document in an error frame, in gRPC as\n\
         `reason` of `google.rpc.ErrorInfo` (domain `batuta.dev`), in GraphQL as `extensions.code` of an error.\n\
         *Retry* says whether the same request may be sent again as it is; the answer then says when\n\
         (`retry_after_ms` and `Retry-After`, `google.rpc.RetryInfo`, or `extensions.retryAfterMs`).\n\n\
         | code | HTTP | gRPC | retry |\n|---|---|---|---|\n",
    );
    let retry = |info: &CodeInfo| match (info.code, info.code.retryable()) {
        (Code::OutcomeUnknown, _) => "with the same key",
        (_, true) => "yes",
        (_, false) => "no",
    };
    // Writing to a String cannot fail.
    for info in Code::ALL.map(info) {
        let CodeInfo { code, http, grpc, .. } = info;
        let _ = writeln!(page, "| [`{code}`](#{code}) | {http} | {grpc:?} | {} |", retry(&info));
    }
    for info in Code::ALL.map(info) {
        let CodeInfo { code, http, grpc, summary, cause, remedy, .. } = info;
        let retry = retry(&info);
        let _ = write!(
            page,
            "\n## {code}\n\n{summary}. HTTP {http}, gRPC {grpc:?}, retry: {retry}.\n\n**Cause.** {cause}\n\n**What to do.** {remedy}\n"
        );
    }
    page
}

#[test]
fn docs_errors_md_is_written_from_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    if std::env::var_os("BATUTA_WRITE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().expect("has a parent")).expect("docs/ can be made");
        std::fs::write(&path, page()).expect("docs/errors.md can be written");
    }
    let written = std::fs::read_to_string(&path).expect("docs/errors.md exists");
    assert!(
        written == page(),
        "docs/errors.md is out of date: run BATUTA_WRITE_DOCS=1 cargo test -p batuta-api"
    );
}
