//! Ends what a principal owns, when it is suspended or deleted, or loses a binding that says so.

use crate::PrincipalId;
use crate::lock::{ReleaseReason, WaitEnd, end_grant, end_wait};
use crate::session::{SessionEnd, end_session};
use crate::step::Step;

/// The reason of forced releases, for watchers and for the audit.
const REASON: &str = "its principal lost its access";

/// Ends everything that a principal owns: its waits without a session, its grants without a session, then its sessions with all that they
/// own. Its processes may still be working, so its locks stay closed for their lock-delay. What nobody owns is left alone.
/// Callers change the policy first: otherwise a lock that is released here could be granted to the same principal again.
pub(crate) fn end_principal(step: &mut Step<'_>, principal: PrincipalId) {
    let (waits, grants) = step.state.lock.one_shots_of(principal);
    for lock_id in waits {
        end_wait(step, lock_id, WaitEnd::Denied);
    }
    for lock_id in grants {
        end_grant(step, lock_id, ReleaseReason::Forced { reason: REASON.to_owned() });
    }
    for session in step.state.session.of_principal(principal) {
        end_session(step, session, SessionEnd::Closed, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Job as _;
    use crate::lock::{Acquire, LockRequest, Mode, Owner};
    use crate::session::OpenSession;
    use crate::{
        Actor, ChangeKind, Command, Entry, LockId, Name, Namespace, Position, Request, SessionId, Stamp,
        State, lock, session,
    };

    fn principal(index: u64) -> PrincipalId {
        PrincipalId(Position { index, ordinal: 7 })
    }

    fn apply(state: &mut State, principal: PrincipalId, command: impl Into<Command>) -> Position {
        let request = Request::new(None, command).by(Actor::Caller { principal, credential: None });
        let index = state.revision() + 1;
        let applied =
            state.apply(index, &Entry { stamp: Stamp { now_ms: 1, wall_ms: 1 }, requests: vec![request] });
        assert!(applied.outcomes.iter().all(Result::is_ok), "{applied:?}");
        Position { index, ordinal: 0 }
    }

    fn acquire(name: &str, session: Option<SessionId>) -> Acquire {
        Acquire {
            namespace: Namespace::default(),
            requests: vec![LockRequest { name: Name::new(name).unwrap(), mode: Mode::Exclusive }],
            owner: Owner { session, label: String::new() },
            ttl_ms: session.is_none().then_some(60_000),
            wait_ms: 30_000,
            lock_delay_ms: 500,
            reentrant: false,
            metadata: String::new(),
            call: None,
        }
    }

    #[test]
    fn everything_of_a_principal_ends_and_nothing_of_another() {
        let (mut state, mine, other) = (State::default(), principal(1), principal(2));
        let open = OpenSession { namespace: Namespace::default(), ttl_ms: 60_000, metadata: String::new() };
        let session = SessionId(apply(&mut state, mine, open.clone()));
        let kept = SessionId(apply(&mut state, other, open));
        let one_shot = LockId(apply(&mut state, mine, acquire("a", None)));
        let next = LockId(apply(&mut state, other, acquire("a", None)));
        let behind = LockId(apply(&mut state, mine, acquire("a", None)));
        let held = LockId(apply(&mut state, mine, acquire("b", Some(session))));
        let theirs = LockId(apply(&mut state, other, acquire("c", Some(kept))));
        let mut step = Step::new(&mut state);
        end_principal(&mut step, mine);
        lock::Lock::settle(&mut step);
        let told: Vec<String> = step
            .into_changes()
            .into_iter()
            .map(|change| match change.kind {
                ChangeKind::Lock(lock::Change::WaitEnded { wait, reason }) => {
                    format!("{} {}", wait.lock_id, reason.as_str())
                }
                ChangeKind::Lock(lock::Change::LockReleased { grant, reason }) => {
                    format!("{} {}", grant.lock_id, reason.as_str())
                }
                ChangeKind::Session(session::Change::SessionEnded { session, reason }) => {
                    format!("{session} {}", reason.as_str())
                }
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = [
            format!("{behind} permission_denied"),
            format!("{one_shot} forced"),
            format!("{held} session_closed"),
            format!("{session} closed"),
        ];
        assert_eq!(told, expected);
        state.validate().unwrap();
        assert!(state.session(kept).is_some() && state.grant(theirs).is_some());
        assert!(state.wait(next).is_some(), "the lock stays closed for its lock-delay");
        let before = state.hash();
        end_principal(&mut Step::new(&mut state), mine);
        end_principal(&mut Step::new(&mut state), PrincipalId::ANONYMOUS);
        assert_eq!(state.hash(), before);
    }
}
