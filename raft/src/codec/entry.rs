//! Entries, requests and retry keys as protobuf, and back.

use batuta_proto::internal as wire;
use batuta_proto::internal::dedup_key::Key as WireKey;
use batuta_proto::internal::request::Command as WireCommand;
use batuta_statemachine::{Command, DedupKey, Entry, Request, Retry, Stamp};
use prost::Message as _;
use xxhash_rust::xxh3::xxh3_64;

use super::wire::{FromWire, ToWire, claimed};
use super::{DecodeError, access, cluster, lock, register, session};

/// Encodes an entry. The same entry always gives the same bytes.
#[must_use]
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    let requests = entry.requests.iter().map(request_to_wire).collect();
    wire::Entry { now_ms: entry.stamp.now_ms, wall_ms: entry.stamp.wall_ms, requests }.encode_to_vec()
}

/// Decodes an entry.
///
/// # Errors
/// [`DecodeError`] when the bytes are damaged or written by a build that knows more than this one.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, DecodeError> {
    let entry = wire::Entry::decode(bytes)?;
    let requests = entry.requests.into_iter().map(request_from_wire).collect::<Result<_, _>>()?;
    Ok(Entry { stamp: Stamp { now_ms: entry.now_ms, wall_ms: entry.wall_ms }, requests })
}

/// Makes a request as a front submits it. A request with a key gets a fingerprint here, by which a retry is recognised: a hash of the
/// encoded command. A field that a newer build adds does not change the fingerprint as long as it is not set.
pub fn request(key: Option<DedupKey>, command: impl Into<Command>) -> Request {
    let command = command.into();
    let dedup = key.map(|key| Retry { key, fingerprint: fingerprint(&command) });
    Request::new(dedup, command)
}

/// The call that waits for an acquisition is left out, because a retry comes through another call, and so is what a node draws for each
/// attempt. So is the actor: the key is that of its principal anyway, and a retry may come with a newer credential.
fn fingerprint(command: &Command) -> u64 {
    let mut command = command_to_wire(command);
    if let WireCommand::Acquire(acquire) = &mut command {
        acquire.call = None;
    }
    access::drop_drawn(&mut command);
    xxh3_64(&wire::Request { dedup: None, actor: None, command: Some(command) }.encode_to_vec())
}

pub(crate) fn request_to_wire(request: &Request) -> wire::Request {
    let Request { dedup, actor, command } = request;
    wire::Request {
        dedup: dedup.as_ref().map(retry_to_wire),
        actor: actor.to_wire(),
        command: Some(command_to_wire(command)),
    }
}

fn command_to_wire(command: &Command) -> WireCommand {
    match command {
        Command::Session(command) => session::command_to_wire(command),
        Command::Lock(command) => lock::command_to_wire(command),
        Command::Register(command) => register::command_to_wire(command),
        Command::Cluster(command) => cluster::command_to_wire(command),
        Command::Access(command) => access::command_to_wire(command),
    }
}

fn command_from_wire(command: WireCommand) -> Result<Command, DecodeError> {
    claimed!(
        command,
        session::command, lock::command, register::command, cluster::command, access::command;
        else "request"
    )
}

pub(crate) fn request_from_wire(request: wire::Request) -> Result<Request, DecodeError> {
    let wire::Request { dedup, actor, command } = request;
    let command = command_from_wire(command.ok_or(DecodeError::Unknown("request"))?)?;
    Ok(Request { dedup: dedup.map(retry).transpose()?, actor: FromWire::from_wire(actor, "actor")?, command })
}

fn retry_to_wire(retry: &Retry) -> wire::DedupKey {
    let Retry { key, fingerprint } = retry;
    let key = match key {
        DedupKey::Sequence { session, sequence } => {
            WireKey::Sequence(wire::SequenceKey { session: session.to_wire(), sequence: *sequence })
        }
        DedupKey::Idempotency { namespace, key } => {
            WireKey::Idempotency(wire::IdempotencyKey { namespace: namespace.to_wire(), key: key.clone() })
        }
    };
    wire::DedupKey { key: Some(key), fingerprint: *fingerprint }
}

fn retry(message: wire::DedupKey) -> Result<Retry, DecodeError> {
    let wire::DedupKey { key, fingerprint } = message;
    let key = match key.ok_or(DecodeError::Unknown("retry key"))? {
        WireKey::Sequence(wire::SequenceKey { session, sequence }) => {
            DedupKey::Sequence { session: FromWire::from_wire(session, "session")?, sequence }
        }
        WireKey::Idempotency(wire::IdempotencyKey { namespace, key }) => {
            DedupKey::Idempotency { namespace: FromWire::from_wire(namespace, "namespace")?, key }
        }
    };
    Ok(Retry { key, fingerprint })
}
