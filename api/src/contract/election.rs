//! The public objects of elections.

use async_graphql::{InputObject, SimpleObject};
use batuta_statemachine::Name;
use batuta_statemachine::lock as core;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Long;
use crate::ApiError;
use crate::service::acquire::Held;
use crate::service::election::{self as service, Leadership};
use crate::service::lock::Released;
use crate::service::{At, Clock, Consistency, Page, parse, rfc3339};

/// Stands as a candidate in an election.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(name = "CampaignInput")]
#[schema(example = json!({"name": "billing/leader", "value": "10.0.0.7:8080", "ttl_ms": 30000, "wait_ms": 5000}))]
pub(crate) struct CampaignRequest {
    /// Name of the election: a path of segments, such as `billing/leader`.
    pub(crate) name: String,
    /// The value that the leader publishes once it is elected; by default empty.
    #[serde(default)]
    #[graphql(default)]
    pub(crate) value: String,
    /// The session that keeps the leader in office: the leader is gone when the session ends. A leadership without a session has its own TTL.
    pub(crate) session_id: Option<String>,
    /// A label of the candidate. It distinguishes candidates of one session; without a session it is for people.
    #[serde(default)]
    #[graphql(default)]
    pub(crate) owner: String,
    /// The TTL of a leadership without a session, in milliseconds. Required without a session, refused with one.
    pub(crate) ttl_ms: Option<Long>,
    /// How long to stay a candidate, in milliseconds; 0, the default, answers at once. Closing the connection withdraws the candidacy.
    #[serde(default)]
    #[graphql(default)]
    pub(crate) wait_ms: Long,
    /// How long the election stays closed after the leader was lost without resigning, in milliseconds; by default 0.
    #[serde(default)]
    #[graphql(default)]
    pub(crate) lock_delay_ms: Long,
}

/// Replaces the value of the leader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(name = "ProclaimInput")]
#[schema(example = json!({"fencing_token": 17, "value": "10.0.0.7:8081"}))]
pub(crate) struct ProclaimRequest {
    /// The election. REST has it in the path.
    #[serde(default)]
    #[schema(ignore)]
    pub(crate) name: String,
    /// The token under which the caller leads.
    pub(crate) fencing_token: Long,
    /// When given, the leadership must belong to this session.
    pub(crate) session_id: Option<String>,
    /// The new value.
    pub(crate) value: String,
}

/// Gives up leadership.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
#[graphql(name = "ResignInput")]
pub(crate) struct ResignRequest {
    /// The election.
    pub(crate) name: String,
    /// The token under which the caller leads.
    pub(crate) fencing_token: Long,
    /// When given, the leadership must belong to this session.
    pub(crate) session_id: Option<String>,
}

/// Query of a resignation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ResignQuery {
    /// The token under which the caller leads.
    #[param(example = 17)]
    pub(crate) fencing_token: Long,
    /// When given, the leadership must belong to this session.
    pub(crate) session_id: Option<String>,
}

/// The leader of an election.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "candidate_id": "l-1532.0", "fencing_token": 17, "namespace": "default", "name": "billing/leader",
    "session_id": "s-12.0", "owner": "worker-7", "elected_revision": 1532, "elected_at": "2026-11-23T10:00:00.000Z",
    "lock_delay_ms": 0, "value": "10.0.0.7:8080"
}))]
pub(crate) struct Leader {
    /// The id of the candidacy that was elected.
    pub(crate) candidate_id: String,
    /// The fencing token. Send it with every write to the protected resource, which refuses a token older than one it has seen.
    pub(crate) fencing_token: Long,
    /// The namespace of the election.
    pub(crate) namespace: String,
    /// Name of the election.
    pub(crate) name: String,
    /// The session that keeps the leader in office; left out for a leadership with a TTL of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_id: Option<String>,
    /// The label of the leader.
    pub(crate) owner: String,
    /// Revision of the election.
    pub(crate) elected_revision: Long,
    /// When the leader was elected. RFC 3339 UTC, for people.
    pub(crate) elected_at: String,
    /// Without a session only: when the leadership expires unless it is extended. RFC 3339 UTC, for people; it decides nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<String>,
    /// Without a session only: the TTL, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl_ms: Option<Long>,
    /// Without a session only: the leader stays at least this long from the revision of the answer on, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remaining_ms: Option<Long>,
    /// How long the election stays closed after an involuntary loss, in milliseconds.
    pub(crate) lock_delay_ms: Long,
    /// The value that the leader published.
    pub(crate) value: String,
}

/// A leader, and the revision at which it is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "candidate_id": "l-1532.0", "fencing_token": 17, "namespace": "default", "name": "billing/leader",
    "session_id": "s-12.0", "owner": "worker-7", "elected_revision": 1532, "elected_at": "2026-11-23T10:00:00.000Z",
    "lock_delay_ms": 0, "value": "10.0.0.7:8080", "revision": 1532
}))]
pub(crate) struct LeadershipAnswer {
    /// The leader.
    #[serde(flatten)]
    #[graphql(flatten)]
    pub(crate) leader: Leader,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// A candidate that waits to be elected.
#[expect(clippy::struct_field_names, reason = "the names of the contract")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "candidate_id": "l-1540.0", "session_id": "s-13.0", "owner": "worker-8", "queue_position": 0, "remaining_ms": 4200
}))]
pub(crate) struct Candidate {
    /// The id of the candidacy. Withdrawing a wait by this id withdraws the candidacy.
    pub(crate) candidate_id: String,
    /// The session of the candidate, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_id: Option<String>,
    /// The label of the candidate.
    pub(crate) owner: String,
    /// The number of candidates ahead.
    pub(crate) queue_position: Long,
    /// It stays a candidate at least this long from the revision of the answer on, in milliseconds.
    pub(crate) remaining_ms: Long,
}

/// An election.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "name": "billing/leader", "namespace": "default", "candidates": [], "candidate_count": 0
}))]
pub(crate) struct Election {
    /// Name of the election.
    pub(crate) name: String,
    /// The namespace of the election.
    pub(crate) namespace: String,
    /// The leader; left out when nobody leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) leader: Option<Leader>,
    /// The first candidates, in the order in which they will be elected.
    pub(crate) candidates: Vec<Candidate>,
    /// The total number of candidates.
    pub(crate) candidate_count: Long,
    /// Read the election again with this cursor to get the next candidates; left out when there are no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_candidates_cursor: Option<String>,
    /// How long lock-delay keeps the election closed, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delayed_ms: Option<Long>,
}

/// An election, and the revision at which it is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({
    "name": "billing/leader", "namespace": "default", "candidates": [], "candidate_count": 0, "revision": 1544
}))]
pub(crate) struct ElectionAnswer {
    /// The election.
    #[serde(flatten)]
    #[graphql(flatten)]
    pub(crate) election: Election,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// A page of elections, in order of their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"elections": [], "next_cursor": "n6f72646572732f3432", "filtered": false, "revision": 1544}))]
pub(crate) struct ElectionPage {
    /// The elections.
    pub(crate) elections: Vec<Election>,
    /// The `cursor` of the next page; empty on the last page.
    pub(crate) next_cursor: String,
    /// Whether items may be missing because the caller may not see them.
    pub(crate) filtered: bool,
    /// The revision at which the answer is true.
    pub(crate) revision: Long,
}

/// The answer to a resignation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, SimpleObject)]
#[schema(example = json!({"candidate_id": "l-1532.0", "fencing_token": 17, "revision": 1550}))]
pub(crate) struct ResignAnswer {
    /// The id of the candidacy that had been elected.
    pub(crate) candidate_id: String,
    /// The token under which the caller led.
    pub(crate) fencing_token: Long,
    /// The revision of the resignation.
    pub(crate) revision: Long,
}

/// Query of a read of one election.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ElectionQuery {
    /// The consistency of the read.
    #[serde(default)]
    #[param(inline)]
    pub(crate) consistency: Consistency,
    /// `next_candidates_cursor` of the previous answer: reads the candidates after it.
    #[serde(default)]
    pub(crate) candidates_cursor: String,
}

/// Query of a listing of elections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListElectionsQuery {
    /// Only elections whose name starts with this prefix.
    #[param(example = "billing/")]
    #[serde(default)]
    pub(crate) prefix: String,
    /// Page size: by default 100, at most 1,000. A page may be shorter, because its size in bytes is bounded, too.
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the previous page.
    pub(crate) cursor: Option<String>,
    /// The consistency of the read.
    #[serde(default)]
    #[param(inline)]
    pub(crate) consistency: Consistency,
}

impl CampaignRequest {
    /// The request of the use case.
    pub(crate) fn read(self) -> Result<service::Campaign, ApiError> {
        let Self { name, value, session_id, owner, ttl_ms, wait_ms, lock_delay_ms } = self;
        Ok(service::Campaign {
            name: parse::parse_name("name", &name)?,
            value,
            owner: parse::parse_owner(session_id.as_deref().unwrap_or_default(), &owner)?,
            ttl_ms: ttl_ms.map(u64::from),
            wait_ms: wait_ms.into(),
            lock_delay_ms: lock_delay_ms.into(),
        })
    }
}

/// Reads which leadership a call is about.
pub(crate) fn leadership(
    name: Name,
    fencing_token: Long,
    session_id: Option<&str>,
) -> Result<Leadership, ApiError> {
    let session = parse::parse_optional_session_id("session_id", session_id.unwrap_or_default())?;
    Ok(Leadership { name, fencing_token: fencing_token.into(), session })
}

impl ProclaimRequest {
    /// The leadership, and the new value.
    pub(crate) fn read(self) -> Result<(Leadership, String), ApiError> {
        let Self { name, fencing_token, session_id, value } = self;
        let name = parse::parse_name("name", &name)?;
        Ok((leadership(name, fencing_token, session_id.as_deref())?, value))
    }
}

impl ResignRequest {
    /// The leadership.
    pub(crate) fn read(self) -> Result<Leadership, ApiError> {
        let Self { name, fencing_token, session_id } = self;
        leadership(parse::parse_name("name", &name)?, fencing_token, session_id.as_deref())
    }
}

impl ListElectionsQuery {
    /// The request of the use case.
    pub(crate) fn read(self) -> Result<service::ListRequest, ApiError> {
        let Self { prefix, limit, cursor, consistency: _ } = self;
        Ok(service::ListRequest { prefix, limit, after: parse::name_cursor(cursor.as_deref())? })
    }
}

impl Leader {
    /// Converts a leadership as it is at an instant.
    pub(crate) fn seen(grant: &core::Grant, clock: Clock) -> Self {
        Self {
            candidate_id: grant.lock_id.to_string(),
            fencing_token: Long(grant.token),
            namespace: grant.namespace.to_string(),
            name: grant.election().map(ToString::to_string).unwrap_or_default(),
            session_id: grant.owner.session.map(|session| session.to_string()),
            owner: grant.owner.label.to_string(),
            elected_revision: Long(grant.granted_revision),
            elected_at: rfc3339(grant.granted_wall_ms),
            expires_at: grant.deadline_ms.map(|deadline_ms| clock.text_of(deadline_ms)),
            ttl_ms: grant.ttl_ms.map(Long),
            remaining_ms: grant.deadline_ms.map(|deadline_ms| Long(clock.remaining_ms(deadline_ms))),
            lock_delay_ms: Long(grant.lock_delay_ms),
            value: grant.metadata.to_string(),
        }
    }
}

impl Candidate {
    /// Converts a candidacy as it is at an instant.
    pub(crate) fn seen(wait: &core::Wait, clock: Clock) -> Self {
        Self {
            candidate_id: wait.lock_id.to_string(),
            session_id: wait.owner.session.map(|session| session.to_string()),
            owner: wait.owner.label.to_string(),
            queue_position: Long(wait.queue_position),
            remaining_ms: Long(clock.remaining_ms(wait.deadline_ms)),
        }
    }
}

impl Election {
    /// Converts an election as it is at an instant.
    pub(crate) fn seen(election: &service::Election, clock: Clock) -> Self {
        Self {
            name: election.name.to_string(),
            namespace: election.namespace.to_string(),
            leader: election.leader().map(|grant| Leader::seen(grant, clock)),
            candidates: election.candidates().iter().map(|wait| Candidate::seen(wait, clock)).collect(),
            candidate_count: Long(election.candidate_count()),
            next_candidates_cursor: election.next_candidates().map(parse::waiters_cursor_text),
            delayed_ms: election.delayed_until_ms().map(|until_ms| Long(clock.remaining_ms(until_ms))),
        }
    }
}

impl From<At<Held>> for LeadershipAnswer {
    fn from(At { revision, clock, value }: At<Held>) -> Self {
        Self { leader: Leader::seen(&value, clock), revision: Long(revision) }
    }
}

impl From<At<service::Election>> for ElectionAnswer {
    fn from(At { revision, clock, value }: At<service::Election>) -> Self {
        Self { election: Election::seen(&value, clock), revision: Long(revision) }
    }
}

impl From<At<Page<service::Election, Name>>> for ElectionPage {
    fn from(page: At<Page<service::Election, Name>>) -> Self {
        let At { revision, clock, value: Page { items, next, filtered } } = page;
        Self {
            elections: items.iter().map(|election| Election::seen(election, clock)).collect(),
            next_cursor: next.as_ref().map(parse::name_cursor_text).unwrap_or_default(),
            filtered,
            revision: Long(revision),
        }
    }
}

impl From<At<Released>> for ResignAnswer {
    fn from(At { revision, value, .. }: At<Released>) -> Self {
        Self {
            candidate_id: value.lock_id.to_string(),
            fencing_token: Long(value.fencing_token),
            revision: Long(revision),
        }
    }
}
