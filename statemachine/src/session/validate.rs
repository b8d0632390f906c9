//! Checks the invariants of sessions.

use crate::ensure::ensure;
use crate::session::Owned;
use crate::{LockId, Namespace, PrincipalId, SessionId, State};

impl State {
    pub(crate) fn validate_sessions(&self) -> Result<(), String> {
        let mut listed: Vec<(Namespace, SessionId)> =
            self.session.by_id.iter().map(|(session, record)| (record.namespace.clone(), *session)).collect();
        listed.sort_unstable();
        ensure!(self.session.by_namespace.iter().eq(listed.iter()), "namespaces list other sessions");
        let mut named: Vec<(PrincipalId, SessionId)> =
            self.session.by_id.iter().map(|(session, record)| (record.principal, *session)).collect();
        named.retain(|(principal, _)| *principal != PrincipalId::ANONYMOUS);
        named.sort_unstable();
        ensure!(self.session.owners.iter().eq(named.iter()), "principals own other sessions");
        for (session, record) in &self.session.by_id {
            let own = |lock_id: &LockId| {
                let owner = self.owner_of(*lock_id);
                owner.is_some_and(|owner| {
                    owner.session == Some(*session) && owner.principal == record.principal
                })
            };
            let Owned { waits, grants } = &record.owned;
            ensure!(
                grants.iter().all(|id| own(id) && self.lock.is_held(*id)),
                "{session}: owns a grant that is not its own"
            );
            ensure!(
                waits.iter().all(|id| own(id) && !self.lock.is_held(*id)),
                "{session}: owns a wait that is not its own"
            );
            let oldest = record.window.answers.get_min().map_or(u64::MAX, |(oldest, _)| *oldest);
            ensure!(oldest >= record.window.floor, "{session}: remembers {oldest}, below its window");
        }
        Ok(())
    }
}
