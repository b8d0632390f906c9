//! Entry points for fuzzers: every decoder of client input. Compiled only for `cfg(fuzzing)` and tests.
//!
//! Each function accepts any bytes and must return without a panic and without disproportionate memory.

use axum::http::{HeaderMap, HeaderValue, header};
use batuta_statemachine::access::{Pattern, Subject};
use batuta_statemachine::{Name, PermissionSet, Principal, PrincipalName};

use crate::ApiError;
use crate::access::Secret;
use crate::access::password::Phc;
use crate::access::token::Token;
use crate::contract::cluster::{SetLimitsRequest, TransferLeaderRequest};
use crate::contract::lock::{AcquireRequest, ExtendRequest, ForceReleaseRequest, ReleaseRequest};
use crate::contract::register::AdvanceRegisterRequest;
use crate::contract::session::OpenSessionRequest;
use crate::graphql;
use crate::json::decode_json;
use crate::middleware::bearer;
use crate::ws;

/// Reads a frame of a WebSocket client, and the fields of its operation.
pub fn web_socket_frame(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        ws::fuzzing::frame(text);
    }
}

/// Reads a body as each kind of body that REST accepts.
pub fn rest_body(bytes: &[u8]) {
    if let Ok(request) = decode_json::<AcquireRequest>(bytes) {
        let _ = request.read();
    }
    if let Ok(request) = decode_json::<ExtendRequest>(bytes) {
        let _ = request.read();
    }
    if let Ok(request) = decode_json::<ReleaseRequest>(bytes) {
        let _ = request.read();
    }
    if let Ok(request) = decode_json::<ForceReleaseRequest>(bytes) {
        let _ = request.read();
    }
    let _ = decode_json::<AdvanceRegisterRequest>(bytes);
    let _ = decode_json::<OpenSessionRequest>(bytes);
    let _ = decode_json::<TransferLeaderRequest>(bytes);
    let _ = decode_json::<SetLimitsRequest>(bytes);
}

/// Weighs a GraphQL document.
pub fn graphql_document(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        graphql::fuzzing::document(text);
    }
}

/// Reads a text as everything that access parses: a header, a token, a stored password, and the words of policies.
pub fn access_text(bytes: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value);
        let _ = bearer(&headers)
            .and_then(|token| Token::parse(token).map_err(|_| ApiError::UnsupportedMediaType));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Token::parse(Secret::new(text.to_owned()));
        let _ = Phc::parse(text);
        let _ = PermissionSet::parse(text);
        let _ = PrincipalName::new(text);
        let _ = text.parse::<Principal>();
        let _ = text.parse::<Subject>();
        if let (Ok(pattern), Ok(name)) = (Pattern::new(text), Name::new(text)) {
            let _ = pattern.covers(&name, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAMES: &[&str] = &[
        r#"{"id":"7","op":"acquire","name":"a/b","mode":"semaphore","permits":2,"capacity":8,"wait_ms":5,"key":"k"}"#,
        r#"{"id":"1","op":"hello","namespace":"default","session_id":"s-12.0"}"#,
        r#"{"id":"16","op":"watch","areas":"lock,session","prefix":"o/","snapshot":true,"from_revision":3}"#,
        r#"{"id":"10","op":"force_release","name":"o","fencing_token":17,"reason":"stuck"}"#,
    ];
    const BODIES: &[&str] = &[
        r#"{"locks":[{"name":"a","mode":"shared"},{"name":"b","permits":3}],"ttl_ms":30000,"owner":"w","metadata":"m"}"#,
        r#"{"lock_id":"l-1532.0","ttl_ms":30000}"#,
        r#"{"fencing_token":18446744073709551615}"#,
        r#"{"set":{"waiters_per_lock_max":5}}"#,
    ];
    const TEXTS: &[&str] = &[
        "Bearer btk_6AkSp3WsPxY7_dHMOUNLh0UTx6gmQ9MHQdRUvZdbXMLLlzChlYYN1shx4YTnag",
        "btk_6AkSp3WsPxY7_dHMOUNLh0UTx6gmQ9MHQdRUvZdbXMLLlzChlYYN1shx4YTnag",
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE",
        "lock:*",
        "group/payments",
        "orders/{principal}/**",
    ];
    const DOCUMENTS: &[&str] = &[
        "query q($n: String!) { a: lock(name: $n) { ...f holders { owner } } } fragment f on Lock { name waiterCount }",
        "mutation { acquire(input: {name: \"a\", ttlMs: 5}) { fencingToken } }",
        "{ __schema { types { fields { type { fields { name } } } } } }",
    ];

    /// A mutation of one of the seeds: pieces repeated, characters changed, and perhaps the end cut off.
    fn mutated(seeds: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
        let index = any::<prop::sample::Index>;
        let letter = prop::sample::select(b"{}[]()\"\\:,.@$!0-eE \n\x00\xff\xc3a".to_vec());
        let edit = (index(), letter, index(), 0..4_u8);
        (prop::sample::select(seeds), prop::collection::vec(edit, 0..10)).prop_map(|(seed, edits)| {
            let mut bytes = seed.as_bytes().to_vec();
            for (place, letter, other, kind) in edits {
                if bytes.is_empty() {
                    break;
                }
                let (place, other) = (place.index(bytes.len()), other.index(bytes.len()));
                let piece = bytes[place.min(other)..place.max(other)].to_vec();
                match kind {
                    0 => bytes[place] = letter,
                    1 => bytes.insert(place, letter),
                    2 if bytes.len() < 4_000 => drop(bytes.splice(other..other, piece)),
                    _ if letter == b'a' => bytes.truncate(place),
                    _ => {}
                }
            }
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nearly_right_requests_are_taken(
            frame in mutated(FRAMES), body in mutated(BODIES), document in mutated(DOCUMENTS), text in mutated(TEXTS)
        ) {
            access_text(&text);
            web_socket_frame(&frame);
            rest_body(&body);
            graphql_document(&document);
        }

        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            access_text(&bytes);
            web_socket_frame(&bytes);
            rest_body(&bytes);
            graphql_document(&bytes);
        }
    }

    #[test]
    fn endless_nesting_is_refused() {
        for (open, close) in
            [("{\"a\":", "}"), ("[", "]"), ("{a", "}"), ("{a(b:[", "])}"), ("{\"id\":[", "]}")]
        {
            let text = open.repeat(100_000) + &close.repeat(100_000);
            access_text(text.as_bytes());
            web_socket_frame(text.as_bytes());
            rest_body(text.as_bytes());
            graphql_document(text.as_bytes());
        }
    }
}
