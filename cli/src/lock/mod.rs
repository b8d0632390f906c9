//! The commands `batuta lock …`, which take, hold, show and release locks.

mod acquire;
mod change;
pub(crate) mod render;
mod run;

use std::time::Duration;

use batuta_client::Client;
use batuta_client::v1::{
    CancelWaitRequest, CheckRequest, ExplainRequest, ExtendRequest, ForceReleaseRequest, GetLockRequest,
    ListLocksRequest, ReleaseRequest, TokenStatus,
};
use clap::Subcommand;
use serde_json::json;

pub(crate) use self::run::run;
use crate::duration::{millis, parse};
use crate::failure::{Failure, exit};
use crate::output::{Answer, fields, or_dash};
use crate::reading::{Page, Part, Read};

/// The subcommands of `batuta lock`.
#[derive(Subcommand, Debug)]
pub enum LockCommand {
    /// Takes one lock, or several all or nothing, and prints its id and fencing token.
    ///
    /// Without --session the lock is held for --ttl, unless `batuta lock extend` renews it.
    #[command(after_help = "Examples:
  batuta lock acquire orders/42 --ttl 1m --wait 10s
  batuta lock acquire accounts/1 accounts/2
  batuta lock acquire gpu --mode semaphore --permits 2 --capacity 8")]
    Acquire(acquire::AcquireArgs),
    /// Holds a lock while a command runs, and ends the command if the lock is lost.
    ///
    /// The command has `BATUTA_LOCK_NAME`, `BATUTA_LOCK_TOKEN` and `BATUTA_LOCK_ID` in its environment, and runs in its own
    /// process group. TERM, INT, HUP, QUIT, USR1, USR2 and CONT are forwarded to it, unless they were ignored (nohup). A
    /// command that reads from the terminal needs --foreground. When the lock is lost, the group gets TERM, and KILL after
    /// --grace, counted from the loss; the exit code is then 75, whatever the exit code of the command. The command is
    /// ended in the same way when batuta itself is killed. When the lock is not acquired, nothing runs, and the exit code
    /// is 73.
    #[command(after_help = "Examples:
  batuta lock run nightly-report --wait 1m -- ./report.sh
  batuta lock run deploy/shop -- sh -c 'deploy --fencing-token \"$BATUTA_LOCK_TOKEN\"'")]
    Run(run::RunArgs),
    /// Releases a lock.
    Release {
        /// The lock id that `acquire` printed.
        id: String,
        /// A name that the grant must include, as a check; a wrong name is refused.
        name: Option<String>,
        /// The session that must own it; another one's lock is left alone.
        #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
        session: String,
    },
    /// Turns an exclusive lock into a shared one without letting go of it. The token stays; there is no way back.
    Downgrade {
        /// The lock id that `acquire` printed.
        id: String,
        /// A name the grant must hold; a wrong one is refused.
        name: Option<String>,
        /// The session that must own it.
        #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
        session: String,
    },
    /// Replaces the free text of a held lock; watchers see the change.
    #[command(after_help = "Example:
  batuta lock set-metadata \"$BATUTA_LOCK_NAME\" \"$BATUTA_LOCK_TOKEN\" 'batch 3 of 9'")]
    SetMetadata {
        /// A lock of the grant.
        name: String,
        /// The fencing token it is held under.
        token: u64,
        /// The new text.
        metadata: String,
    },
    /// Changes the capacity of a semaphore while it is in use; nobody loses a permit.
    Resize {
        /// The semaphore.
        name: String,
        /// Permits there will be.
        capacity: u32,
    },
    /// Takes a lock away from its holder, if the holder still has the token that you saw.
    ForceRelease {
        /// The lock.
        name: String,
        /// The holder's fencing token, as `get` shows it.
        #[arg(long)]
        token: u64,
        /// The reason, which is kept for the audit.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Renews a lock that has its own TTL.
    Extend {
        /// The lock id that `acquire` printed.
        id: String,
        /// A name that the grant must include, as a check; a wrong name is refused.
        name: Option<String>,
        /// How long the lock is held from now on.
        #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse)]
        ttl: Duration,
    },
    /// Withdraws a queued acquisition.
    Cancel {
        /// The lock id of the waiter, as `get` or `explain` shows it.
        id: String,
    },
    /// Lists the locks that are held or waited for, in order of their names.
    List {
        /// Only locks whose name starts with this prefix.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        prefix: String,
        /// Only locks held or waited for under this owner label.
        #[arg(long, value_name = "LABEL", default_value = "", hide_default_value = true)]
        owner: String,
        /// Only locks that this session holds or waits for.
        #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
        session: String,
        #[command(flatten)]
        page: Page,
        #[command(flatten)]
        read: Read,
    },
    /// Shows a lock: its holders and waiters.
    Get {
        /// The lock.
        name: String,
        #[command(flatten)]
        part: Part,
        #[command(flatten)]
        read: Read,
    },
    /// Explains who holds a lock, who waits, and what blocks each waiter.
    Explain {
        /// The lock.
        name: String,
        #[command(flatten)]
        part: Part,
        #[command(flatten)]
        read: Read,
    },
    /// Checks whether the lock is held under this token. Exit code 1 when it is not.
    #[command(after_help = "Example:\n  batuta lock check orders/42 \"$BATUTA_LOCK_TOKEN\" || exit 1")]
    Check {
        /// The lock.
        name: String,
        /// The fencing token.
        token: u64,
        #[command(flatten)]
        read: Read,
    },
}

pub(crate) async fn answer(client: &Client, command: LockCommand) -> Result<Answer, Failure> {
    match command {
        LockCommand::Acquire(args) => acquire::answer(client, args).await,
        LockCommand::Run(_) => {
            Err(Failure::new(exit::INTERNAL, "internal", "`lock run` does not answer like other commands"))
        }
        LockCommand::Release { id, name, session } => release(client, id, name, session).await,
        LockCommand::Downgrade { id, name, session } => change::downgrade(client, id, name, session).await,
        LockCommand::SetMetadata { name, token, metadata } => {
            change::set_metadata(client, name, token, metadata).await
        }
        LockCommand::Resize { name, capacity } => change::resize(client, name, capacity).await,
        LockCommand::ForceRelease { name, token, reason } => {
            let request = ForceReleaseRequest { name, fencing_token: token, reason };
            let answer = client.force_release(request).await?;
            let text =
                fields([("lock_id", answer.lock_id.clone()), ("revision", answer.revision.to_string())]);
            Ok(Answer::new(json!({"lock_id": answer.lock_id, "revision": answer.revision}), text))
        }
        LockCommand::Extend { id, name, ttl } => {
            let request = ExtendRequest { lock_id: id, name: name.unwrap_or_default(), ttl_ms: millis(ttl) };
            let answer = client.extend(request).await?;
            let grant = answer.grant.ok_or_else(|| Failure::without("the grant"))?;
            Ok(render::granted(&grant, answer.revision))
        }
        LockCommand::Cancel { id } => {
            let answer = client.cancel(CancelWaitRequest { lock_id: id }).await?;
            let text = fields([("revision", answer.revision.to_string())]);
            Ok(Answer::new(json!({"revision": answer.revision}), text))
        }
        LockCommand::List { prefix, owner, session, page, read } => {
            let request = ListLocksRequest {
                prefix,
                session_id: session,
                owner,
                limit: page.limit,
                cursor: page.cursor,
                consistency: read.wire(),
            };
            Ok(render::list(&client.locks(request).await?))
        }
        LockCommand::Get { name, part: Part { holders_cursor, waiters_cursor }, read } => {
            let consistency = read.wire();
            let request = GetLockRequest { name, consistency, holders_cursor, waiters_cursor };
            let answer = client.lock(request).await?;
            let lock = answer.lock.ok_or_else(|| Failure::without("the lock"))?;
            Ok(render::one(&lock, answer.revision))
        }
        LockCommand::Explain { name, part: Part { holders_cursor, waiters_cursor }, read } => {
            let consistency = read.wire();
            let request = ExplainRequest { name, consistency, holders_cursor, waiters_cursor };
            Ok(render::explained(&client.explain(request).await?))
        }
        LockCommand::Check { name, token, read } => check(client, name, token, read).await,
    }
}

async fn release(
    client: &Client,
    id: String,
    name: Option<String>,
    session: String,
) -> Result<Answer, Failure> {
    let request = ReleaseRequest {
        lock_id: id,
        name: name.unwrap_or_default(),
        session_id: session,
        ..ReleaseRequest::default()
    };
    let answer = client.release(request).await?;
    let json = json!({
        "lock_id": answer.lock_id,
        "fencing_token": answer.fencing_token,
        "remaining_count": answer.remaining_count,
        "revision": answer.revision,
    });
    let text = fields([
        ("lock_id", answer.lock_id),
        ("fencing_token", answer.fencing_token.to_string()),
        ("remaining_count", answer.remaining_count.to_string()),
        ("revision", answer.revision.to_string()),
    ]);
    Ok(Answer::new(json, text))
}

async fn check(client: &Client, name: String, token: u64, read: Read) -> Result<Answer, Failure> {
    let request = CheckRequest { name, fencing_token: token, consistency: read.wire() };
    let answer = client.check(request).await?;
    let status = match answer.status() {
        TokenStatus::Unspecified => "unspecified",
        TokenStatus::Held => "held",
        TokenStatus::Superseded => "superseded",
        TokenStatus::NotHeld => "not_held",
    };
    let json = json!({
        "current": answer.current,
        "status": status,
        "newest_token": answer.newest_token,
        "revision": answer.revision,
    });
    let text = fields([
        ("current", answer.current.to_string()),
        ("status", status.to_owned()),
        ("newest_token", or_dash(answer.newest_token)),
        ("revision", answer.revision.to_string()),
    ]);
    Ok(Answer::new(json, text).exit(if answer.current { exit::DONE } else { exit::NO }))
}
