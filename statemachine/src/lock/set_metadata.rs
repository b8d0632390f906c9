//! Replacing the text of a grant.

use std::sync::Arc;

use crate::Rejection;
use crate::lock::{Change, MetadataSet, SetMetadata};
use crate::step::Step;

impl SetMetadata {
    pub(super) fn apply(&self, step: &mut Step<'_>) -> Result<MetadataSet, Rejection> {
        step.state.check_metadata(&self.metadata)?;
        let mut grant = step.state.named_grant(&step.actor, &self.namespace, &self.grant)?;
        if *grant.metadata == *self.metadata {
            return Ok(MetadataSet { grant });
        }
        Arc::make_mut(&mut grant).metadata = self.metadata.as_str().into();
        step.state.lock.grants.insert(grant.lock_id, Arc::clone(&grant));
        step.emit(Some(&self.namespace), Change::LockChanged(Arc::clone(&grant)));
        Ok(MetadataSet { grant })
    }
}
