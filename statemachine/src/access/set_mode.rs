//! Sets the mode of access.

use crate::access::command::SetMode;
use crate::access::job::by;
use crate::access::{AccessChanged, Change, Refusal};
use crate::step::Step;
use crate::{Actor, Permission, Rejection};

/// Whether access is enforced. Calls of access itself are enforced from the first administrator on, whatever the mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Everybody may do everything, and nobody is asked who it is.
    #[default]
    Off,
    /// Everybody may do everything; what would be refused is counted.
    Observe,
    /// A caller may do what its bindings give.
    Enforce,
}

impl Mode {
    /// All modes, least strict first.
    pub const ALL: [Self; 3] = [Self::Off, Self::Observe, Self::Enforce];

    /// The word that APIs and changes use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

impl SetMode {
    pub(super) fn apply(&self, step: &mut Step<'_>, actor: &Actor) -> Result<AccessChanged, Rejection> {
        let state = &mut *step.state;
        state.may(actor, Permission::AccessMode)?;
        let mode = self.mode;
        if mode == Mode::Enforce && !state.access.has_admin(state.now_ms, state.wall_ms, true) {
            return Err(Refusal::LastAdmin.into());
        }
        if state.access.mode != mode {
            state.access.mode = mode;
            state.access.bump();
            step.emit(None, Change::AccessModeChanged { mode, by: by(actor) });
        }
        Ok(AccessChanged)
    }
}
