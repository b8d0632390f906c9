//! The client handle and its settings.

use std::sync::Arc;
use std::time::Duration;

use crate::credential::Credentials;
use crate::pool::Pool;
use crate::{Backoff, Credential, Error};

/// A handle on a cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) pool: Arc<Pool>,
    pub(crate) namespace: Arc<str>,
    pub(crate) timeout: Duration,
    pub(crate) backoff: Backoff,
}

/// Settings of a [`Client`].
#[derive(Debug, Clone)]
pub struct Builder {
    endpoints: Vec<String>,
    namespace: String,
    timeout: Duration,
    backoff: Backoff,
    credential: Credential,
}

impl Builder {
    /// gRPC addresses of nodes, `host:port` or `http://host:port`. One is enough: the client learns the other
    /// members from it and uses them when it is gone. Other schemes are refused when connecting.
    #[must_use]
    pub fn endpoints<I>(mut self, endpoints: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.endpoints = endpoints.into_iter().map(Into::into).collect();
        self
    }

    /// Namespace of every call; `default` unless set.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Overall bound of one call including retries; time spent waiting for a lock or an election comes on top.
    /// 10 s unless set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Pauses between attempts.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How the client proves who it is; not at all unless set. The token goes to the given endpoints and to the
    /// members that they name.
    #[must_use]
    pub fn credential(mut self, credential: Credential) -> Self {
        self.credential = credential;
        self
    }

    /// Finds a node that answers and, through that node, the leader. Without a credential, a cluster that
    /// demands one only tells that it is there.
    ///
    /// # Errors
    /// An endpoint is not an address or has an unsupported scheme, the token file has no token, the token is
    /// refused, or no node answered in time.
    pub async fn connect(self) -> Result<Client, Error> {
        let credentials = Credentials::open(&self.credential)?;
        let anonymous = !credentials.is_some();
        let client = Client {
            pool: Arc::new(Pool::new(&self.endpoints, credentials)?),
            namespace: self.namespace.into(),
            timeout: self.timeout,
            backoff: self.backoff,
        };
        match client.find_members().await {
            Err(error) if anonymous && error.code == "unauthenticated" => Ok(client),
            found => found.map(|()| client),
        }
    }
}

impl Client {
    /// Returns a builder with the default settings.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            endpoints: vec!["127.0.0.1:9090".to_owned()],
            namespace: "default".to_owned(),
            timeout: Duration::from_secs(10),
            backoff: Backoff::default(),
            credential: Credential::None,
        }
    }
}
