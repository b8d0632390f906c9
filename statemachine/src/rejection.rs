//! Why a command is refused. A refusal changes nothing except the memory of answers.

use std::borrow::Cow;

use crate::Code;
use crate::jobs::jobs;

macro_rules! rejection {
    ($($Job:ident = $module:ident),*) => {
        /// Why a command is refused: refusals shared by several jobs, and those of each job.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum Rejection {
            /// A field breaks a rule.
            #[error("{field}: {problem}")]
            InvalidArgument {
                /// The field, as the APIs spell it.
                field: Cow<'static, str>,
                /// What is wrong with it, and what would be right.
                problem: String,
            },
            /// A limit of [`crate::Limits`] is reached.
            #[error("limit {limit} reached: {max}; {remedy}")]
            LimitExceeded {
                /// The name of the limit.
                limit: Cow<'static, str>,
                /// The value of the limit.
                max: u64,
                /// What to do.
                remedy: Cow<'static, str>,
            },
            /// The key was used for another request.
            #[error(
                "the idempotency key (or session sequence) was used before for a different request; use a new one"
            )]
            KeyReused,
            /// The sequence fell out of the session's window; the outcome is no longer known.
            #[error("sequence {sequence} is older than the session's window (oldest remembered: {oldest})")]
            SequenceTooOld {
                /// The given sequence.
                sequence: u64,
                /// The oldest remembered sequence.
                oldest: u64,
            },
            $(
                #[doc = concat!("A refusal of [`crate::", stringify!($module), "`].")]
                #[error(transparent)]
                $Job(#[from] crate::$module::Refusal),
            )*
        }

        impl Rejection {
            /// The bytes of its texts that came from requests. The texts of this program do not count, because they may change from build to build.
            pub(crate) fn text_bytes(&self) -> usize {
                match self {
                    Self::InvalidArgument { .. }
                    | Self::LimitExceeded { .. }
                    | Self::KeyReused
                    | Self::SequenceTooOld { .. } => 0,
                    $(Self::$Job(refusal) => refusal.text_bytes(),)*
                }
            }

            /// The stable code of `docs/errors.md`.
            #[must_use]
            pub fn code(&self) -> Code {
                match self {
                    Self::InvalidArgument { .. } => Code::InvalidArgument,
                    Self::LimitExceeded { .. } => Code::LimitExceeded,
                    Self::KeyReused => Code::KeyReused,
                    Self::SequenceTooOld { .. } => Code::SequenceTooOld,
                    $(Self::$Job(refusal) => refusal.code(),)*
                }
            }

            /// Whether the same request may succeed later ([`Code::retryable`]).
            #[must_use]
            pub fn retryable(&self) -> bool {
                self.code().retryable()
            }
        }
    };
}
jobs!(rejection);

/// Makes the refusal of one field.
pub(crate) fn invalid(field: &'static str, problem: impl Into<String>) -> Rejection {
    Rejection::InvalidArgument { field: field.into(), problem: problem.into() }
}
