//! `batuta.v1.ElectionService`.

use batuta_proto::v1;
use batuta_proto::v1::election_service_server::ElectionService;
use batuta_statemachine::SessionId;
use batuta_statemachine::lock::{Grant, Wait};
use tonic::{Request, Response, Status, Streaming};

use super::hold::{HoldStream, LeadElection, serve};
use super::lock::session_text;
use super::{Front, OfSession, calls_of_the_front, consistency, context};
use crate::ApiError;
use crate::contract::election as contract;
use crate::service::acquire::Held;
use crate::service::election::{Campaign, Election, ListRequest};
use crate::service::lock::Released;
use crate::service::parse::{self, parse_name, parse_optional_session_id};
use crate::service::{At, CallContext, Clock, Page, rfc3339};

pub(super) fn campaign_request(message: v1::CampaignRequest) -> Result<Campaign, ApiError> {
    let v1::CampaignRequest { name, value, session_id, owner, ttl_ms, wait_ms, lock_delay_ms } = message;
    contract::CampaignRequest {
        name,
        value,
        session_id: Some(session_id),
        owner,
        ttl_ms: ttl_ms.map(Into::into),
        wait_ms: wait_ms.into(),
        lock_delay_ms: lock_delay_ms.into(),
    }
    .read()
}

pub(super) fn leader_message(grant: &Grant, clock: Clock) -> v1::Leader {
    v1::Leader {
        candidate_id: grant.lock_id.to_string(),
        namespace: grant.namespace.to_string(),
        name: grant.election().map(ToString::to_string).unwrap_or_default(),
        session_id: session_text(grant.owner.session),
        owner: grant.owner.label.to_string(),
        fencing_token: grant.token,
        elected_revision: grant.granted_revision,
        elected_at: rfc3339(grant.granted_wall_ms),
        ttl_ms: grant.ttl_ms,
        remaining_ms: grant.deadline_ms.map(|deadline_ms| clock.remaining_ms(deadline_ms)),
        expires_at: grant.deadline_ms.map(|deadline_ms| clock.text_of(deadline_ms)).unwrap_or_default(),
        lock_delay_ms: grant.lock_delay_ms,
        value: grant.metadata.to_string(),
    }
}

pub(super) fn held_message(at: &At<Held>) -> v1::Leader {
    leader_message(&at.value, at.clock)
}

pub(super) fn candidate_message(wait: &Wait, clock: Clock) -> v1::Candidate {
    v1::Candidate {
        candidate_id: wait.lock_id.to_string(),
        session_id: session_text(wait.owner.session),
        owner: wait.owner.label.to_string(),
        queue_position: wait.queue_position,
        remaining_ms: clock.remaining_ms(wait.deadline_ms),
    }
}

pub(super) fn election_message(election: &Election, clock: Clock) -> v1::Election {
    v1::Election {
        name: election.name.to_string(),
        namespace: election.namespace.to_string(),
        leader: election.leader().map(|grant| leader_message(grant, clock)),
        candidates: election.candidates().iter().map(|wait| candidate_message(wait, clock)).collect(),
        candidate_count: election.candidate_count(),
        delayed_ms: election.delayed_until_ms().map(|until_ms| clock.remaining_ms(until_ms)),
        next_candidates_cursor: election
            .next_candidates()
            .map(parse::waiters_cursor_text)
            .unwrap_or_default(),
    }
}

pub(super) fn resigned_message(at: &At<Released>) -> v1::ResignResponse {
    v1::ResignResponse {
        candidate_id: at.value.lock_id.to_string(),
        fencing_token: at.value.fencing_token,
        revision: at.revision,
    }
}

calls_of_the_front! {
    ElectionService {
        type LeadStream = HoldStream<v1::LeadResponse>;

        async fn lead(
            &self,
            request: Request<Streaming<v1::LeadRequest>>,
        ) -> Result<Response<Self::LeadStream>, Status> {
            let context = context(request.metadata(), request.extensions(), None)?;
            Ok(Response::new(serve::<LeadElection>(self.service.clone(), context, request.into_inner())))
        }
    }
    campaign(CampaignRequest) -> CampaignResponse;
    proclaim(ProclaimRequest) -> ProclaimResponse;
    resign(ResignRequest) -> ResignResponse;
    get_election(GetElectionRequest) -> GetElectionResponse;
    list_elections(ListElectionsRequest) -> ListElectionsResponse;
}

impl OfSession for v1::CampaignRequest {
    fn session(&self) -> Result<Option<SessionId>, ApiError> {
        parse_optional_session_id("session_id", &self.session_id)
    }
}

impl OfSession for v1::ProclaimRequest {}
impl OfSession for v1::ResignRequest {}
impl OfSession for v1::GetElectionRequest {}
impl OfSession for v1::ListElectionsRequest {}

impl Front {
    pub(super) async fn campaign(
        &self,
        context: &CallContext,
        message: v1::CampaignRequest,
    ) -> Result<v1::CampaignResponse, ApiError> {
        let at = self.service.campaign(context, campaign_request(message)?).await?;
        let leader = Some(held_message(&at));
        Ok(v1::CampaignResponse { leader, revision: at.revision })
    }

    pub(super) async fn proclaim(
        &self,
        context: &CallContext,
        message: v1::ProclaimRequest,
    ) -> Result<v1::ProclaimResponse, ApiError> {
        let v1::ProclaimRequest { name, fencing_token, session_id, value } = message;
        let name = parse_name("name", &name)?;
        let leadership = contract::leadership(name, fencing_token.into(), Some(&session_id))?;
        let at = self.service.proclaim(context, leadership, value).await?;
        let leader = Some(held_message(&at));
        Ok(v1::ProclaimResponse { leader, revision: at.revision })
    }

    pub(super) async fn resign(
        &self,
        context: &CallContext,
        message: v1::ResignRequest,
    ) -> Result<v1::ResignResponse, ApiError> {
        let v1::ResignRequest { name, fencing_token, session_id } = message;
        let name = parse_name("name", &name)?;
        let leadership = contract::leadership(name, fencing_token.into(), Some(&session_id))?;
        Ok(resigned_message(&self.service.resign(context, leadership).await?))
    }

    pub(super) async fn get_election(
        &self,
        context: &CallContext,
        message: v1::GetElectionRequest,
    ) -> Result<v1::GetElectionResponse, ApiError> {
        let name = parse_name("name", &message.name)?;
        let consistency = consistency(message.consistency)?;
        let after = parse::candidates_cursor(&message.candidates_cursor)?;
        let at = self.service.get_election(context, &name, after, consistency).await?;
        let election = Some(election_message(&at.value, at.clock));
        Ok(v1::GetElectionResponse { election, revision: at.revision })
    }

    pub(super) async fn list_elections(
        &self,
        context: &CallContext,
        message: v1::ListElectionsRequest,
    ) -> Result<v1::ListElectionsResponse, ApiError> {
        let consistency = consistency(message.consistency)?;
        let (limit, after) = (Some(message.limit), parse::name_cursor(Some(&message.cursor))?);
        let list = ListRequest { prefix: message.prefix, limit, after };
        let At { revision, clock, value: Page { items, next, filtered } } =
            self.service.list_elections(context, &list, consistency).await?;
        Ok(v1::ListElectionsResponse {
            elections: items.iter().map(|election| election_message(election, clock)).collect(),
            next_cursor: next.as_ref().map(parse::name_cursor_text).unwrap_or_default(),
            filtered,
            revision,
        })
    }
}
