//! Requests and answers as JSON, over HTTP and over WebSocket: one document per request.

use async_graphql::parser::types::OperationType;
use async_graphql::{Name, Request, Response, ServerError, Value, Variables};
use futures_util::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};

use super::{Schema, error, guard};
use crate::service::Client;

/// The most errors shown for a document that is not executed: every line of it can be wrong.
const ERRORS_MAX: usize = 20;

/// The JSON of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Body {
    query: String,
    #[serde(default)]
    operation_name: Option<String>,
    #[serde(default)]
    variables: Option<serde_json::Map<String, serde_json::Value>>,
    /// Extensions of clients, which are ignored.
    #[serde(default, rename = "extensions")]
    _extensions: Option<serde::de::IgnoredAny>,
}

/// A request whose document is within the limits.
pub(super) struct Operation {
    request: Request,
    subscription: bool,
    names: Vec<Name>,
}

impl Operation {
    /// Parses the document of a request.
    pub(super) fn read(body: Body, introspection: bool) -> Result<Self, ServerError> {
        let Body { query, operation_name, variables, .. } = body;
        let document = guard::parse(&query, introspection)?;
        let operation_name = operation_name.filter(|name| !name.is_empty());
        let chosen = guard::operation(&document, operation_name.as_deref());
        let subscription = chosen.is_some_and(|operation| operation.ty == OperationType::Subscription);
        let names = chosen.map(|operation| guard::answer_names(&document, operation)).unwrap_or_default();
        let variables = serde_json::Value::Object(variables.unwrap_or_default());
        let mut request = Request::new(query).variables(Variables::from_json(variables));
        request.operation_name = operation_name;
        request.set_parsed_query(document);
        Ok(Self { request, subscription, names })
    }

    /// Whether the operation is a subscription, which has several answers.
    pub(super) fn is_subscription(&self) -> bool {
        self.subscription
    }

    /// Executes a query or a mutation of a client. A subscription is refused.
    pub(super) async fn execute(self, schema: &Schema, client: Client) -> Answer {
        Answer::executed(schema.execute(self.request.data(client)).await, &self.names)
    }

    /// Starts a subscription of a client and returns its answers. An answer without data is the last.
    pub(super) fn subscribe(self, schema: &Schema, client: Client) -> impl Stream<Item = Answer> + use<> {
        let names = self.names;
        schema
            .execute_stream(self.request.data(client))
            .map(move |response| Answer::executed(response, &names))
    }
}

/// The JSON of an answer. Without `data`, nothing was executed, or a subscription has ended.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) errors: Vec<ServerError>,
}

impl Answer {
    pub(super) fn refused(error: ServerError) -> Self {
        Self { data: None, errors: vec![error] }
    }

    fn executed(mut response: Response, names: &[Name]) -> Self {
        // The library orders the fields of a query by when they were answered.
        if let Value::Object(fields) = &mut response.data {
            fields.sort_by_cached_key(|name, _| names.iter().position(|asked| asked == name));
        }
        // Every root field may be null, or belongs to a subscription. So the whole data is null only when nothing was
        // executed or the subscription has ended.
        let data = (response.data != Value::Null).then_some(response.data);
        if data.is_none() {
            response.errors.truncate(ERRORS_MAX);
        }
        response.errors.iter_mut().for_each(error::complete);
        Self { data, errors: response.errors }
    }
}
