//! The commands of registers.

use crate::job_macros::job_commands;
use crate::register::{RegisterAdvanced, RegisterDeleted};
use crate::{Name, Namespace};

/// Advances a high-water register to `token`, for resources that cannot store a token themselves.
/// Reply: [`RegisterAdvanced`]; refused with `token_superseded` when the register is already higher, and
/// with `invalid_argument` when the cluster never issued such a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvanceRegister {
    /// The namespace of the register.
    pub namespace: Namespace,
    /// The register (by convention the name of the resource).
    pub name: Name,
    /// The token that a writer presented to the resource.
    pub token: u64,
}

/// Deletes a register. Reply: [`RegisterDeleted`]; refused with `register_not_found`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRegister {
    /// The namespace of the register.
    pub namespace: Namespace,
    /// The register.
    pub name: Name,
}

job_commands! {
    Register {
        /// Advances a register.
        AdvanceRegister => RegisterAdvanced,
        /// Deletes a register.
        DeleteRegister => RegisterDeleted,
    }
}
