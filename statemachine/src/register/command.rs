//! The commands of registers.

use crate::job_macros::job_commands;
use crate::register::{RegisterAdvanced, RegisterDeleted};
use crate::{Name, Namespace};

/// Raises a high-water register to `token`, for resources that cannot store one themselves.
/// Reply: [`RegisterAdvanced`]; refused with `token_superseded` when the register is already higher, and
/// with `invalid_argument` when the cluster never gave out such a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvanceRegister {
    /// Where the register lives.
    pub namespace: Namespace,
    /// The register (by convention the name of the resource).
    pub name: Name,
    /// The token a writer presented to the resource.
    pub token: u64,
}

/// Forgets a register. Reply: [`RegisterDeleted`]; refused with `register_not_found`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRegister {
    /// Where the register lives.
    pub namespace: Namespace,
    /// The register.
    pub name: Name,
}

job_commands! {
    Register {
        /// Raises a register.
        AdvanceRegister => RegisterAdvanced,
        /// Forgets a register.
        DeleteRegister => RegisterDeleted,
    }
}
