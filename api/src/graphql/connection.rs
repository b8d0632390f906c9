//! Listings as Relay connections, read forwards one page at a time.

use async_graphql::{OutputType, SimpleObject};

use crate::ApiError;
use crate::contract::Long;
use crate::contract::access::{Binding, Credential, Group, Principal, Role};
use crate::contract::election::Election;
use crate::contract::lock::Lock;
use crate::contract::session::Session;
use crate::service::{At, Clock, Page, parse};

/// The place of a page in its listing.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct PageInfo {
    /// Whether more items may follow. A filter that matches few items can make a page short or empty before the end.
    pub(super) has_next_page: bool,
    /// Whether the page was requested with `after`. Listings are read forwards only.
    pub(super) has_previous_page: bool,
    /// The cursor of the first edge.
    pub(super) start_cursor: Option<String>,
    /// Pass it as `after` to get the next page.
    pub(super) end_cursor: Option<String>,
}

impl PageInfo {
    /// Makes the page information from the cursors of the first and last edge.
    pub(super) fn new(after: Option<&str>, edges: Option<(&str, &str)>, next_cursor: Option<String>) -> Self {
        Self {
            has_next_page: next_cursor.is_some(),
            has_previous_page: after.is_some(),
            start_cursor: edges.map(|(first, _)| first.to_owned()),
            // The next page may start behind the last edge: items in between did not match the filter.
            end_cursor: next_cursor.or_else(|| edges.map(|(_, last)| last.to_owned())),
        }
    }
}

/// An item, with the cursor that continues the listing after it.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
#[graphql(
    concrete(name = "LockEdge", params(Lock)),
    concrete(name = "ElectionEdge", params(Election)),
    concrete(name = "SessionEdge", params(Session)),
    concrete(name = "PrincipalEdge", params(Principal)),
    concrete(name = "GroupEdge", params(Group)),
    concrete(name = "RoleEdge", params(Role)),
    concrete(name = "BindingEdge", params(Binding)),
    concrete(name = "CredentialEdge", params(Credential))
)]
pub(super) struct Edge<T: OutputType> {
    /// The item.
    pub(super) node: T,
    /// Pass it as `after` to get the items after this one.
    pub(super) cursor: String,
}

/// A page of a listing.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
#[graphql(
    concrete(name = "LockConnection", params(Lock)),
    concrete(name = "ElectionConnection", params(Election)),
    concrete(name = "SessionConnection", params(Session)),
    concrete(name = "PrincipalConnection", params(Principal)),
    concrete(name = "GroupConnection", params(Group)),
    concrete(name = "RoleConnection", params(Role)),
    concrete(name = "BindingConnection", params(Binding)),
    concrete(name = "CredentialConnection", params(Credential))
)]
pub(super) struct Connection<T: OutputType>
where
    Edge<T>: OutputType,
{
    /// The items.
    pub(super) edges: Vec<Edge<T>>,
    /// Whether there is another page, and how to get it.
    pub(super) page_info: PageInfo,
    /// Whether items may be missing because the caller may not see them.
    pub(super) filtered: bool,
    /// The revision at which the answer is true.
    pub(super) revision: Long,
}

impl<T: OutputType> Connection<T>
where
    Edge<T>: OutputType,
{
    /// Makes the page that was requested with `after`; `cursor` makes the cursor that continues the listing after an item.
    pub(super) fn new<V, P>(
        page: At<Page<V, P>>,
        after: Option<&str>,
        place: impl Fn(&V) -> P,
        cursor: impl Fn(&P) -> String,
        seen: impl Fn(V, Clock) -> T,
    ) -> Self {
        let At { revision, clock, value: Page { items, next, filtered } } = page;
        let edge = |item: V| Edge { cursor: cursor(&place(&item)), node: seen(item, clock) };
        let edges: Vec<Edge<T>> = items.into_iter().map(edge).collect();
        let ends = edges.first().zip(edges.last());
        let ends = ends.map(|(first, last)| (first.cursor.as_str(), last.cursor.as_str()));
        let after = after.filter(|after| !after.is_empty());
        let page_info = PageInfo::new(after, ends, next.as_ref().map(cursor));
        Self { edges, page_info, filtered, revision: Long(revision) }
    }
}

/// Renames the arguments of a listing in an error to those of GraphQL.
pub(super) fn renamed(error: ApiError) -> ApiError {
    match error {
        ApiError::InvalidArgument { field, problem } if field == "limit" => {
            ApiError::invalid("first", problem)
        }
        ApiError::InvalidArgument { field, .. } if field == "cursor" => {
            ApiError::invalid("after", "must be a cursor of the same listing, unchanged")
        }
        ApiError::InvalidArgument { field, .. } if field == "holders_cursor" => {
            ApiError::invalid("holdersAfter", "must be the nextHoldersCursor of the same lock, unchanged")
        }
        ApiError::InvalidArgument { field, .. } if field == "waiters_cursor" => {
            ApiError::invalid("waitersAfter", "must be the nextWaitersCursor of the same lock, unchanged")
        }
        ApiError::InvalidArgument { field, .. } if field == "candidates_cursor" => ApiError::invalid(
            "candidatesAfter",
            "must be the nextCandidatesCursor of the same election, unchanged",
        ),
        other => other,
    }
}

/// The cost of a page: the cost of its selection, once for each requested item.
pub(super) fn cost(first: Option<u32>, selected: usize) -> usize {
    let asked = first.filter(|first| *first > 0).unwrap_or(parse::PAGE_LIMIT_DEFAULT);
    usize::try_from(asked).map_or(usize::MAX, |asked| selected.saturating_mul(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_ends_where_the_listing_continues() {
        let next = Some("n62".to_owned());
        let page = PageInfo::new(None, Some(("n61", "n61")), next.clone());
        assert_eq!(
            (page.has_next_page, page.has_previous_page, page.end_cursor),
            (true, false, next.clone())
        );
        let page = PageInfo::new(Some("n61"), None, next.clone());
        assert_eq!((page.has_next_page, page.start_cursor, page.end_cursor), (true, None, next));
        let page = PageInfo::new(Some("n61"), Some(("n62", "n63")), None);
        assert_eq!((page.has_next_page, page.end_cursor), (false, Some("n63".to_owned())));
    }

    #[test]
    fn page_costs_as_much_as_it_can_hold() {
        for (first, selected, expected) in
            [(None, 3, 300), (Some(0), 3, 300), (Some(7), 3, 21), (Some(u32::MAX), usize::MAX, usize::MAX)]
        {
            assert_eq!(cost(first, selected), expected);
        }
    }
}
