//! The one list of jobs, and what is made of it: a new job is a folder and a line here.

use crate::{cluster, lock, register, session};

/// Hands the list of jobs to a macro: each job's name and its module. What holds for all jobs is done in this order.
macro_rules! jobs {
    ($callback:ident) => {
        $callback! { Session = session, Lock = lock, Register = register, Cluster = cluster }
    };
}
pub(crate) use jobs;

macro_rules! enums {
    ($($Job:ident = $module:ident),*) => {
        /// Everything that can be asked of the state, by job.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Command {
            $(#[doc = concat!("See [`", stringify!($module), "`].")] $Job($module::Command),)*
        }

        /// The answer of a command that was not refused, by job.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum Reply {
            $(#[doc = concat!("See [`", stringify!($module), "`].")] $Job($module::Reply),)*
        }

        /// The kinds of change, by job.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum ChangeKind {
            $(#[doc = concat!("See [`", stringify!($module), "`].")] $Job($module::Change),)*
        }

        impl ChangeKind {
            /// Bytes of the texts it holds.
            pub(crate) fn text_bytes(&self) -> usize {
                match self {
                    $(Self::$Job(change) => change.text_bytes(),)*
                }
            }
        }

        $(impl From<$module::Command> for Command {
            fn from(command: $module::Command) -> Self {
                Self::$Job(command)
            }
        }

        impl From<$module::Reply> for Reply {
            fn from(reply: $module::Reply) -> Self {
                Self::$Job(reply)
            }
        }

        impl From<$module::Change> for ChangeKind {
            fn from(change: $module::Change) -> Self {
                Self::$Job(change)
            }
        })*
    };
}
jobs!(enums);

/// A command whose answer has a type of its own.
pub trait Ask: Into<Command> {
    /// What the command is answered when it is not refused.
    type Reply: TryFrom<Reply, Error = Reply>;
}
