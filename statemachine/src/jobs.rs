//! The list of jobs, and everything generated from it. A new job is a folder, and a line here.

/// Passes the list of jobs, each with its name and module, to a macro. Operations over all jobs follow this order.
macro_rules! jobs {
    ($callback:ident) => {
        $callback! { Session = session, Lock = lock, Register = register, Cluster = cluster, Access = access }
    };
}
pub(crate) use jobs;

macro_rules! enums {
    ($($Job:ident = $module:ident),*) => {
        /// The commands of the state, by job.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Command {
            $(#[doc = concat!("A command of [`crate::", stringify!($module), "`].")] $Job(crate::$module::Command),)*
        }

        impl Command {
            /// The level that the cluster must have reached before this command is proposed ([`crate::LEVEL`]).
            #[must_use]
            pub fn level(&self) -> u32 {
                match self {
                    $(Self::$Job(command) => <crate::$module::$Job as crate::job::Job>::level(command),)*
                }
            }
        }

        /// The reply to a command that was not refused, by job.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum Reply {
            $(#[doc = concat!("An answer of [`crate::", stringify!($module), "`].")] $Job(crate::$module::Reply),)*
        }

        impl Reply {
            /// The bytes of its texts.
            pub(crate) fn text_bytes(&self) -> usize {
                match self {
                    $(Self::$Job(reply) => reply.text_bytes(),)*
                }
            }
        }

        /// The kinds of change, by job.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum ChangeKind {
            $(#[doc = concat!("A change of [`crate::", stringify!($module), "`].")] $Job(crate::$module::Change),)*
        }

        impl ChangeKind {
            /// The bytes of its texts.
            pub(crate) fn text_bytes(&self) -> usize {
                match self {
                    $(Self::$Job(change) => change.text_bytes(),)*
                }
            }
        }

        $(impl From<crate::$module::Command> for Command {
            fn from(command: crate::$module::Command) -> Self {
                Self::$Job(command)
            }
        }

        impl From<crate::$module::Reply> for Reply {
            fn from(reply: crate::$module::Reply) -> Self {
                Self::$Job(reply)
            }
        }

        impl From<crate::$module::Change> for ChangeKind {
            fn from(change: crate::$module::Change) -> Self {
                Self::$Job(change)
            }
        })*
    };
}
jobs!(enums);

/// A command with a reply of its own type.
pub trait Ask: Into<Command> {
    /// The reply to the command when it is not refused.
    type Reply: TryFrom<Reply, Error = Reply>;
}
