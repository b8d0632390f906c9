//! Decodes requests: an unreadable request becomes a [`Problem`] that names the field.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use batuta_statemachine::{Name, Namespace, SessionId};
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::ApiError;
use crate::json::{Problem, decode_json, shape_error};
use crate::middleware::client_of;
use crate::service::{CallContext, Client, parse};

/// The longest request body, in bytes; the router sets it as `DefaultBodyLimit`.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;

/// How long a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A JSON body. Unknown fields are refused by the `deny_unknown_fields` of every request type.
pub(super) struct Body<T>(pub(super) T);

/// A JSON body that may be absent.
pub(super) struct OptionalBody<T>(pub(super) T);

/// The query parameters. Unknown parameters are refused by the `deny_unknown_fields` of every query type.
pub(super) struct Query<T>(pub(super) T);

/// The `{name}` of the path, percent-decoded.
pub(super) struct NamePath(pub(super) Name);

/// Any other parameter of the path, percent-decoded.
pub(super) struct TextPath(pub(super) String);

/// The headers that a request of any job may have, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Headers {
    client: Client,
    namespace: Namespace,
    idempotency_key: Option<String>,
    session_sequence: Option<String>,
    /// The conditional header of the request, if any (RFC 9110 section 13).
    condition: Option<&'static str>,
    if_none_match: Option<String>,
}

/// Headers that make a request conditional. On a write they are refused, never ignored.
const CONDITIONS: [&str; 4] = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];

impl Headers {
    /// The context of a write whose request names this session.
    pub(super) fn context(&self, session: Option<SessionId>) -> Result<CallContext, ApiError> {
        if let Some(header) = self.condition {
            let problem = "a write here is conditional by the fencing_token it names, not by an entity tag; leave the header out";
            return Err(ApiError::invalid(header, problem));
        }
        let key = self.idempotency_key.as_deref();
        let dedup = parse::parse_dedup(&self.namespace, key, self.session_sequence.as_deref(), session)?;
        Ok(CallContext { dedup, ..self.read_context() })
    }

    /// The context of a read, which needs no retry key.
    pub(super) fn read_context(&self) -> CallContext {
        self.client.context(self.namespace.clone())
    }

    /// Whether the client already has the representation with this entity tag (RFC 9110 section 13.1.2).
    pub(super) fn has_already(&self, etag: &str) -> bool {
        let known = self.if_none_match.as_deref().unwrap_or_default();
        known.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
    }
}

/// [`Headers`] as shown in the `OpenAPI` document.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its shape is used")]
pub(super) struct CallHeaders {
    /// The namespace of the call; by default `default`.
    #[param(rename = "Batuta-Namespace", example = "default")]
    namespace: Option<String>,
    /// The retry key: a write that is repeated with the same key takes effect once and gets the same answer.
    #[param(rename = "Idempotency-Key", example = "order-42-attempt-1")]
    idempotency_key: Option<String>,
    /// Instead of a retry key: the number of this request in its session, counted from 1; or `<session id>/<number>` when the
    /// request names no session.
    #[param(rename = "Batuta-Session-Sequence", example = "s-12.0/7")]
    session_sequence: Option<String>,
}

/// The condition of a read with an entity tag, as shown in the `OpenAPI` document.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its shape is used")]
pub(super) struct IfNoneMatch {
    /// The `ETag` of an earlier answer. If the value is unchanged, the answer is 304 without a body.
    #[param(rename = "If-None-Match", example = "\"17\"")]
    if_none_match: Option<String>,
}

/// [`Headers`] of a read, as shown in the `OpenAPI` document.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its shape is used")]
pub(super) struct ReadHeaders {
    /// The namespace of the call; by default `default`.
    #[param(rename = "Batuta-Namespace", example = "default")]
    namespace: Option<String>,
}

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let headers = request.headers().clone();
        let bytes = read_body(request).await?;
        require_json(&headers)?;
        Ok(Self(decode_json(&bytes)?))
    }
}

impl<T: DeserializeOwned + Default, S: Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let headers = request.headers().clone();
        let bytes = read_body(request).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        require_json(&headers)?;
        Ok(Self(decode_json(&bytes)?))
    }
}

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Ok(Self(decode_query(&parts.uri)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NamePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let TextPath(text) = TextPath::from_request_parts(parts, state).await?;
        Ok(Self(parse::parse_name("name", &text)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TextPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(rejection) => Err(ApiError::invalid("path", rejection.body_text()).into()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Headers {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let client = client_of(&parts.extensions);
        Ok(Headers { client, ..decode_headers(&parts.headers)? })
    }
}

fn decode_headers(headers: &HeaderMap) -> Result<Headers, ApiError> {
    let namespace = match header_text(headers, parse::NAMESPACE_FIELD)? {
        Some(text) => parse::parse_namespace(parse::NAMESPACE_FIELD, text)?,
        None => Namespace::default(),
    };
    let idempotency_key = header_text(headers, parse::KEY_FIELD)?.map(str::to_owned);
    let session_sequence = header_text(headers, parse::SEQUENCE_FIELD)?.map(str::to_owned);
    let condition = CONDITIONS.into_iter().find(|name| headers.contains_key(*name));
    let if_none_match = header_text(headers, "if-none-match")?.map(str::to_owned);
    let client = Client::default();
    Ok(Headers { client, namespace, idempotency_key, session_sequence, condition, if_none_match })
}

/// Reads the text of a header that may occur only once.
fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::invalid(name, "must be given once"));
    }
    value.to_str().map(Some).map_err(|_| ApiError::invalid(name, "must be visible ASCII text"))
}

/// Reads the whole body, within the limits of time and size.
pub(crate) async fn read_body(request: Request) -> Result<Bytes, ApiError> {
    let declared_bytes = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<u64>().ok());
    let max_bytes = BODY_BYTES_MAX as u64;
    if declared_bytes.is_some_and(|bytes| bytes > max_bytes) {
        return Err(ApiError::BodyTooLarge { max_bytes });
    }
    match tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, &())).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(ApiError::BodyTooLarge { max_bytes })
        }
        Ok(Err(rejection)) => Err(ApiError::MalformedBody { problem: rejection.body_text() }),
        Err(_elapsed) => {
            let problem = format!("it did not arrive within {} s; nothing was done", BODY_TIMEOUT.as_secs());
            Err(ApiError::MalformedBody { problem })
        }
    }
}

/// Requires an uncompressed JSON body. This also keeps out web pages of other origins: a browser does not send JSON without a preflight.
pub(crate) fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence != "application/json" {
        return Err(ApiError::UnsupportedMediaType);
    }
    require_plain(headers, "Content-Encoding", "identity")?;
    require_plain(headers, "Transfer-Encoding", "chunked")
}

/// Refuses a body that is compressed or otherwise encoded, because it would be misread.
fn require_plain(headers: &HeaderMap, header: &'static str, plain: &str) -> Result<(), ApiError> {
    for value in headers.get_all(header) {
        let codings = value.to_str().unwrap_or("something that is not ASCII");
        let strange = |coding: &&str| !coding.is_empty() && !coding.eq_ignore_ascii_case(plain);
        if let Some(coding) = codings.split(',').map(str::trim).find(strange) {
            let coding = coding.chars().take(64).collect();
            return Err(ApiError::UnsupportedCoding { header, coding });
        }
    }
    Ok(())
}

fn decode_query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    axum::extract::Query::<T>::try_from_uri(uri).map(|query| query.0).map_err(|rejection| {
        let source = std::error::Error::source(&rejection);
        let cause = source.map_or_else(|| rejection.body_text(), ToString::to_string);
        // The message is `path: words`, or only `words` when the query as a whole is wrong.
        match cause.split_once(": ") {
            Some((path, words)) if !path.contains(' ') => shape_error(path, words),
            _ => shape_error(".", &cause),
        }
    })
}
