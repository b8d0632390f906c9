//! Bounds the size of answers.
//!
//! Lists, pages and the items of a stream are bounded in number and in bytes; the rest comes with the next page or item.
//! Invariant: an answer weighs at most [`ANSWER_BYTES`], or consists of one object that weighs more. The ranges of the limits
//! keep any object below 2.5 MiB, so no answer comes near the 4 MiB of a gRPC message.
//!
//! A weight is an upper bound of the size of an object over gRPC, and of its JSON if no character needs an escape.

use batuta_statemachine::access::{Namespaces, Pattern, Rule};
use batuta_statemachine::lock::{Blocker, Grant, LockRequest, LockView, Wait, WaiterExplanation};
use batuta_statemachine::session::SessionView;
use batuta_statemachine::{Name, Namespace, PrincipalName};

use super::access::{BindingView, CredentialView, GroupView, PrincipalView, RoleView};
use super::watch::{Event, Facts};
use crate::access::report::Missing;

/// The most that the objects of one answer weigh, in bytes.
pub const ANSWER_BYTES: usize = 256 << 10;

/// Weight of an object without its names and free texts.
const OBJECT_BYTES: usize = 640;
/// Weight of one text in a list without the text itself.
const TEXT_BYTES: usize = 16;
/// Weight of one lock of an acquisition without the name itself.
const NAME_BYTES: usize = 80;

/// The remaining room for objects of one answer. The first object always fits, because an empty answer would make no progress.
#[derive(Debug)]
pub(crate) struct Room {
    left: usize,
    empty: bool,
}

impl Room {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { left: bytes, empty: true }
    }

    /// Takes room for an object; `false` when the object must go into the next answer.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let fits = self.empty || bytes <= self.left;
        if fits {
            self.empty = false;
            self.left = self.left.saturating_sub(bytes);
        }
        fits
    }
}

/// Keeps the items that fit into one answer: at most `max` items that weigh at most `bytes`. Returns whether items were left out.
pub(crate) fn keep<T>(items: &mut Vec<T>, max: usize, bytes: usize, weight: impl Fn(&T) -> usize) -> bool {
    let mut room = Room::new(bytes);
    let kept = items.iter().take(max).take_while(|item| room.take(weight(item))).count();
    let more = kept < items.len();
    items.truncate(kept);
    more
}

pub(crate) fn grant(grant: &Grant) -> usize {
    OBJECT_BYTES + requests(&grant.requests) + grant.owner.label.len() + grant.metadata.len()
}

pub(crate) fn waiter(waiter: &Wait) -> usize {
    OBJECT_BYTES + requests(&waiter.requests) + waiter.owner.label.len()
}

pub(crate) fn session(session: &SessionView) -> usize {
    OBJECT_BYTES + session.metadata.len()
}

pub(crate) fn principal(view: &PrincipalView) -> usize {
    OBJECT_BYTES + view.record.description.len() + texts(&view.groups, PrincipalName::as_str)
}

pub(crate) fn group(view: &GroupView) -> usize {
    OBJECT_BYTES + view.members.len() * (TEXT_BYTES + "service/".len() + PrincipalName::BYTES_MAX)
}

pub(crate) fn role(view: &RoleView) -> usize {
    let rules = view.record.rules.iter();
    let rule = |rule: &Rule| {
        TEXT_BYTES
            + rule.permissions.iter().map(|permission| TEXT_BYTES + permission.as_str().len()).sum::<usize>()
            + texts(&rule.names, Pattern::as_str)
    };
    OBJECT_BYTES + rules.map(rule).sum::<usize>()
}

pub(crate) fn binding(view: &BindingView) -> usize {
    let record = &view.record;
    OBJECT_BYTES + record.reason.len() + places(&record.namespaces) + texts(&record.names, Pattern::as_str)
}

pub(crate) fn credential(view: &CredentialView) -> usize {
    let narrowed = view.record.narrowing.as_ref().map_or(0, |narrowing| {
        texts(&narrowing.roles, PrincipalName::as_str)
            + places(&narrowing.namespaces)
            + texts(&narrowing.names, Pattern::as_str)
    });
    OBJECT_BYTES + view.record.label.len() + narrowed
}

pub(crate) fn missing(missing: &Missing) -> usize {
    let texts = [missing.principal.as_str(), missing.permission.as_str(), missing.namespace.as_str()];
    let names = missing.names.as_ref().map_or(0, String::len);
    // With the keys of the fields in JSON.
    96 + names + texts.iter().map(|text| text.len()).sum::<usize>()
}

fn places(namespaces: &Namespaces) -> usize {
    match namespaces {
        Namespaces::All => TEXT_BYTES,
        Namespaces::Listed(listed) => texts(listed, Namespace::as_str),
    }
}

fn texts<T>(texts: &[T], text: impl Fn(&T) -> &str) -> usize {
    texts.iter().map(|item| TEXT_BYTES + text(item).len()).sum()
}

pub(crate) fn register(name: &Name) -> usize {
    NAME_BYTES + name.as_str().len()
}

pub(crate) fn lock(lock: &LockView) -> usize {
    let holders: usize = lock.holders.iter().map(|held| grant(held)).sum();
    let waiters: usize = lock.waiters.iter().map(waiter).sum();
    OBJECT_BYTES + lock.name.as_str().len() + holders + waiters
}

pub(crate) fn explanation(explained: &WaiterExplanation) -> usize {
    waiter(&explained.wait) + explained.blockers.iter().map(blocker).sum::<usize>()
}

pub(crate) fn event(event: &Event) -> usize {
    let facts = match &event.facts {
        Facts::SessionOpened { metadata, .. } => metadata.len(),
        Facts::Grant { grant: held, words } => grant(held) + words.as_ref().map_or(0, String::len),
        Facts::Wait(wait) => waiter(wait),
        Facts::Register { name, .. } | Facts::Capacity { name, .. } => register(name),
        Facts::Access(facts) => facts.text_bytes(),
        Facts::Node { node_name, .. } => node_name.len(),
        Facts::Level { version, .. } => version.len(),
        Facts::SessionEnded | Facts::Cluster => 0,
    };
    OBJECT_BYTES + facts
}

fn requests(requests: &[LockRequest]) -> usize {
    let names: usize = requests.iter().map(|request| NAME_BYTES + request.name.as_str().len()).sum();
    // JSON and GraphQL contain the name of a single lock twice.
    names + if let [single] = requests { single.name.as_str().len() } else { 0 }
}

fn blocker(blocker: &Blocker) -> usize {
    let waits_for: usize = blocker.waits_for.iter().map(|name| NAME_BYTES + name.as_str().len()).sum();
    OBJECT_BYTES + blocker.name.as_str().len() + blocker.owner.label.len() + waits_for
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_item_fits_whatever_it_weighs() {
        let kept = |weights: &[usize], max| {
            let mut items = weights.to_vec();
            let more = keep(&mut items, max, 10, |weight| *weight);
            (items.len(), more)
        };
        assert_eq!(kept(&[], 5), (0, false));
        assert_eq!(kept(&[4, 6], 5), (2, false));
        assert_eq!(kept(&[4, 6, 1], 5), (2, true));
        assert_eq!(kept(&[11, 1], 5), (1, true));
        assert_eq!(kept(&[1, 1, 1], 2), (2, true), "the number is bounded too");
    }
}
