//! The commands of sessions.

use batuta_proto::internal as wire;
use batuta_statemachine::session::{CloseSession, KeepAlive, OpenSession};

use super::{DecodeError, namespace, position_to_wire, session_id};

pub(super) fn open_to_wire(command: &OpenSession) -> wire::OpenSession {
    wire::OpenSession {
        namespace: command.namespace.to_string(),
        ttl_ms: command.ttl_ms,
        metadata: command.metadata.clone(),
    }
}

pub(super) fn open(command: wire::OpenSession) -> Result<OpenSession, DecodeError> {
    let namespace = namespace(&command.namespace)?;
    Ok(OpenSession { namespace, ttl_ms: command.ttl_ms, metadata: command.metadata })
}

pub(super) fn keep_alive_to_wire(command: &KeepAlive) -> wire::KeepAlive {
    wire::KeepAlive { sessions: command.sessions.iter().map(|session| position_to_wire(session.0)).collect() }
}

pub(super) fn keep_alive(command: wire::KeepAlive) -> Result<KeepAlive, DecodeError> {
    let sessions = command.sessions.into_iter().map(|session| session_id(Some(session)));
    Ok(KeepAlive { sessions: sessions.collect::<Result<_, _>>()? })
}

pub(super) fn close_to_wire(command: &CloseSession) -> wire::CloseSession {
    wire::CloseSession { session: Some(position_to_wire(command.session.0)) }
}

pub(super) fn close(command: wire::CloseSession) -> Result<CloseSession, DecodeError> {
    Ok(CloseSession { session: session_id(command.session)? })
}
