//! Entries, requests and the keys of retries.

use batuta_proto::internal as wire;
use batuta_proto::internal::request::Command as WireCommand;
use batuta_statemachine::{Command, DedupKey, Entry, Request, Retry, Stamp};
use prost::Message as _;
use xxhash_rust::xxh3::xxh3_64;

use super::{DecodeError, cluster, lock, namespace, position_to_wire, session, session_id};

/// The bytes of an entry. The same entry always gives the same bytes.
#[must_use]
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    let requests = entry.requests.iter().map(request_to_wire).collect();
    wire::Entry { now_ms: entry.stamp.now_ms, wall_ms: entry.stamp.wall_ms, requests }.encode_to_vec()
}

/// The entry of some bytes.
///
/// # Errors
/// [`DecodeError`] when the bytes are damaged or written by a build that knows more than this one.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, DecodeError> {
    let entry = wire::Entry::decode(bytes)?;
    let requests = entry.requests.into_iter().map(request_from_wire).collect::<Result<_, _>>()?;
    Ok(Entry { stamp: Stamp { now_ms: entry.now_ms, wall_ms: entry.wall_ms }, requests })
}

/// A request as a front makes it. With a key a retry is recognised by the fingerprint that is made here: a hash of the encoded command,
/// so that a field that a newer build adds, and that is not set, changes nothing.
#[must_use]
pub fn request(key: Option<DedupKey>, command: Command) -> Request {
    let dedup = key.map(|key| Retry { key, fingerprint: fingerprint(&command) });
    Request::new(dedup, command)
}

/// Which call waits for an acquisition is not part of what is asked.
fn fingerprint(command: &Command) -> u64 {
    let mut command = command_to_wire(command);
    if let WireCommand::Acquire(acquire) = &mut command {
        acquire.call = None;
    }
    xxh3_64(&wire::Request { dedup: None, command: Some(command) }.encode_to_vec())
}

pub(crate) fn request_to_wire(request: &Request) -> wire::Request {
    let command = Some(command_to_wire(&request.command));
    wire::Request { dedup: request.dedup.as_ref().map(dedup_to_wire), command }
}

fn command_to_wire(command: &Command) -> WireCommand {
    match command {
        Command::OpenSession(command) => WireCommand::OpenSession(session::open_to_wire(command)),
        Command::KeepAlive(command) => WireCommand::RenewSessions(session::keep_alive_to_wire(command)),
        Command::CloseSession(command) => WireCommand::CloseSession(session::close_to_wire(command)),
        Command::Acquire(command) => WireCommand::Acquire(lock::acquire_to_wire(command)),
        Command::CancelWait(command) => WireCommand::CancelWait(lock::cancel_wait_to_wire(command)),
        Command::WithdrawWaits(command) => WireCommand::WithdrawWaits(lock::withdraw_waits_to_wire(command)),
        Command::Release(command) => WireCommand::Release(lock::release_to_wire(command)),
        Command::Extend(command) => WireCommand::Extend(lock::extend_to_wire(command)),
        Command::ForceRelease(command) => WireCommand::ForceRelease(lock::force_release_to_wire(command)),
        Command::AdvanceRegister(command) => {
            WireCommand::AdvanceRegister(lock::advance_register_to_wire(command))
        }
        Command::DeleteRegister(command) => {
            WireCommand::DeleteRegister(lock::delete_register_to_wire(command))
        }
        Command::InitCluster(command) => WireCommand::InitCluster(cluster::init_to_wire(command)),
        Command::AllocateNode(command) => WireCommand::AllocateNode(cluster::allocate_node_to_wire(command)),
        Command::SetLimits(command) => WireCommand::SetLimits(cluster::set_limits_to_wire(command)),
    }
}

pub(crate) fn request_from_wire(request: wire::Request) -> Result<Request, DecodeError> {
    let command = match request.command.ok_or(DecodeError::Unknown("request"))? {
        WireCommand::OpenSession(command) => Command::OpenSession(session::open(command)?),
        WireCommand::RenewSessions(command) => Command::KeepAlive(session::keep_alive(&command)?),
        WireCommand::CloseSession(command) => Command::CloseSession(session::close(&command)?),
        WireCommand::Acquire(command) => Command::Acquire(lock::acquire(command)?),
        WireCommand::CancelWait(command) => Command::CancelWait(lock::cancel_wait(&command)?),
        WireCommand::WithdrawWaits(command) => Command::WithdrawWaits(lock::withdraw_waits(&command)),
        WireCommand::Release(command) => Command::Release(lock::release(&command)?),
        WireCommand::Extend(command) => Command::Extend(lock::extend(&command)?),
        WireCommand::ForceRelease(command) => Command::ForceRelease(lock::force_release(command)?),
        WireCommand::AdvanceRegister(command) => Command::AdvanceRegister(lock::advance_register(&command)?),
        WireCommand::DeleteRegister(command) => Command::DeleteRegister(lock::delete_register(&command)?),
        WireCommand::InitCluster(command) => Command::InitCluster(cluster::init(command)),
        WireCommand::AllocateNode(command) => Command::AllocateNode(cluster::allocate_node(command)),
        WireCommand::SetLimits(command) => Command::SetLimits(cluster::set_limits(command)),
    };
    Ok(Request { dedup: request.dedup.map(dedup).transpose()?, command })
}

fn dedup_to_wire(retry: &Retry) -> wire::DedupKey {
    let key = match &retry.key {
        DedupKey::Sequence { session, sequence } => wire::dedup_key::Key::Sequence(wire::SequenceKey {
            session: Some(position_to_wire(session.0)),
            sequence: *sequence,
        }),
        DedupKey::Idempotency { namespace, key } => wire::dedup_key::Key::Idempotency(wire::IdempotencyKey {
            namespace: namespace.to_string(),
            key: key.clone(),
        }),
    };
    wire::DedupKey { key: Some(key), fingerprint: retry.fingerprint }
}

fn dedup(dedup: wire::DedupKey) -> Result<Retry, DecodeError> {
    let key = match dedup.key.ok_or(DecodeError::Unknown("retry key"))? {
        wire::dedup_key::Key::Sequence(key) => {
            DedupKey::Sequence { session: session_id(key.session)?, sequence: key.sequence }
        }
        wire::dedup_key::Key::Idempotency(key) => {
            DedupKey::Idempotency { namespace: namespace(&key.namespace)?, key: key.key }
        }
    };
    Ok(Retry { key, fingerprint: dedup.fingerprint })
}
