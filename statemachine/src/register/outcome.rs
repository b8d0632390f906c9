//! The replies, refusals and changes of registers.

use crate::job_macros::{job_replies, job_usage};
use crate::{Code, Name, Namespace};

/// The register has the value of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegisterAdvanced {
    /// The value of the register after the change.
    pub high_water: u64,
}

/// The register was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegisterDeleted {
    /// The last value of the register.
    pub high_water: u64,
}

job_replies! {
    Register {
        /// The register has the value of the token.
        RegisterAdvanced,
        /// The register was deleted.
        RegisterDeleted,
    }
}

impl Reply {
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::RegisterAdvanced(_) | Self::RegisterDeleted(_) => 0,
        }
    }
}

job_usage! {
    /// High-water registers.
    registers,
}

/// Why a command of registers is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The register does not exist.
    #[error("register {name} does not exist")]
    RegisterNotFound {
        /// The name of the register.
        name: Name,
    },
}

impl Refusal {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::RegisterNotFound { .. } => Code::RegisterNotFound,
        }
    }

    /// The bytes of its texts.
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::RegisterNotFound { name } => name.as_str().len(),
        }
    }
}

/// The changes of registers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A register was advanced, or deleted (`high_water` is `None`).
    RegisterChanged {
        /// The register that changed.
        name: Name,
        /// The value of the register after the change.
        high_water: Option<u64>,
    },
}

impl Change {
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::RegisterChanged { name, .. } => name.as_str().len(),
        }
    }
}

/// A high-water register, as snapshots store it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The namespace of the register.
    pub namespace: Namespace,
    /// The name of the register.
    pub name: Name,
    /// The value of the register.
    pub high_water: u64,
}
