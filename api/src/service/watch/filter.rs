//! Filters of watches: which changes a watcher selects.

use batuta_statemachine::{Name, Namespace, SessionId};

use super::event::{Area, Event, Kind};
use crate::ApiError;
use crate::service::parse;

/// Which names a filter selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// All names, and changes without a name.
    #[default]
    Any,
    /// Names that start with this prefix.
    Prefix(String),
    /// Only this name.
    Exact(Name),
}

/// Selects the changes that match all of these criteria.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The namespace; changes of the cluster itself are in every namespace.
    pub namespace: Namespace,
    /// Only changes of these areas; empty means all.
    pub areas: Vec<Area>,
    /// Only changes of these kinds; empty means all.
    pub kinds: Vec<Kind>,
    /// The selected names.
    pub names: Names,
    /// Only changes of this session.
    pub session: Option<SessionId>,
}

/// A filter as a call gives it.
#[derive(Clone, Debug, Default)]
pub struct FilterRequest<'a> {
    /// Only changes of these areas; empty means all.
    pub areas: Vec<Area>,
    /// Only changes of these kinds; empty means all.
    pub kinds: Vec<Kind>,
    /// Only names that start with this prefix; empty means all.
    pub prefix: &'a str,
    /// Only this name; empty means all.
    pub name: &'a str,
    /// Only changes of this session; empty means all.
    pub session_id: &'a str,
}

impl FilterRequest<'_> {
    /// Reads the filter, for a namespace.
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
        Ok(Filter { namespace, areas: self.areas, kinds: self.kinds, names, session })
    }
}

impl Filter {
    /// Whether the filter selects any changes of this area.
    #[must_use]
    pub fn wants(&self, area: Area) -> bool {
        self.areas.is_empty() || self.areas.contains(&area)
    }

    /// Whether the filter selects this change.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        let name_fits = |name: &Name| match &self.names {
            Names::Any => true,
            Names::Prefix(prefix) => name.as_str().starts_with(prefix),
            Names::Exact(wanted) => name == wanted,
        };
        event.namespace.as_ref().is_none_or(|namespace| *namespace == self.namespace)
            && self.wants(event.kind.area())
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && (self.session.is_none() || self.session == event.session)
            && (self.names == Names::Any || event.names().any(name_fits))
    }
}
