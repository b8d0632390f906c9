//! What the commands of registers answer, refuse and change.

use crate::job_macros::{job_replies, job_usage};
use crate::{Code, Name, Namespace};

/// The register stands at the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegisterAdvanced {
    /// Its value now.
    pub high_water: u64,
}

/// The register is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegisterDeleted {
    /// Its last value.
    pub high_water: u64,
}

job_replies! {
    Register {
        /// The register stands at the token.
        RegisterAdvanced,
        /// The register is gone.
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
    /// No such register.
    #[error("register {name} does not exist")]
    RegisterNotFound {
        /// Its name.
        name: Name,
    },
}

impl Refusal {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::RegisterNotFound { .. } => Code::RegisterNotFound,
        }
    }

    /// Bytes of the texts it holds.
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::RegisterNotFound { name } => name.as_str().len(),
        }
    }
}

/// The changes of registers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A register rose or was deleted (`high_water` is `None`).
    RegisterChanged {
        /// The register that changed.
        name: Name,
        /// Its value now.
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

/// A high-water register, as snapshots keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its name.
    pub name: Name,
    /// Its value.
    pub high_water: u64,
}
