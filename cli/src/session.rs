//! The commands `batuta session …`, which open, renew, show and close sessions.

use std::time::Duration;

use batuta_client::Client;
use batuta_client::v1::{
    CloseSessionRequest, GetSessionRequest, KeepAliveRequest, ListSessionsRequest, OpenSessionRequest,
    Session,
};
use clap::Subcommand;
use serde_json::{Value, json};

use crate::duration::{human, millis, parse};
use crate::failure::Failure;
use crate::output::{Answer, Created, fields, partial, rows};
use crate::reading::{Page, Read};

/// The subcommands of `batuta session`.
#[derive(Subcommand, Debug)]
pub enum SessionCommand {
    /// Opens a session. Only `batuta session keep-alive` keeps it alive.
    #[command(
        after_help = "Example:\n  id=$(batuta -o json session open --ttl 1m | jq -r .session.session_id)"
    )]
    Open {
        /// How long the session lives without a keep-alive.
        #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse)]
        ttl: Duration,
        /// Free text for people.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        metadata: String,
    },
    /// Shows a session.
    Get {
        /// The session's id.
        id: String,
        #[command(flatten)]
        read: Read,
    },
    /// Lists the sessions of the namespace, oldest first.
    List {
        #[command(flatten)]
        page: Page,
        #[command(flatten)]
        read: Read,
    },
    /// Renews a session once, for another TTL.
    KeepAlive {
        /// The session's id.
        id: String,
    },
    /// Ends a session: its locks are released and its waits are cancelled, in one revision.
    Close {
        /// The session's id.
        id: String,
        /// Keep its locks closed for their lock-delay, as when it had expired: its process may still be working.
        #[arg(long)]
        lock_delay: bool,
    },
}

pub(crate) async fn answer(client: &Client, command: SessionCommand) -> Result<Answer, Failure> {
    match command {
        SessionCommand::Open { ttl, metadata } => {
            let answer =
                client.open_raw_session(OpenSessionRequest { ttl_ms: millis(ttl), metadata }).await?;
            let created = answer.session.as_ref().map(|session| session.session_id.clone());
            let told = one(answer.session, answer.revision)?;
            Ok(created.map(Created::Session).into_iter().fold(told, Answer::created))
        }
        SessionCommand::Get { id, read } => {
            let request = GetSessionRequest { session_id: id, consistency: read.wire() };
            let answer = client.session(request).await?;
            one(answer.session, answer.revision)
        }
        SessionCommand::List { page, read } => list(client, page, read).await,
        SessionCommand::KeepAlive { id } => {
            let answer = client.keep_alive(KeepAliveRequest { session_id: id }).await?;
            let json = json!({
                "session_id": answer.session_id, "ttl_ms": answer.ttl_ms, "revision": answer.revision,
            });
            let text = fields([
                ("session_id", answer.session_id),
                ("ttl", human(answer.ttl_ms)),
                ("revision", answer.revision.to_string()),
            ]);
            Ok(Answer::new(json, text))
        }
        SessionCommand::Close { id, lock_delay } => {
            let answer = client.close_session(CloseSessionRequest { session_id: id, lock_delay }).await?;
            let json = json!({
                "released_locks": answer.released_locks,
                "cancelled_waits": answer.cancelled_waits,
                "revision": answer.revision,
            });
            let text = fields([
                ("released_locks", answer.released_locks.to_string()),
                ("cancelled_waits", answer.cancelled_waits.to_string()),
                ("revision", answer.revision.to_string()),
            ]);
            Ok(Answer::new(json, text))
        }
    }
}

async fn list(client: &Client, page: Page, read: Read) -> Result<Answer, Failure> {
    let request = ListSessionsRequest { limit: page.limit, cursor: page.cursor, consistency: read.wire() };
    let answer = client.sessions(request).await?;
    let json = json!({
        "sessions": answer.sessions.iter().map(to_json).collect::<Vec<_>>(),
        "next_cursor": answer.next_cursor,
        "revision": answer.revision,
        "filtered": answer.filtered,
    });
    let table = rows(
        ["SESSION", "TTL", "REMAINING", "LOCKS", "WAITS", "OPENED", "METADATA"],
        answer.sessions.into_iter().map(|session| {
            [
                session.session_id,
                human(session.ttl_ms),
                human(session.remaining_ms),
                session.locks_held.to_string(),
                session.locks_waiting.to_string(),
                session.opened_at,
                session.metadata,
            ]
        }),
    );
    Ok(Answer::new(json, table + partial(answer.filtered) + &Page::more(&answer.next_cursor)))
}

fn one(session: Option<Session>, revision: u64) -> Result<Answer, Failure> {
    let session = session.ok_or_else(|| Failure::without("the session"))?;
    let json = json!({"session": to_json(&session), "revision": revision});
    let text = fields([
        ("session_id", session.session_id),
        ("namespace", session.namespace),
        ("ttl", human(session.ttl_ms)),
        ("remaining", human(session.remaining_ms)),
        ("opened_at", session.opened_at),
        ("expires_at", session.expires_at),
        ("locks_held", session.locks_held.to_string()),
        ("locks_waiting", session.locks_waiting.to_string()),
        ("metadata", session.metadata),
        ("revision", revision.to_string()),
    ]);
    Ok(Answer::new(json, text))
}

pub(crate) fn to_json(session: &Session) -> Value {
    json!({
        "session_id": session.session_id,
        "namespace": session.namespace,
        "ttl_ms": session.ttl_ms,
        "remaining_ms": session.remaining_ms,
        "opened_at": session.opened_at,
        "expires_at": session.expires_at,
        "metadata": session.metadata,
        "locks_held": session.locks_held,
        "locks_waiting": session.locks_waiting,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session {
            session_id: "s-7".to_owned(),
            namespace: "default".to_owned(),
            ttl_ms: 30_000,
            remaining_ms: 29_870,
            opened_at: "2026-11-24T04:00:00.000Z".to_owned(),
            expires_at: "2026-11-24T04:00:30.000Z".to_owned(),
            metadata: String::new(),
            locks_held: 1,
            locks_waiting: 0,
        }
    }

    #[test]
    fn a_session_in_both_shapes() {
        let answer = one(Some(session()), 12).expect("a session");
        assert_eq!(
            answer.json,
            json!({
                "session": {
                    "session_id": "s-7", "namespace": "default", "ttl_ms": 30_000, "remaining_ms": 29_870,
                    "opened_at": "2026-11-24T04:00:00.000Z", "expires_at": "2026-11-24T04:00:30.000Z",
                    "metadata": "", "locks_held": 1, "locks_waiting": 0,
                },
                "revision": 12,
            })
        );
        assert!(answer.text.contains("remaining      29.8s\n"), "{}", answer.text);
        assert!(!answer.text.contains("metadata"), "{}", answer.text);
    }

    #[test]
    fn answer_without_a_session_is_a_defect() {
        assert_eq!(one(None, 12).expect_err("nothing to show").exit, 70);
    }
}
