//! Access in a measured cluster: its principals, their keys, and how a key is sent with calls.

use std::time::{Duration, Instant};

use batuta_client::{Client, Credential, Token};
use batuta_proto::v1;
use batuta_proto::v1::lock_service_client::LockServiceClient;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use tonic::service::Interceptor;
use tonic::{Code, Request, Status};

use crate::error::{Error, Result};
use crate::system::impatient_channel;

/// The administrator, who also reads the status of nodes and takes snapshots.
const ADMIN: &str = "user/bench-admin";
/// The account of all measured clients.
const CLIENTS: &str = "service/bench";
/// How long a node may take to enforce access after it has learned that it must.
const ENFORCED_WITHIN: Duration = Duration::from_secs(10);

/// A key that calls carry; by default none. `Debug` does not show it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bearer {
    credential: Credential,
    header: Option<HeaderValue>,
}

impl Bearer {
    fn of(key: String) -> Result<Self> {
        let header: Result<HeaderValue, _> = format!("Bearer {key}").parse();
        // The error must not show the key.
        let mut header = header.map_err(|_| Error::other("a key that is not printable ASCII"))?;
        header.set_sensitive(true);
        Ok(Self { credential: Credential::Token(Token::new(key)), header: Some(header) })
    }

    /// The key for Batuta's own client.
    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The headers of an HTTP request or of a WebSocket handshake.
    pub(crate) fn headers(&self) -> HeaderMap {
        self.header.iter().map(|header| (AUTHORIZATION, header.clone())).collect()
    }
}

/// Adds the key to gRPC calls.
impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.header {
            let headers: &mut HeaderMap = request.metadata_mut().as_mut();
            headers.insert(AUTHORIZATION, header.clone());
        }
        Ok(request)
    }
}

/// The keys for one cluster; by default none, for a cluster in which access is off.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    /// The key of the administrator.
    pub(crate) admin: Bearer,
    /// The key of the measured clients.
    pub(crate) clients: Bearer,
}

impl Access {
    /// Makes an administrator and an account for the clients, which has the role `editor`, and sets the mode
    /// `enforce`. The cluster at these gRPC ports has a leader, and nobody has used access in it.
    ///
    /// # Errors
    /// When a call is refused or not answered; the error names the step.
    pub(crate) async fn enforce(ports: &[u16]) -> Result<Self> {
        // While a cluster has no administrator, anybody may make one.
        let nobody = client(ports, Credential::None).await?;
        let admin = principal(&nobody, ADMIN, "admin").await?;
        let manager = client(ports, admin.credential().clone()).await?;
        let clients = principal(&manager, CLIENTS, "editor").await?;
        let mode = v1::SetAccessModeRequest { mode: v1::AccessMode::Enforce.into() };
        manager.set_access_mode(mode).await.map_err(failed("set the mode enforce"))?;
        Ok(Self { admin, clients })
    }
}

async fn client(ports: &[u16], credential: Credential) -> Result<Client> {
    let endpoints = ports.iter().map(|port| format!("127.0.0.1:{port}"));
    let client = Client::builder().endpoints(endpoints).credential(credential);
    client.connect().await.map_err(failed("connect"))
}

/// Creates a principal with a role in all namespaces, and makes a key for it.
async fn principal(by: &Client, principal: &str, role: &str) -> Result<Bearer> {
    let principal = principal.to_owned();
    let put = v1::PutPrincipalRequest { principal: principal.clone(), description: "bench".to_owned() };
    by.put_principal(put).await.map_err(failed(&format!("create {principal}")))?;
    let (role, reason) = (role.to_owned(), "bench".to_owned());
    let bind = v1::BindRequest { subject: principal.clone(), role, reason, ..Default::default() };
    by.bind(bind).await.map_err(failed(&format!("give {principal} its role")))?;
    let failed = failed(&format!("make a key for {principal}"));
    let wanted = v1::CreateKeyRequest { principal, label: "bench".to_owned(), ..Default::default() };
    Bearer::of(by.create_key(wanted).await.map_err(failed)?.key)
}

/// Converts the error of a step of the set-up.
fn failed(step: &str) -> impl FnOnce(batuta_client::Error) -> Error + use<> {
    let step = step.to_owned();
    move |error| Error::other(format!("access cannot be set up: {step}: {error}"))
}

/// Waits until the node at this gRPC port refuses calls without a key: only then do its figures include access.
///
/// # Errors
/// When it still does not refuse them after 10 s.
pub(crate) async fn enforced(port: u16) -> Result<()> {
    let begun = Instant::now();
    loop {
        let answer = read(port, Bearer::default()).await;
        let found = match &answer {
            Err(Error::Call(status)) if status.code() == Code::Unauthenticated => return Ok(()),
            Ok(()) => "it answered a call without a key".to_owned(),
            Err(error) => error.to_string(),
        };
        if begun.elapsed() > ENFORCED_WITHIN {
            return Err(Error::other(format!("the node at port {port} does not enforce access: {found}")));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Makes a linearizable read at the node with this gRPC port.
///
/// # Errors
/// When the node does not answer within a second, or refuses.
pub(crate) async fn read(port: u16, bearer: Bearer) -> Result<()> {
    let request = v1::GetLockRequest { name: "nothing".to_owned(), ..Default::default() };
    let mut locks = LockServiceClient::with_interceptor(impatient_channel(port).await?, bearer);
    match locks.get_lock(request).await {
        Err(status) if status.code() != Code::NotFound => Err(status.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(bearer: &Bearer) -> Option<String> {
        let request = bearer.clone().call(Request::new(())).unwrap();
        let metadata =
            request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let headers = bearer.headers();
        let header = headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(metadata, header, "all protocols send the same");
        header
    }

    #[test]
    fn key_is_sent_on_every_protocol() {
        let bearer = Bearer::of("btk_a_b".to_owned()).unwrap();
        assert_eq!(*bearer.credential(), Credential::Token(Token::new("btk_a_b")));
        assert_eq!(sent(&bearer).as_deref(), Some("Bearer btk_a_b"));
    }

    #[test]
    fn without_key_nothing_is_sent() {
        let access = Access::default();
        assert_eq!(*access.clients.credential(), Credential::None);
        assert_eq!((sent(&access.admin), sent(&access.clients)), (None, None));
    }

    #[test]
    fn key_is_never_shown() {
        let bearer = Bearer::of("btk_secret".to_owned()).unwrap();
        for shown in [format!("{bearer:?}"), format!("{:?}", bearer.headers())] {
            assert!(!shown.contains("secret"), "{shown}");
        }
        let refused = Bearer::of("secret\n".to_owned()).unwrap_err().to_string();
        assert!(refused.contains("printable") && !refused.contains("secret"), "{refused}");
    }

    #[test]
    fn failed_setup_names_its_step() {
        let refused = batuta_client::Error {
            code: "last_admin".to_owned(),
            message: "nobody could log in".to_owned(),
            retryable: false,
            field: None,
            details: std::collections::BTreeMap::new(),
        };
        let said = failed("set the mode enforce")(refused).to_string();
        assert_eq!(said, "access cannot be set up: set the mode enforce: nobody could log in (last_admin)");
    }
}
