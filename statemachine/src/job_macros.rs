//! Macros for the parts that are alike in every job: the enums of its commands and replies, its usage and its limits.

/// Defines the commands of a job: the enum `Command`, with one variant per command, and the reply of each.
macro_rules! job_commands {
    ($Job:ident { $($(#[$doc:meta])* $Name:ident => $Reply:ty),* $(,)? }) => {
        /// The commands of this job.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Command {
            $($(#[$doc])* $Name($Name),)*
        }

        $(impl From<$Name> for crate::Command {
            fn from(command: $Name) -> Self {
                Self::$Job(Command::$Name(command))
            }
        }

        impl crate::Ask for $Name {
            type Reply = $Reply;
        })*
    };
}

/// Defines the replies of a job: the enum `Reply`, with one variant per reply.
macro_rules! job_replies {
    ($Job:ident { $($(#[$doc:meta])* $Name:ident),* $(,)? }) => {
        /// The replies of this job.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum Reply {
            $($(#[$doc])* $Name($Name),)*
        }

        $(impl From<$Name> for crate::Reply {
            fn from(reply: $Name) -> Self {
                Self::$Job(Reply::$Name(reply))
            }
        }

        impl TryFrom<crate::Reply> for $Name {
            type Error = crate::Reply;

            fn try_from(reply: crate::Reply) -> Result<Self, Self::Error> {
                match reply {
                    crate::Reply::$Job(Reply::$Name(reply)) => Ok(reply),
                    other => Err(other),
                }
            }
        })*
    };
}

/// Defines the usage of a job: how many of its objects a namespace holds.
macro_rules! job_usage {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// How many objects of this job a namespace, or all namespaces together, hold.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct Usage {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl std::ops::AddAssign for Usage {
            fn add_assign(&mut self, other: Self) {
                let Self { $($name,)* } = other;
                $(self.$name += $name;)*
            }
        }
    };
}

/// Defines the limits of a job, each with its default, its range and, when it is not of the first level, the level of the build that
/// added it: `name = 5, 0 => 10, from level 2;`.
macro_rules! job_limits {
    (@level) => {
        crate::level::LEVEL_MIN
    };
    (@level $level:expr) => {
        $level
    };
    ($(#[$doc:meta])* {
        $($(#[$limit_doc:meta])* $name:ident = $value:expr, $min:expr => $max:expr $(, from level $level:expr)?;)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct Limits {
            $($(#[$limit_doc])* pub $name: u64,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $value,)* }
            }
        }

        impl Limits {
            /// All limits with their names and ranges, in the order of the fields.
            pub(crate) fn settings(&self) -> impl Iterator<Item = crate::limit::Setting> {
                let Self { $($name,)* } = self;
                [$(crate::limit::Setting {
                    name: stringify!($name),
                    value: *$name,
                    min: $min,
                    max: $max,
                    level: crate::job_macros::job_limits!(@level $($level)?),
                },)*].into_iter()
            }

            /// Sets a limit; `false` when there is no limit of this name.
            pub(crate) fn set(&mut self, name: &str, value: u64) -> bool {
                $(if name == stringify!($name) {
                    self.$name = value;
                    return true;
                })*
                let _ = (name, value);
                false
            }
        }
    };
}

pub(crate) use {job_commands, job_limits, job_replies, job_usage};
