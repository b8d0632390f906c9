//! Bindings: which subject has which role, where, and for how long.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::access::table::Holder;
use crate::access::{Change, End, Pattern, end_principal};
use crate::due::Due;
use crate::id::ParseIdError;
use crate::step::Step;
use crate::{Namespace, Position, PrincipalId, PrincipalName};

/// The id of a binding, written `b-<index>.<ordinal>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BindingId(pub Position);

impl fmt::Display for BindingId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { index, ordinal } = self.0;
        write!(formatter, "b-{index}.{ordinal}")
    }
}

impl FromStr for BindingId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        crate::id::parse(text, "binding", "b-").map(Self)
    }
}

/// The namespaces in which a binding or a key holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Namespaces {
    /// All namespaces, and calls that concern the cluster as a whole.
    #[default]
    All,
    /// Only these namespaces.
    Listed(Vec<Namespace>),
}

impl Namespaces {
    /// The most namespaces in one list.
    pub const LIST_MAX: usize = 64;

    /// Whether the namespace is one of them.
    #[must_use]
    pub fn contain(&self, namespace: &Namespace) -> bool {
        match self {
            Self::All => true,
            Self::Listed(listed) => listed.contains(namespace),
        }
    }

    /// Whether every namespace of `other` is one of them.
    pub(super) fn include(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Listed(_), Self::All) => false,
            (Self::Listed(_), Self::Listed(others)) => others.iter().all(|other| self.contain(other)),
        }
    }
}

/// What happens to the sessions, grants and waits of a subject when its binding ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnEnd {
    /// They stay until their TTLs run out.
    #[default]
    Keep,
    /// They end in the same entry.
    EndSessions,
}

/// A binding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BindingRecord {
    /// The id.
    pub id: BindingId,
    /// Who has the role.
    pub holder: Holder,
    /// The role.
    pub role: PrincipalName,
    /// The namespaces in which it holds.
    pub namespaces: Namespaces,
    /// The names for which it holds; empty = all names of the role.
    pub names: Vec<Pattern>,
    /// The wall clock from which on it holds, in milliseconds since the Unix epoch.
    pub not_before_ms: Option<u64>,
    /// The wall clock at which it ends, in milliseconds since the Unix epoch.
    pub not_after_ms: Option<u64>,
    /// The cluster time at which it ends, in milliseconds.
    pub deadline_ms: Option<u64>,
    /// What happens to sessions when it ends.
    pub on_end: OnEnd,
    /// Why it was made.
    pub reason: String,
    /// Who made it; `None` when a node did, or a caller while access was off.
    pub made_by: Option<PrincipalId>,
}

impl BindingRecord {
    /// Whether it holds at this cluster time and wall time.
    #[must_use]
    pub fn is_live(&self, now_ms: u64, wall_ms: u64) -> bool {
        self.not_before_ms.is_none_or(|not_before_ms| wall_ms >= not_before_ms)
            && self.not_after_ms.is_none_or(|not_after_ms| wall_ms < not_after_ms)
            && self.deadline_ms.is_none_or(|deadline_ms| now_ms < deadline_ms)
    }

    /// Whether it lasts at least as long as a right with this end.
    pub(super) fn outlasts(&self, not_after_ms: Option<u64>) -> bool {
        match (self.not_after_ms, not_after_ms) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(other)) => own >= other,
        }
    }
}

/// Stores a new binding.
pub(super) fn add_binding(step: &mut Step<'_>, record: BindingRecord, by: Option<PrincipalId>) {
    let (binding, role) = (record.id, record.role.clone());
    let subject = step.state.access.subject_of(&record.holder);
    insert_binding(step, record);
    step.state.access.bump();
    step.emit(None, Change::BindingAdded { binding, subject, role, by });
}

pub(super) fn insert_binding(step: &mut Step<'_>, record: BindingRecord) {
    if let Some(deadline_ms) = record.deadline_ms {
        step.state.deadlines.insert((deadline_ms, Due::Binding(record.id)));
    }
    step.state.access.insert_binding(Arc::new(record));
}

/// Ends a binding, if there is one of this id. With [`OnEnd::EndSessions`], the sessions of its subject end too.
pub(super) fn end_binding(step: &mut Step<'_>, binding: BindingId, reason: End, by: Option<PrincipalId>) {
    let Some(record) = step.state.access.remove_binding(binding) else { return };
    if let Some(deadline_ms) = record.deadline_ms {
        step.state.deadlines.remove(&(deadline_ms, Due::Binding(binding)));
    }
    step.state.access.bump();
    let subject = step.state.access.subject_of(&record.holder);
    let role = record.role.clone();
    step.emit(None, Change::BindingEnded { binding, subject, role, reason, by });
    if record.on_end == OnEnd::EndSessions {
        for principal in step.state.access.principals_of(&record.holder) {
            end_principal(step, principal);
        }
    }
}

/// The deadline of a binding has come.
pub(crate) fn binding_due(step: &mut Step<'_>, binding: BindingId) {
    end_binding(step, binding, End::Expired, None);
}
