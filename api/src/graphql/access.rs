//! Queries of access. Changes of access go over REST and gRPC: the aliases of one document would multiply guesses.

use async_graphql::{Context, Object};

use super::call::{answered, cluster_context, read_context, service};
use super::connection::{self, Connection, cost};
use crate::contract::access::{
    AccessAnswer, Binding, CheckAccessAnswer, CheckAccessRequest, Credential, Group, Principal, Role,
    WhoAmIAnswer,
};
use crate::service::access::{self, ListRequest, parse};

/// The queries of access.
#[derive(Default)]
pub(super) struct AccessQuery;

#[Object]
impl AccessQuery {
    /// Tells who the caller is: its principal, groups, credential and bindings.
    async fn who_am_i(&self, ctx: &Context<'_>) -> Option<WhoAmIAnswer> {
        answered(ctx, async { Ok(service(ctx)?.who_am_i(&cluster_context(ctx)).await?.into()) }).await
    }

    /// Reads the mode of access, and how many principals, groups, roles, bindings and credentials there are.
    async fn access(&self, ctx: &Context<'_>) -> Option<AccessAnswer> {
        answered(ctx, async { Ok(service(ctx)?.get_access(&cluster_context(ctx)).await?.into()) }).await
    }

    /// Tells whether a principal may do something in a namespace, and which binding allows it or what is missing.
    async fn check_access(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The permission, such as `lock:acquire`.")] permission: String,
        #[graphql(
            desc = "Whom to ask about: `user/NAME`, `service/NAME` or `anonymous`; by default the caller."
        )]
        principal: Option<String>,
        #[graphql(desc = "The name; without it, the question is about calls that name nothing.")]
        name: Option<String>,
        #[graphql(desc = "The namespace to ask about.", default = "default")] namespace: String,
    ) -> Option<CheckAccessAnswer> {
        answered(ctx, async {
            let request = CheckAccessRequest { principal, permission, name }.read()?;
            let context = read_context(ctx, &namespace)?;
            Ok(service(ctx)?.check_access(&context, &request).await?.into())
        })
        .await
    }

    /// Lists users and service accounts in order of their kinds and names.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn principals(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Page size: by default 100, at most 1,000.")] first: Option<u32>,
        #[graphql(desc = "A cursor of the same listing.")] after: Option<String>,
    ) -> Option<Connection<Principal>> {
        answered(ctx, async {
            let page = async {
                let request = ListRequest { limit: first, after: parse::principal_cursor(after.as_deref())? };
                service(ctx)?.list_principals(&cluster_context(ctx), &request).await
            };
            let page = page.await.map_err(connection::renamed)?;
            let place = |view: &access::PrincipalView| view.record.principal.clone();
            let seen = |view, _| Principal::from(view);
            Ok(Connection::new(page, after.as_deref(), place, parse::principal_cursor_text, seen))
        })
        .await
    }

    /// Lists groups in order of their names.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn groups(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Page size: by default 100, at most 1,000.")] first: Option<u32>,
        #[graphql(desc = "A cursor of the same listing.")] after: Option<String>,
    ) -> Option<Connection<Group>> {
        answered(ctx, async {
            let page = async {
                let request = ListRequest { limit: first, after: parse::group_cursor(after.as_deref())? };
                service(ctx)?.list_groups(&cluster_context(ctx), &request).await
            };
            let page = page.await.map_err(connection::renamed)?;
            let place = |view: &access::GroupView| view.name.clone();
            let seen = |view, _| Group::from(view);
            Ok(Connection::new(page, after.as_deref(), place, parse::group_cursor_text, seen))
        })
        .await
    }

    /// Lists roles, built-in ones first.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn roles(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Page size: by default 100, at most 1,000.")] first: Option<u32>,
        #[graphql(desc = "A cursor of the same listing.")] after: Option<String>,
    ) -> Option<Connection<Role>> {
        answered(ctx, async {
            let page = async {
                let request = ListRequest { limit: first, after: parse::role_cursor(after.as_deref())? };
                service(ctx)?.list_roles(&cluster_context(ctx), &request).await
            };
            let page = page.await.map_err(connection::renamed)?;
            let place = |view: &access::RoleView| view.record.name.clone();
            let seen = |view, _| Role::from(view);
            Ok(Connection::new(page, after.as_deref(), place, parse::role_cursor_text, seen))
        })
        .await
    }

    /// Lists bindings, oldest first.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn bindings(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "Only bindings of this subject: `user/NAME`, `service/NAME`, `group/NAME` or `anonymous`."
        )]
        subject: Option<String>,
        #[graphql(desc = "Page size: by default 100, at most 1,000.")] first: Option<u32>,
        #[graphql(desc = "A cursor of the same listing.")] after: Option<String>,
    ) -> Option<Connection<Binding>> {
        answered(ctx, async {
            let page = async {
                let subject = subject.map(|text| parse::parse_subject("subject", &text)).transpose()?;
                let request = ListRequest { limit: first, after: parse::binding_cursor(after.as_deref())? };
                service(ctx)?.list_bindings(&cluster_context(ctx), subject.as_ref(), &request).await
            };
            let page = page.await.map_err(connection::renamed)?;
            let place = |view: &access::BindingView| view.record.id;
            let seen = |view, _| Binding::from(view);
            Ok(Connection::new(page, after.as_deref(), place, parse::binding_cursor_text, seen))
        })
        .await
    }

    /// Lists credentials, without secrets: by default those of the caller.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn credentials(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whose credentials: `user/NAME` or `service/NAME`; by default the caller's.")]
        principal: Option<String>,
        #[graphql(desc = "Page size: by default 100, at most 1,000.")] first: Option<u32>,
        #[graphql(desc = "A cursor of the same listing.")] after: Option<String>,
    ) -> Option<Connection<Credential>> {
        answered(ctx, async {
            let page = async {
                let principal =
                    principal.map(|text| parse::parse_principal("principal", &text)).transpose()?;
                let after = parse::credential_cursor(after.as_deref())?;
                let request = ListRequest { limit: first, after };
                service(ctx)?.list_credentials(&cluster_context(ctx), principal.as_ref(), &request).await
            };
            let page = page.await.map_err(connection::renamed)?;
            let place = |view: &access::CredentialView| view.record.secret.id;
            let seen = |view, _| Credential::from(view);
            Ok(Connection::new(page, after.as_deref(), place, parse::credential_cursor_text, seen))
        })
        .await
    }
}
