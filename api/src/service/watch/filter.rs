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

/// A filter as a call says it.
#[derive(Clone, Debug, Default)]
pub struct FilterRequest<'a> {
    /// About what; empty = everything.
    pub jobs: Vec<Job>,
    /// What happened; empty = everything.
    pub kinds: Vec<Kind>,
    /// Names that start with it; empty = all.
    pub prefix: &'a str,
    /// One name; empty = all.
    pub name: &'a str,
    /// A session; empty = all.
    pub session_id: &'a str,
}

impl FilterRequest<'_> {
    /// The filter, in a namespace.
    ///
    /// # Errors
    /// `invalid_argument` with the field.
    pub fn read(self, namespace: Namespace) -> Result<Filter, ApiError> {
        parse::require_visible("prefix", self.prefix)?;
        let names = match (self.prefix, self.name) {
            ("", "") => Names::Any,
            (prefix, "") => Names::Prefix(prefix.to_owned()),
            ("", name) => Names::Exact(parse::parse_name("name", name)?),
            _ => return Err(ApiError::invalid("name", "give name or prefix, not both")),
        };
        let session = parse::parse_optional_session_id("session_id", self.session_id)?;
        Ok(Filter { namespace, jobs: self.jobs, kinds: self.kinds, names, session })
    }
}

impl Filter {
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
