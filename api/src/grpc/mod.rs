//! The gRPC front: decodes, calls the service, encodes.
//!
//! Metadata of a call: `batuta-namespace`, `idempotency-key`, `batuta-session-sequence`; its `grpc-timeout` bounds it.

mod access;
mod by_hand;
mod cluster;
mod election;
mod hold;
mod lock;
mod pipeline;
mod register;
mod session;
mod status;
mod watch;

use std::time::Duration;

use batuta_proto::v1;
use batuta_statemachine::SessionId;
use tonic::Extensions;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic_health::ServingStatus;

use crate::ApiError;
use crate::middleware::{Doorkeeper, client_of};
use crate::service::{CallContext, Client, Consistency, Service, parse};

/// The largest message that is accepted or sent, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most calls in flight on one connection; for the server's `max_concurrent_streams`.
pub const CONCURRENT_STREAMS_MAX: u32 = 1_024;
/// How often the health service reads the node's readiness.
const HEALTH_INTERVAL: Duration = Duration::from_millis(200);

/// The name in the health service for requests that add to the state. It may be "not serving" while the node itself is serving, when the disk is
/// nearly full.
const WRITES_NAME: &str = "batuta.v1.writes";
/// All names in the health service, with the node as a whole first.
const HEALTH_NAMES: [&str; 8] = [
    "",
    "batuta.v1.SessionService",
    "batuta.v1.LockService",
    "batuta.v1.ElectionService",
    "batuta.v1.WatchService",
    "batuta.v1.PipelineService",
    "batuta.v1.ClusterService",
    "batuta.v1.AccessService",
];

/// The services of the public contract, over the use cases.
#[derive(Clone)]
struct Front {
    service: Service,
}

/// Builds all public services, health and reflection. Must be called inside a Tokio runtime.
///
/// # Panics
/// When the descriptors compiled into this binary cannot be decoded, which the tests rule out.
pub fn router(service: Service) -> axum::Router {
    let (front, doorkeeper) = (Front { service: service.clone() }, Doorkeeper::of(&service));
    let (reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(report_health(service, reporter));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors are compiled into the binary and a test reads them");
    macro_rules! limited {
        ($server:expr) => {
            $server.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
        };
    }
    let mut routes = Routes::builder();
    routes
        .add_service(limited!(v1::session_service_server::SessionServiceServer::new(front.clone())))
        .add_service(limited!(v1::lock_service_server::LockServiceServer::new(front.clone())))
        .add_service(limited!(v1::election_service_server::ElectionServiceServer::new(front.clone())))
        .add_service(by_hand::ByHand(watch::WatchMethod(front.clone())))
        .add_service(by_hand::ByHand(pipeline::PipelineMethod(front.clone())))
        .add_service(limited!(v1::cluster_service_server::ClusterServiceServer::new(front.clone())))
        .add_service(limited!(v1::access_service_server::AccessServiceServer::new(front)))
        .add_service(health)
        .add_service(reflection);
    let answers = axum::middleware::map_response(status::in_own_words);
    let routes = routes.routes().into_axum_router().layer(answers);
    crate::middleware::stack(routes, crate::middleware::Front::Grpc, &doorkeeper)
}

/// Keeps the health service up to date with the node's readiness until the node drains.
async fn report_health(service: Service, reporter: tonic_health::server::HealthReporter) {
    let mut shown = None;
    loop {
        let draining = service.is_draining();
        let readiness = service.readiness();
        let now = (readiness.ready(), readiness.ready() && readiness.writes_refused.is_none());
        if shown != Some(now) {
            let status = |serves| if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
            for name in HEALTH_NAMES {
                reporter.set_service_status(name, status(now.0)).await;
            }
            reporter.set_service_status(WRITES_NAME, status(now.1)).await;
            shown = Some(now);
        }
        if draining {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(HEALTH_INTERVAL) => {}
            () = service.draining() => {}
        }
    }
}

/// The metadata of a call, besides its request, as texts.
#[derive(Default)]
struct Headers<'a> {
    namespace: Option<&'a str>,
    key: Option<&'a str>,
    sequence: Option<&'a str>,
    timeout: Option<Duration>,
}

impl<'a> Headers<'a> {
    fn of(metadata: &'a MetadataMap) -> Result<Self, ApiError> {
        Ok(Self {
            namespace: text(metadata, parse::NAMESPACE_FIELD)?,
            key: text(metadata, parse::KEY_FIELD)?,
            sequence: text(metadata, parse::SEQUENCE_FIELD)?,
            timeout: text(metadata, "grpc-timeout")?.map(timeout).transpose()?,
        })
    }

    /// Parses the metadata, for a request of this client and this session.
    fn context(&self, client: &Client, session: Option<SessionId>) -> Result<CallContext, ApiError> {
        let namespace = self.namespace.map(|text| parse::parse_namespace(parse::NAMESPACE_FIELD, text));
        let namespace = namespace.transpose()?.unwrap_or_default();
        let dedup = parse::parse_dedup(&namespace, self.key, self.sequence, session)?;
        Ok(CallContext { dedup, timeout: self.timeout, ..client.context(namespace) })
    }
}

/// Reads the context of a call from its metadata and its client.
fn context(
    metadata: &MetadataMap,
    extensions: &Extensions,
    session: Option<SessionId>,
) -> Result<CallContext, ApiError> {
    Headers::of(metadata)?.context(&client_of(extensions), session)
}

/// A request that may name a session, which then counts it in its sequence.
trait OfSession {
    fn session(&self) -> Result<Option<SessionId>, ApiError> {
        Ok(None)
    }
}

/// Implements a service of the contract with the front's methods of the same names, which serve single calls here and calls in a
/// stream of many in [`pipeline`].
macro_rules! calls_of_the_front {
    ($service:ident { $($rest:tt)* } $($name:ident($request:ident) -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl $service for Front {
            $(
                async fn $name(&self, request: Request<v1::$request>) -> Result<Response<v1::$response>, Status> {
                    let (metadata, extensions, message) = request.into_parts();
                    let context = context(&metadata, &extensions, message.session()?)?;
                    drop(metadata);
                    Ok(Response::new(super::status::sendable(Front::$name(self, &context, message).await?)?))
                }
            )*
            $($rest)*
        }
    };
}
use calls_of_the_front;

fn text<'a>(metadata: &'a MetadataMap, field: &str) -> Result<Option<&'a str>, ApiError> {
    let mut values = metadata.get_all(field).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::invalid(field, "must be given once"));
    }
    value.to_str().map(Some).map_err(|_| ApiError::invalid(field, "must be visible ASCII text"))
}

/// Parses a `grpc-timeout`: at most eight digits and a unit.
fn timeout(text: &str) -> Result<Duration, ApiError> {
    let problem =
        || ApiError::invalid("grpc-timeout", "must be at most eight digits and one of H, M, S, m, u, n");
    let (digits, unit) = text.split_at_checked(text.len().wrapping_sub(1)).ok_or_else(problem)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(problem());
    }
    let value: u64 = digits.parse().map_err(|_| problem())?;
    match unit {
        "H" => Ok(Duration::from_secs(value * 3600)),
        "M" => Ok(Duration::from_secs(value * 60)),
        "S" => Ok(Duration::from_secs(value)),
        "m" => Ok(Duration::from_millis(value)),
        "u" => Ok(Duration::from_micros(value)),
        "n" => Ok(Duration::from_nanos(value)),
        _ => Err(problem()),
    }
}

fn consistency(value: i32) -> Result<Consistency, ApiError> {
    match v1::Consistency::try_from(value) {
        Ok(v1::Consistency::Unspecified | v1::Consistency::Linearizable) => Ok(Consistency::Linearizable),
        Ok(v1::Consistency::Stale) => Ok(Consistency::Stale),
        Err(_) => Err(ApiError::invalid("consistency", "must be a value of Consistency")),
    }
}

#[cfg(test)]
mod tests {
    use batuta_statemachine::{DedupKey, Position};

    use super::*;

    #[test]
    fn timeouts_are_parsed_as_grpc_writes_them() {
        for (text, expected) in [
            ("1H", Duration::from_hours(1)),
            ("2M", Duration::from_mins(2)),
            ("99999999S", Duration::from_secs(99_999_999)),
            ("250m", Duration::from_millis(250)),
            ("7u", Duration::from_micros(7)),
            ("8n", Duration::from_nanos(8)),
        ] {
            assert_eq!(timeout(text).expect("valid"), expected, "{text}");
        }
        for text in ["", "S", "1", "1s", "-1S", "+1S", "123456789S", "1é"] {
            assert_eq!(timeout(text).expect_err("invalid").field(), Some("grpc-timeout"), "{text}");
        }
    }

    #[test]
    fn metadata_becomes_the_context_of_a_call() {
        let mut metadata = MetadataMap::new();
        assert!(context(&metadata, &Extensions::default(), None).expect("empty").dedup.is_none());
        metadata.insert("batuta-namespace", "team-a".parse().expect("ascii"));
        metadata.insert("grpc-timeout", "3S".parse().expect("ascii"));
        metadata.insert("batuta-session-sequence", "4".parse().expect("ascii"));
        let session = SessionId(Position { index: 1, ordinal: 0 });
        let context_read = context(&metadata, &Extensions::default(), Some(session)).expect("valid");
        assert_eq!(context_read.namespace.as_str(), "team-a");
        assert_eq!(context_read.timeout, Some(Duration::from_secs(3)));
        assert_eq!(context_read.dedup, Some(DedupKey::Sequence { session, sequence: 4 }));
        metadata.append("batuta-namespace", "team-b".parse().expect("ascii"));
        assert_eq!(
            context(&metadata, &Extensions::default(), Some(session)).expect_err("twice").field(),
            Some("batuta-namespace")
        );
    }

    #[test]
    fn the_descriptors_can_be_read() {
        let built = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1();
        assert!(built.is_ok());
    }
}
