//! `batuta lock acquire`: takes locks.

use std::time::Duration;

use batuta_client::Client;
use batuta_client::v1::{AcquireRequest, LockMode, LockRequest};
use clap::{Args, ValueEnum};

use super::render;
use crate::duration::{millis, parse};
use crate::failure::Failure;
use crate::output::{Answer, Created};

/// The mode in which a lock is taken.
#[derive(Args, Debug, Clone, Copy)]
pub(crate) struct ModeArgs {
    /// One holder (exclusive), any number of holders (shared), or as many as the permits allow (semaphore).
    #[arg(long, value_enum, value_name = "MODE", default_value_t = Mode::Exclusive)]
    mode: Mode,
    /// Semaphore only: the permits to take [default: 1].
    #[arg(long, value_name = "COUNT")]
    permits: Option<u32>,
    /// Semaphore only: the total number of permits. The first holder sets it; a request with another number is refused.
    #[arg(long, value_name = "COUNT", required_if_eq("mode", "semaphore"))]
    capacity: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Exclusive,
    Shared,
    Semaphore,
}

impl ModeArgs {
    /// The request for the lock `name`.
    pub(super) fn request(self, name: String) -> LockRequest {
        let mode = match self.mode {
            Mode::Exclusive => LockMode::Exclusive,
            Mode::Shared => LockMode::Shared,
            Mode::Semaphore => LockMode::Semaphore,
        };
        LockRequest {
            name,
            mode: mode.into(),
            permits: self.permits.unwrap_or_default(),
            capacity: self.capacity.unwrap_or_default(),
        }
    }
}

/// The arguments of `batuta lock acquire`.
#[derive(Args, Debug)]
pub struct AcquireArgs {
    /// The lock. Several locks are taken all or nothing, under one fencing token.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    mode: ModeArgs,
    /// How long the lock is held unless it is renewed [default: 30s; not allowed with --session].
    #[arg(long, value_name = "DURATION", value_parser = parse, conflicts_with = "session")]
    ttl: Option<Duration>,
    /// How long to wait in the queue; 0 answers at once.
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = parse)]
    wait: Duration,
    /// The session that owns the lock: the lock is released when the session ends.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// A label of the owner: it distinguishes owners within a session, and is shown to people.
    #[arg(long, value_name = "LABEL", default_value = "", hide_default_value = true)]
    owner: String,
    /// How long the lock stays closed to others after an involuntary loss.
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = parse)]
    lock_delay: Duration,
    /// Allow re-entry: when the same owner in the same session holds the lock, count up instead of waiting.
    #[arg(long, requires = "session")]
    reentrant: bool,
    /// Free text for people.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    metadata: String,
    /// Idempotency key: a retry with the same key gets the same lock.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

const TTL_DEFAULT: Duration = Duration::from_secs(30);

impl AcquireArgs {
    fn request(&self) -> AcquireRequest {
        let one_shot = self.session.is_none();
        AcquireRequest {
            locks: self.names.iter().cloned().map(|name| self.mode.request(name)).collect(),
            session_id: self.session.clone().unwrap_or_default(),
            owner: self.owner.clone(),
            ttl_ms: one_shot.then(|| millis(self.ttl.unwrap_or(TTL_DEFAULT))),
            wait_ms: millis(self.wait),
            lock_delay_ms: millis(self.lock_delay),
            reentrant: self.reentrant,
            metadata: self.metadata.clone(),
        }
    }
}

pub(super) async fn answer(client: &Client, args: AcquireArgs) -> Result<Answer, Failure> {
    let (request, keyed) = (args.request(), args.key.is_some());
    let answer = client.acquire_detached(request, args.key).await.map_err(Failure::acquiring)?;
    let grant = answer.grant.ok_or_else(|| Failure::without("the grant"))?;
    let created = Created::Lock(grant.lock_id.clone()).found_by_key(keyed);
    Ok(render::granted(&grant, answer.revision).created(created))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        args: AcquireArgs,
    }

    fn request(line: &str) -> AcquireRequest {
        let words = ["acquire"].into_iter().chain(line.split(' '));
        Line::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}")).args.request()
    }

    fn exclusive(name: &str) -> LockRequest {
        LockRequest { name: name.to_owned(), mode: LockMode::Exclusive.into(), permits: 0, capacity: 0 }
    }

    #[test]
    fn one_name_is_a_one_shot_lock() {
        let expected =
            AcquireRequest { locks: vec![exclusive("a")], ttl_ms: Some(30_000), ..AcquireRequest::default() };
        assert_eq!(request("a"), expected);
        assert_eq!(request("a --ttl 5m").ttl_ms, Some(300_000));
    }

    #[test]
    fn every_option_reaches_the_request() {
        let expected = AcquireRequest {
            locks: vec![exclusive("a"), exclusive("b")],
            session_id: "s-1".to_owned(),
            owner: "me".to_owned(),
            ttl_ms: None,
            wait_ms: 10_000,
            lock_delay_ms: 2_000,
            reentrant: true,
            metadata: "text".to_owned(),
        };
        let line = "a b --session s-1 --owner me --wait 10s --lock-delay 2s --reentrant --metadata text";
        assert_eq!(request(line), expected);
    }

    #[test]
    fn a_semaphore_has_permits_and_a_capacity() {
        let lock = request("gpu --mode semaphore --permits 2 --capacity 8").locks.remove(0);
        assert_eq!((lock.mode(), lock.permits, lock.capacity), (LockMode::Semaphore, 2, 8));
        assert_eq!(request("gpu --mode shared").locks[0].mode(), LockMode::Shared);
    }

    #[test]
    fn invalid_arguments_are_refused() {
        for line in [
            "",
            "a --ttl 5s --session s-1",
            "a --reentrant",
            "a --mode semaphore",
            "a --mode all",
            "a --wait 5",
        ] {
            let words = ["acquire"].into_iter().chain(line.split_whitespace());
            assert!(Line::try_parse_from(words).is_err(), "{line}");
        }
    }
}
