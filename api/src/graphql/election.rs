//! Queries and mutations of elections.

use async_graphql::{Context, Object};

use super::call::{Keys, answered, read_context, service};
use super::connection::{self, Connection, cost};
use crate::contract::election::{
    CampaignRequest, Election, ElectionAnswer, LeadershipAnswer, ProclaimRequest, ResignAnswer, ResignRequest,
};
use crate::service::election::{self as service_election, ListRequest};
use crate::service::{Consistency, parse};

/// The queries of elections.
#[derive(Default)]
pub(super) struct ElectionQuery;

#[Object]
impl ElectionQuery {
    /// Reads the leader and the candidates of one election. Without a leader and candidates, both are absent.
    async fn election(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The election.")] name: String,
        #[graphql(
            desc = "`nextCandidatesCursor` of the previous answer: reads the candidates after it.",
            default
        )]
        candidates_after: String,
        #[graphql(desc = "The consistency of the read.", default)] consistency: Consistency,
        #[graphql(desc = "The namespace to read in.", default = "default")] namespace: String,
    ) -> Option<ElectionAnswer> {
        answered(ctx, async {
            let name = parse::parse_name("name", &name)?;
            let context = read_context(ctx, &namespace)?;
            let after = parse::candidates_cursor(&candidates_after).map_err(connection::renamed)?;
            Ok(service(ctx)?.get_election(&context, &name, after, consistency).await?.into())
        })
        .await
    }

    /// Lists the elections that have a leader or candidates, or that lock-delay keeps closed, in order of their names.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn elections(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only names that start with this prefix.", default)] prefix: String,
        #[graphql(desc = "Page size: by default 100, at most 1,000.")] first: Option<u32>,
        #[graphql(desc = "A cursor of the same listing.")] after: Option<String>,
        #[graphql(desc = "The consistency of the read.", default)] consistency: Consistency,
        #[graphql(desc = "The namespace to read in.", default = "default")] namespace: String,
    ) -> Option<Connection<Election>> {
        answered(ctx, async {
            let context = read_context(ctx, &namespace)?;
            let page = async {
                let begin = parse::name_cursor(after.as_deref())?;
                let request = ListRequest { prefix, limit: first, after: begin };
                service(ctx)?.list_elections(&context, &request, consistency).await
            };
            let page = page.await.map_err(connection::renamed)?;
            let name = |election: &service_election::Election| election.name.clone();
            let seen = |election, clock| Election::seen(&election, clock);
            Ok(Connection::new(page, after.as_deref(), name, parse::name_cursor_text, seen))
        })
        .await
    }
}

/// The mutations of elections.
#[derive(Default)]
pub(super) struct ElectionMutation;

#[Object]
impl ElectionMutation {
    /// Stands as a candidate in an election.
    ///
    /// With `waitMs` the answer comes when the candidate is elected or the wait is over. Closing the connection withdraws the candidacy.
    async fn campaign(
        &self,
        ctx: &Context<'_>,
        input: CampaignRequest,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<LeadershipAnswer> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            let request = input.read()?;
            let context = keys.context(ctx, request.owner.session)?;
            Ok(service(ctx)?.campaign(&context, request).await?.into())
        })
        .await
    }

    /// Replaces the value of the leader; watchers see the change.
    async fn proclaim(
        &self,
        ctx: &Context<'_>,
        input: ProclaimRequest,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<LeadershipAnswer> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            let (leadership, value) = input.read()?;
            Ok(service(ctx)?.proclaim(&keys.context(ctx, None)?, leadership, value).await?.into())
        })
        .await
    }

    /// Gives up leadership. The next candidate is elected at once.
    async fn resign(
        &self,
        ctx: &Context<'_>,
        input: ResignRequest,
        idempotency_key: Option<String>,
        session_sequence: Option<String>,
        #[graphql(default = "default")] namespace: String,
    ) -> Option<ResignAnswer> {
        let keys = Keys { namespace, idempotency_key, session_sequence };
        answered(ctx, async {
            Ok(service(ctx)?.resign(&keys.context(ctx, None)?, input.read()?).await?.into())
        })
        .await
    }
}
