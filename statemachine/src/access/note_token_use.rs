//! Notes when credentials were used last.

use std::sync::Arc;

use crate::access::AccessChanged;
use crate::access::command::NoteTokenUse;
use crate::step::Step;
use crate::{Actor, Permission, Rejection};

impl NoteTokenUse {
    pub(super) fn apply(&self, step: &mut Step<'_>, actor: &Actor) -> Result<AccessChanged, Rejection> {
        step.state.check_says_node(actor, Permission::AccessKeys)?;
        for noted in &self.uses {
            if let Some(record) = step.state.access.tokens.get_mut(&noted.token)
                && record.last_used_wall_ms.is_none_or(|before| before < noted.used_wall_ms)
            {
                Arc::make_mut(record).last_used_wall_ms = Some(noted.used_wall_ms);
            }
        }
        Ok(AccessChanged)
    }
}
