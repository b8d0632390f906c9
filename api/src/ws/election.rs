//! Elections over WebSocket.

use super::lock::taken;
use super::op::{Beside, CallScope, LeaseOf, Op, done, run};
use crate::contract::election::{
    CampaignRequest, ElectionAnswer, ElectionPage, ElectionQuery, LeadershipAnswer, ListElectionsQuery,
    ProclaimRequest, ResignAnswer, ResignRequest,
};
use crate::service::election::{CAMPAIGN, GET_ELECTION, LIST_ELECTIONS, PROCLAIM, RESIGN};
use crate::service::parse;

/// The operations of elections.
pub(super) const OPS: &[Op] = &[
    Op::of::<CampaignRequest, LeadershipAnswer>(&CAMPAIGN, |fields| {
        let session = fields.defaults.session;
        let fields: CampaignRequest = fields.read()?;
        let own_life = fields.ttl_ms.is_some() || fields.session_id.is_some();
        let mut request = fields.read()?;
        // Without a session and without a TTL, the connection's session keeps the leader in office.
        if !own_life {
            request.owner.session = session;
        }
        Ok(run(move |scope| async move {
            let names = vec![request.name.clone()];
            taken::<LeadershipAnswer, _>(scope, names, |service, context, tell| async move {
                service.campaign_telling(&context, request, tell).await
            })
            .await
        }))
    })
    .leases(LeaseOf::Lock),
    Op::of::<ProclaimRequest, LeadershipAnswer>(&PROCLAIM, |fields| {
        let (leadership, value) = fields.read::<ProclaimRequest>()?.read()?;
        Ok(run(|CallScope { service, context, .. }| async move {
            done::<LeadershipAnswer, _>(service.proclaim(&context, leadership, value).await?)
        }))
    })
    .with(&[Beside::Name]),
    Op::of::<ResignRequest, ResignAnswer>(&RESIGN, |fields| {
        let leadership = fields.read::<ResignRequest>()?.read()?;
        Ok(run(|CallScope { service, context, .. }| async move {
            done::<ResignAnswer, _>(service.resign(&context, leadership).await?)
        }))
    }),
    Op::of::<ElectionQuery, ElectionAnswer>(&GET_ELECTION, |mut fields| {
        let name = fields.name()?;
        let query: ElectionQuery = fields.read()?;
        let (after, consistency) = (parse::candidates_cursor(&query.candidates_cursor)?, query.consistency);
        Ok(run(move |CallScope { service, context, .. }| async move {
            done::<ElectionAnswer, _>(service.get_election(&context, &name, after, consistency).await?)
        }))
    })
    .with(&[Beside::Name]),
    Op::of::<ListElectionsQuery, ElectionPage>(&LIST_ELECTIONS, |fields| {
        let query: ListElectionsQuery = fields.read()?;
        let consistency = query.consistency;
        let request = query.read()?;
        Ok(run(move |CallScope { service, context, .. }| async move {
            done::<ElectionPage, _>(service.list_elections(&context, &request, consistency).await?)
        }))
    }),
];
