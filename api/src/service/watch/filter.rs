//! Which changes a watcher wants.

use batuta_statemachine::{Name, Namespace, SessionId};

use super::event::{Event, Job, Kind};
use crate::ApiError;
use crate::service::parse;

/// Which names a watcher wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// All, and changes that have none.
    #[default]
    Any,
    /// Names that start with it.
    Prefix(String),
    /// One name.
    Exact(Name),
}

/// Which changes a watcher wants: those that fit everything that is said here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Where; changes of the cluster itself are everywhere.
    pub namespace: Namespace,
    /// About what; empty = everything.
    pub jobs: Vec<Job>,
    /// What happened; empty = everything.
    pub kinds: Vec<Kind>,
    /// Of which names.
    pub names: Names,
    /// Of which session.
    pub session: Option<SessionId>,
}

/// A filter as texts of the wire.
#[derive(Clone, Copy, Debug, Default)]
pub struct FilterText<'a> {
    /// Names that start with it; empty = all.
    pub prefix: &'a str,
    /// One name; empty = all.
    pub name: &'a str,
    /// A session; empty = all.
    pub session_id: &'a str,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// `invalid_argument` with the field.
    pub fn parse<'a>(
        namespace: Namespace,
        jobs: impl IntoIterator<Item = &'a str>,
        kinds: impl IntoIterator<Item = &'a str>,
        text: FilterText<'_>,
    ) -> Result<Self, ApiError> {
        parse::require_visible("prefix", text.prefix)?;
        let names = match (text.prefix, text.name) {
            ("", "") => Names::Any,
            (prefix, "") => Names::Prefix(prefix.to_owned()),
            ("", name) => Names::Exact(parse::parse_name("name", name)?),
            _ => return Err(ApiError::invalid("name", "give name or prefix, not both")),
        };
        Ok(Self {
            namespace,
            jobs: words("jobs", jobs, &Job::ALL, Job::as_str)?,
            kinds: words("kinds", kinds, &Kind::ALL, Kind::as_str)?,
            names,
            session: parse::parse_optional_session_id("session_id", text.session_id)?,
        })
    }

    /// Whether the watcher wants changes of this job at all.
    #[must_use]
    pub fn wants(&self, job: Job) -> bool {
        self.jobs.is_empty() || self.jobs.contains(&job)
    }

    /// Whether the watcher wants this change.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        let name_fits = |name: &Name| match &self.names {
            Names::Any => true,
            Names::Prefix(prefix) => name.as_str().starts_with(prefix),
            Names::Exact(wanted) => name == wanted,
        };
        event.namespace.as_ref().is_none_or(|namespace| *namespace == self.namespace)
            && self.wants(event.kind.job())
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && (self.session.is_none() || self.session == event.session)
            && (self.names == Names::Any || event.names().any(name_fits))
    }
}

fn words<'a, T: Copy>(
    field: &str,
    given: impl IntoIterator<Item = &'a str>,
    all: &[T],
    text: fn(T) -> &'static str,
) -> Result<Vec<T>, ApiError> {
    let read = |word: &str| {
        all.iter().copied().find(|known| text(*known) == word).ok_or_else(|| {
            let known: Vec<&str> = all.iter().map(|known| text(*known)).collect();
            let shown: String = word.chars().take(64).collect();
            ApiError::invalid(field, format!("does not know {shown:?}; there are {}", known.join(", ")))
        })
    };
    given.into_iter().map(str::trim).filter(|word| !word.is_empty()).map(read).collect()
}
