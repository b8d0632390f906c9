//! Commands, replies, refusals and records of sessions as protobuf, and back.

use batuta_proto::internal as wire;
use batuta_proto::internal::rejection::Rejection as WireRejection;
use batuta_proto::internal::reply::Reply as WireReply;
use batuta_proto::internal::request::Command as WireCommand;
use batuta_statemachine::session::{
    CloseSession, Command, KeepAlive, KeptAlive, OpenSession, Record, Refusal, Reply, SessionClosed,
    SessionOpened,
};
use batuta_statemachine::{Position, SessionId};

use super::DecodeError;
use super::wire::{Claimed, FromWire, ToWire, wire_fields, wire_struct, wire_variants};

wire_struct! { OpenSession = OpenSession { namespace, ttl_ms, metadata } }
wire_struct! { CloseSession = CloseSession { session, namespace, lock_delay } }

impl ToWire<wire::RenewSessions> for KeepAlive {
    fn to_wire(&self) -> wire::RenewSessions {
        let Self { sessions } = self;
        let indexes = sessions.iter().map(|session| session.0.index);
        let before = std::iter::once(0).chain(indexes.clone());
        wire::RenewSessions {
            index_steps: indexes.zip(before).map(|(index, before)| index.wrapping_sub(before)).collect(),
            ordinals: sessions.iter().map(|session| session.0.ordinal).collect(),
        }
    }
}

impl FromWire<wire::RenewSessions> for KeepAlive {
    fn from_wire(message: wire::RenewSessions, _: &'static str) -> Result<Self, DecodeError> {
        let wire::RenewSessions { index_steps, ordinals } = message;
        if index_steps.len() != ordinals.len() {
            return Err(DecodeError::Missing("half of a session id"));
        }
        let mut index = 0_u64;
        let sessions = index_steps.into_iter().zip(ordinals).map(|(step, ordinal)| {
            index = index.wrapping_add(step);
            SessionId(Position { index, ordinal })
        });
        Ok(Self { sessions: sessions.collect() })
    }
}

wire_variants! { command_to_wire, command: Command = WireCommand {
    OpenSession = OpenSession,
    KeepAlive = RenewSessions,
    CloseSession = CloseSession,
} }

wire_struct! { SessionOpened = SessionOpened { session, ttl_ms, deadline_ms, opened_wall_ms, principal } }
wire_struct! { SessionClosed = SessionClosed { released_grants, cancelled_waits } }

impl ToWire<wire::SessionsKeptAlive> for KeptAlive {
    fn to_wire(&self) -> wire::SessionsKeptAlive {
        let Self { deadlines_ms } = self;
        let deadline = |deadline_ms: &Option<u64>| wire::SessionDeadline { deadline_ms: *deadline_ms };
        wire::SessionsKeptAlive { deadlines: deadlines_ms.iter().map(deadline).collect() }
    }
}

impl FromWire<wire::SessionsKeptAlive> for KeptAlive {
    fn from_wire(message: wire::SessionsKeptAlive, _: &'static str) -> Result<Self, DecodeError> {
        let wire::SessionsKeptAlive { deadlines } = message;
        let deadline_ms = |wire::SessionDeadline { deadline_ms }| deadline_ms;
        Ok(Self { deadlines_ms: deadlines.into_iter().map(deadline_ms).collect() })
    }
}

wire_variants! { reply_to_wire, reply: Reply = WireReply {
    SessionOpened = SessionOpened,
    KeptAlive = KeptAlive,
    SessionClosed = SessionClosed,
} }

wire_fields! { refusal_to_wire, refusal: Refusal = WireRejection {
    NamespaceMismatch { session, namespace },
} bare {
    SessionNotFound(session),
} }

wire_struct! { Record = SessionRecord {
    session, namespace, ttl_ms, deadline_ms, opened_wall_ms, metadata, window_floor, principal,
} }
