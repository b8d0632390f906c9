//! Commands, replies, refusals and records of locks as protobuf, and back.

use batuta_proto::internal as wire;
use batuta_proto::internal::grant_ref::By as RefBy;
use batuta_proto::internal::image_record::Record as WireRecord;
use batuta_proto::internal::rejection::Rejection as WireRejection;
use batuta_proto::internal::release::By as WireBy;
use batuta_proto::internal::reply::Reply as WireReply;
use batuta_proto::internal::request::Command as WireCommand;
use batuta_statemachine::lock::{
    Acquire, Acquired, By, CancelScope, CancelWait, Command, Downgrade, Downgraded, Extend, Extended,
    ForceRelease, Grant, GrantRef, LockRequest, MetadataSet, Mode, Owner, OwnerRecord, Record, Refusal,
    Release, ReleaseReason, Released, Reply, Resize, Resized, ServingCall, SetMetadata, Wait, WaitCancelled,
    WaitEnd, WaitRecord, WaitsWithdrawn, WithdrawWaits,
};
use batuta_statemachine::session::SessionEnd;

use super::DecodeError;
use super::wire::{Claimed, FromWire, ToWire, wire_fields, wire_message, wire_struct, wire_variants};

wire_struct! { Owner = Owner { session, label } }
wire_struct! { OwnerRecord = OwnerRecord { session, label, principal } }
wire_struct! { ServingCall = ServingCall { node_id, boot_id, number } }

impl ToWire<wire::LockRequest> for LockRequest {
    fn to_wire(&self) -> wire::LockRequest {
        let Self { name, mode } = self;
        let (mode, permits, capacity) = match *mode {
            Mode::Exclusive => (wire::LockMode::Exclusive, 0, 0),
            Mode::Shared => (wire::LockMode::Shared, 0, 0),
            Mode::Semaphore { permits, capacity } => (wire::LockMode::Semaphore, permits, capacity),
            Mode::Election => (wire::LockMode::Election, 0, 0),
        };
        wire::LockRequest { name: name.to_wire(), mode: mode.into(), permits, capacity }
    }
}

impl FromWire<wire::LockRequest> for LockRequest {
    fn from_wire(request: wire::LockRequest, _: &'static str) -> Result<Self, DecodeError> {
        let wire::LockRequest { name, mode, permits, capacity } = request;
        let mode = match wire::LockMode::try_from(mode) {
            Ok(wire::LockMode::Exclusive) => Mode::Exclusive,
            Ok(wire::LockMode::Shared) => Mode::Shared,
            Ok(wire::LockMode::Semaphore) => Mode::Semaphore { permits, capacity },
            Ok(wire::LockMode::Election) => Mode::Election,
            Ok(wire::LockMode::Unspecified) | Err(_) => return Err(DecodeError::Unknown("lock mode")),
        };
        Ok(Self { name: FromWire::from_wire(name, "name")?, mode })
    }
}

wire_struct! { Acquire = Acquire {
    namespace, requests, owner, ttl_ms, wait_ms, lock_delay_ms, reentrant, metadata, call,
} }
wire_struct! { CancelWait = CancelWait { lock_id, call, namespace, scope } }
wire_struct! { WithdrawWaits = WithdrawWaits { node_id, except_boot } }
wire_struct! { Extend = Extend { namespace, lock_id, name, ttl_ms } }
wire_struct! { ForceRelease = ForceRelease { namespace, name, token, reason } }

impl ToWire<i32> for CancelScope {
    fn to_wire(&self) -> i32 {
        match self {
            Self::Wait => wire::CancelScope::Wait,
            Self::WaitOrGrant => wire::CancelScope::WaitOrGrant,
            Self::Call => wire::CancelScope::Call,
        }
        .into()
    }
}

impl FromWire<i32> for CancelScope {
    fn from_wire(scope: i32, _: &'static str) -> Result<Self, DecodeError> {
        match wire::CancelScope::try_from(scope) {
            Ok(wire::CancelScope::Wait) => Ok(Self::Wait),
            Ok(wire::CancelScope::WaitOrGrant) => Ok(Self::WaitOrGrant),
            Ok(wire::CancelScope::Call) => Ok(Self::Call),
            Ok(wire::CancelScope::Unspecified) | Err(_) => {
                Err(DecodeError::Unknown("scope of a cancellation"))
            }
        }
    }
}

impl ToWire<wire::GrantRef> for GrantRef {
    fn to_wire(&self) -> wire::GrantRef {
        let Self { by, session } = self;
        let (by, name) = match by {
            By::Id { lock_id, name } => (RefBy::LockId(lock_id.to_wire()), name.to_wire()),
            By::Token { name, token } => (RefBy::Token(*token), Some(name.to_wire())),
            By::Leader { name, token } => (RefBy::LeaderToken(*token), Some(name.to_wire())),
        };
        wire::GrantRef { by: Some(by), name, session: session.to_wire() }
    }
}

impl FromWire<wire::GrantRef> for GrantRef {
    fn from_wire(message: wire::GrantRef, _: &'static str) -> Result<Self, DecodeError> {
        let wire::GrantRef { by, name, session } = message;
        let named = |name: Option<String>| match name {
            Some(name) => FromWire::from_wire(name, "name"),
            None => Err(DecodeError::Missing("the name of a lock")),
        };
        let by = match by.ok_or(DecodeError::Unknown("way to name a grant"))? {
            RefBy::LockId(id) => By::Id {
                lock_id: FromWire::from_wire(id, "lock_id")?,
                name: FromWire::from_wire(name, "name")?,
            },
            RefBy::Token(token) => By::Token { name: named(name)?, token },
            RefBy::LeaderToken(token) => By::Leader { name: named(name)?, token },
        };
        Ok(Self { by, session: FromWire::from_wire(session, "session")? })
    }
}

wire_message! { GrantRef = GrantRef }

// Flat, because entries of format 1 are.
impl ToWire<wire::Release> for Release {
    fn to_wire(&self) -> wire::Release {
        let Self { namespace, grant } = self;
        let wire::GrantRef { by, name, session } = grant.to_wire();
        let by = by.map(|by| match by {
            RefBy::LockId(id) => WireBy::LockId(id),
            RefBy::Token(token) => WireBy::Token(token),
            RefBy::LeaderToken(token) => WireBy::LeaderToken(token),
        });
        wire::Release { namespace: namespace.to_wire(), name, by, session }
    }
}

impl FromWire<wire::Release> for Release {
    fn from_wire(message: wire::Release, field: &'static str) -> Result<Self, DecodeError> {
        let wire::Release { namespace, name, by, session } = message;
        let by = by.map(|by| match by {
            WireBy::LockId(id) => RefBy::LockId(id),
            WireBy::Token(token) => RefBy::Token(token),
            WireBy::LeaderToken(token) => RefBy::LeaderToken(token),
        });
        Ok(Self {
            namespace: FromWire::from_wire(namespace, "namespace")?,
            grant: FromWire::from_wire(wire::GrantRef { by, name, session }, field)?,
        })
    }
}

wire_struct! { Downgrade = Downgrade { namespace, grant } }
wire_struct! { SetMetadata = SetMetadata { namespace, grant, metadata } }
wire_struct! { Resize = Resize { namespace, name, capacity } }

wire_variants! { command_to_wire, command: Command = WireCommand {
    Acquire = Acquire,
    CancelWait = CancelWait,
    WithdrawWaits = WithdrawWaits,
    Release = Release,
    Extend = Extend,
    ForceRelease = ForceRelease,
    Downgrade = Downgrade,
    SetMetadata = SetMetadata,
    Resize = Resize,
} }

wire_struct! { Grant = Grant {
    lock_id, namespace, requests, owner, token, count, granted_revision, granted_wall_ms, ttl_ms, deadline_ms,
    lock_delay_ms, metadata,
} }
wire_struct! { Wait = Queued { lock_id, namespace, requests, owner, deadline_ms, queue_position } }
wire_struct! { Released = Released { lock_id, token, remaining_count } }
wire_struct! { Resized = Resized { name, capacity, permits_held } }

pub(super) fn reply_to_wire(reply: &Reply) -> WireReply {
    match reply {
        Reply::Acquired(Acquired::Granted(grant)) => WireReply::Granted(grant.to_wire()),
        Reply::Acquired(Acquired::Queued(wait)) => WireReply::Queued(wait.to_wire()),
        Reply::WaitCancelled(WaitCancelled { lock_id }) => WireReply::WaitCancelled(lock_id.to_wire()),
        Reply::WaitsWithdrawn(WaitsWithdrawn { waits }) => WireReply::WaitsWithdrawn(*waits),
        Reply::Released(released) => WireReply::Released(released.to_wire()),
        Reply::Extended(Extended { grant }) => WireReply::Extended(grant.to_wire()),
        Reply::Downgraded(Downgraded { grant }) => WireReply::Downgraded(grant.to_wire()),
        Reply::MetadataSet(MetadataSet { grant }) => WireReply::MetadataSet(grant.to_wire()),
        Reply::Resized(resized) => WireReply::Resized(resized.to_wire()),
    }
}

pub(super) fn reply(reply: WireReply) -> Claimed<Reply, WireReply> {
    Claimed::Here(match reply {
        WireReply::Granted(grant) => {
            FromWire::from_wire(grant, "grant").map(|grant| Reply::Acquired(Acquired::Granted(grant)))
        }
        WireReply::Queued(wait) => {
            FromWire::from_wire(wait, "wait").map(|wait| Reply::Acquired(Acquired::Queued(wait)))
        }
        WireReply::WaitCancelled(id) => {
            FromWire::from_wire(id, "lock_id").map(|lock_id| Reply::WaitCancelled(WaitCancelled { lock_id }))
        }
        WireReply::WaitsWithdrawn(waits) => Ok(Reply::WaitsWithdrawn(WaitsWithdrawn { waits })),
        WireReply::Released(released) => FromWire::from_wire(released, "released").map(Reply::Released),
        WireReply::Extended(grant) => {
            FromWire::from_wire(grant, "grant").map(|grant| Reply::Extended(Extended { grant }))
        }
        WireReply::Downgraded(grant) => {
            FromWire::from_wire(grant, "grant").map(|grant| Reply::Downgraded(Downgraded { grant }))
        }
        WireReply::MetadataSet(grant) => {
            FromWire::from_wire(grant, "grant").map(|grant| Reply::MetadataSet(MetadataSet { grant }))
        }
        WireReply::Resized(resized) => FromWire::from_wire(resized, "resized").map(Reply::Resized),
        other => return Claimed::Elsewhere(other),
    })
}

wire_message! { ReleaseReason = ReleaseReason }

impl ToWire<wire::ReleaseReason> for ReleaseReason {
    fn to_wire(&self) -> wire::ReleaseReason {
        let (kind, words) = match self {
            Self::Released => (wire::EndKind::Released, ""),
            Self::Expired => (wire::EndKind::Expired, ""),
            Self::SessionEnded(SessionEnd::Closed) => (wire::EndKind::SessionClosed, ""),
            Self::SessionEnded(SessionEnd::Expired) => (wire::EndKind::SessionExpired, ""),
            Self::Forced { reason } => (wire::EndKind::Forced, reason.as_str()),
        };
        wire::ReleaseReason { kind: kind.into(), words: words.to_owned() }
    }
}

impl FromWire<wire::ReleaseReason> for ReleaseReason {
    fn from_wire(message: wire::ReleaseReason, _: &'static str) -> Result<Self, DecodeError> {
        Ok(match message.kind() {
            wire::EndKind::Released => Self::Released,
            wire::EndKind::Expired => Self::Expired,
            wire::EndKind::SessionClosed => Self::SessionEnded(SessionEnd::Closed),
            wire::EndKind::SessionExpired => Self::SessionEnded(SessionEnd::Expired),
            wire::EndKind::Forced => Self::Forced { reason: message.words },
            wire::EndKind::Unspecified
            | wire::EndKind::TimedOut
            | wire::EndKind::Cancelled
            | wire::EndKind::NodeLost
            | wire::EndKind::Denied => return Err(DecodeError::Unknown("end of a grant")),
        })
    }
}

wire_message! { WaitEnd = WaitEnd }

impl ToWire<wire::WaitEnd> for WaitEnd {
    fn to_wire(&self) -> wire::WaitEnd {
        let kind = match self {
            Self::TimedOut => wire::EndKind::TimedOut,
            Self::Cancelled => wire::EndKind::Cancelled,
            Self::SessionEnded(SessionEnd::Closed) => wire::EndKind::SessionClosed,
            Self::SessionEnded(SessionEnd::Expired) => wire::EndKind::SessionExpired,
            Self::NodeLost => wire::EndKind::NodeLost,
            Self::Denied => wire::EndKind::Denied,
        };
        wire::WaitEnd { kind: kind.into() }
    }
}

impl FromWire<wire::WaitEnd> for WaitEnd {
    fn from_wire(message: wire::WaitEnd, _: &'static str) -> Result<Self, DecodeError> {
        Ok(match message.kind() {
            wire::EndKind::TimedOut => Self::TimedOut,
            wire::EndKind::Cancelled => Self::Cancelled,
            wire::EndKind::SessionClosed => Self::SessionEnded(SessionEnd::Closed),
            wire::EndKind::SessionExpired => Self::SessionEnded(SessionEnd::Expired),
            wire::EndKind::NodeLost => Self::NodeLost,
            wire::EndKind::Denied => Self::Denied,
            wire::EndKind::Unspecified
            | wire::EndKind::Released
            | wire::EndKind::Expired
            | wire::EndKind::Forced => return Err(DecodeError::Unknown("end of a wait")),
        })
    }
}

wire_fields! { refusal_to_wire, refusal: Refusal = WireRejection {
    LockHeld { name, holder_tokens, waiters },
    LockDelayed { name, remaining_ms },
    AlreadyGranted { lock_id, token },
    GrantEnded { lock_id, reason },
    WaitEnded { lock_id, reason },
    Deadlock { cycle },
    ModeMismatch { name, actual },
    CapacityMismatch { name, actual },
    OwnedBySession { lock_id, session },
    NotOwner { lock_id, session },
    TokenSuperseded { token, newest },
} bare {
    LockNotHeld(lock_id),
    ForeignLock(lock_id),
    NotInUse(name),
} }

pub(super) fn record_to_wire(record: &Record) -> WireRecord {
    match record {
        Record::Grant(grant) => WireRecord::Grant(grant.to_wire()),
        Record::Wait { lock_id, wait } => {
            let WaitRecord {
                namespace,
                requests,
                owner,
                ttl_ms,
                lock_delay_ms,
                metadata,
                deadline_ms,
                calls,
                actor,
            } = wait;
            WireRecord::Wait(wire::WaitRecord {
                lock_id: lock_id.to_wire(),
                namespace: namespace.to_wire(),
                requests: requests.to_wire(),
                owner: owner.to_wire(),
                ttl_ms: *ttl_ms,
                lock_delay_ms: *lock_delay_ms,
                metadata: metadata.clone(),
                deadline_ms: *deadline_ms,
                calls: calls.to_wire(),
                actor: actor.to_wire(),
            })
        }
        Record::Unconfirmed { lock_id, calls, at_ms } => WireRecord::Unconfirmed(wire::UnconfirmedRecord {
            lock_id: lock_id.to_wire(),
            calls: calls.to_wire(),
            at_ms: *at_ms,
        }),
        Record::Delay { namespace, name, capacity, election, until_ms } => {
            WireRecord::Delay(wire::DelayRecord {
                namespace: namespace.to_wire(),
                name: name.to_wire(),
                capacity: *capacity,
                election: *election,
                until_ms: *until_ms,
            })
        }
    }
}

pub(super) fn record(record: WireRecord) -> Claimed<Record, WireRecord> {
    Claimed::Here(match record {
        WireRecord::Grant(grant) => FromWire::from_wire(grant, "grant").map(Record::Grant),
        WireRecord::Wait(record) => wait(record),
        WireRecord::Unconfirmed(wire::UnconfirmedRecord { lock_id, calls, at_ms }) => (|| {
            let lock_id = FromWire::from_wire(lock_id, "lock_id")?;
            Ok(Record::Unconfirmed { lock_id, calls: FromWire::from_wire(calls, "calls")?, at_ms })
        })(),
        WireRecord::Delay(wire::DelayRecord { namespace, name, capacity, election, until_ms }) => (|| {
            let namespace = FromWire::from_wire(namespace, "namespace")?;
            let name = FromWire::from_wire(name, "name")?;
            Ok(Record::Delay { namespace, name, capacity, election, until_ms })
        })(
        ),
        other => return Claimed::Elsewhere(other),
    })
}

fn wait(record: wire::WaitRecord) -> Result<Record, DecodeError> {
    let wire::WaitRecord {
        lock_id,
        namespace,
        requests,
        owner,
        ttl_ms,
        lock_delay_ms,
        metadata,
        deadline_ms,
        calls,
        actor,
    } = record;
    let wait = WaitRecord {
        namespace: FromWire::from_wire(namespace, "namespace")?,
        requests: FromWire::from_wire(requests, "requests")?,
        owner: FromWire::from_wire(owner, "owner")?,
        actor: FromWire::from_wire(actor, "actor")?,
        ttl_ms,
        lock_delay_ms,
        metadata,
        deadline_ms,
        calls: FromWire::from_wire(calls, "calls")?,
    };
    Ok(Record::Wait { lock_id: FromWire::from_wire(lock_id, "lock_id")?, wait })
}
