//! GraphQL over HTTP: one document per request, as JSON.
//!
//! A request that can be read is answered 200, refusals inside; one that can not has the status of its code. Either way
//! the body is a GraphQL answer.

use async_graphql::{
    Name, Request as QueryRequest, Response as QueryResponse, ServerError, Value, Variables,
};
use axum::Json;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tower_http::trace::TraceLayer;

use super::{GraphqlOptions, Schema, error, guard};
use crate::ApiError;
use crate::json::decode_json;
use crate::middleware::{RequestIds, panicked};
use crate::rest::extract::{BODY_BYTES_MAX, read_body, require_json};
use crate::service::parse;

/// The most errors shown of a document that is not executed: it can be wrong in every line.
const ERRORS_MAX: usize = 20;

/// The page that asks in a browser. Its scripts come from a public address, which the browser asks and this node never does.
const GRAPHIQL: &str = include_str!("graphiql.html");

/// The schema and how it is served.
#[derive(Clone)]
struct Front {
    schema: Schema,
    options: GraphqlOptions,
}

/// The body of a request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Body {
    query: String,
    #[serde(default)]
    operation_name: Option<String>,
    #[serde(default)]
    variables: Option<serde_json::Map<String, serde_json::Value>>,
    /// Clients may say things to servers that know them; this one knows none.
    #[serde(default, rename = "extensions")]
    _extensions: Option<serde::de::IgnoredAny>,
}

/// The body of an answer. Without `data` nothing was executed.
#[derive(Serialize)]
struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ServerError>,
}

impl Answer {
    fn refused(error: ServerError) -> Self {
        Self { data: None, errors: vec![error] }
    }

    fn executed(mut response: QueryResponse, names: &[Name]) -> Self {
        // The library puts the fields of a query in the order in which their answers came.
        if let Value::Object(fields) = &mut response.data {
            fields.sort_by_cached_key(|name, _| names.iter().position(|asked| asked == name));
        }
        // Every field of the root may be null, so the whole is null only when nothing was executed.
        let data = (response.data != Value::Null).then_some(response.data);
        if data.is_none() {
            response.errors.truncate(ERRORS_MAX);
        }
        response.errors.iter_mut().for_each(error::complete);
        Self { data, errors: response.errors }
    }
}

/// A request that could not be read.
struct Unread(ApiError);

impl IntoResponse for Unread {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.info().http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(Answer::refused(error::of(&self.0, None)))).into_response()
    }
}

/// The routes of the front.
pub(super) fn routes(schema: Schema, options: GraphqlOptions) -> axum::Router {
    let route = if options.graphiql { post(execute).get(page) } else { post(execute) };
    axum::Router::new()
        .route("/graphql", route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(CatchPanicLayer::custom(|panic| Unread(panicked("graphql", panic)).into_response()))
        .layer(PropagateRequestIdLayer::x_request_id())
        // A refusal is an answer, not a defect of this node: it is not logged as an error.
        .layer(TraceLayer::new_for_http().make_span_with(request_span).on_failure(()))
        .layer(SetRequestIdLayer::x_request_id(RequestIds::default()))
        .with_state(Front { schema, options })
}

async fn execute(State(front): State<Front>, request: Request) -> Result<Json<Answer>, Unread> {
    let Body { query, operation_name, variables, .. } = read(request).await.map_err(Unread)?;
    let document = match guard::parse(&query, front.options.introspection) {
        Ok(document) => document,
        Err(refused) => return Ok(Json(Answer::refused(refused))),
    };
    let operation_name = operation_name.filter(|name| !name.is_empty());
    let names = guard::answer_names(&document, operation_name.as_deref());
    let variables = variables.unwrap_or_default();
    let mut request =
        QueryRequest::new(query).variables(Variables::from_json(serde_json::Value::Object(variables)));
    request.operation_name = operation_name;
    request.set_parsed_query(document);
    Ok(Json(Answer::executed(front.schema.execute(request).await, &names)))
}

async fn read(request: Request) -> Result<Body, ApiError> {
    require_json(request.headers())?;
    require_no_call_headers(request.headers())?;
    decode_json(&read_body(request).await?)
}

/// What the headers of REST say is an argument here, one per field. Said in a header it would do nothing, and the caller
/// would work in another namespace than it believes, or without its retry key.
fn require_no_call_headers(headers: &HeaderMap) -> Result<(), ApiError> {
    for name in [parse::NAMESPACE_FIELD, parse::KEY_FIELD, parse::SEQUENCE_FIELD] {
        if headers.contains_key(name) {
            return Err(ApiError::invalid(name, "is an argument of the field in GraphQL, not a header"));
        }
    }
    Ok(())
}

async fn page() -> Html<&'static str> {
    Html(GRAPHIQL)
}

async fn method_not_allowed(method: Method, uri: Uri) -> Unread {
    let path = uri.path().chars().take(256).collect();
    Unread(ApiError::MethodNotAllowed { method: method.to_string(), path })
}

fn request_span<B>(request: &axum::http::Request<B>) -> tracing::Span {
    let id = request.extensions().get::<RequestId>().and_then(|id| id.header_value().to_str().ok());
    tracing::debug_span!("graphql", method = %request.method(), request_id = id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_answer_that_keeps_its_words_to_itself() {
        let response = Unread(panicked("graphql", Box::new("secret words"))).into_response();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(response.into_body(), BODY_BYTES_MAX).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["errors"][0]["extensions"]["code"], "internal");
        assert!(!body.to_string().contains("secret"), "{body}");
    }
}
