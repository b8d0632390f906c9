//! Clusters with access, set up through their own API, and callers with keys of their own.

use std::time::Duration;

use batuta_tests::{Answer, Cluster, Node, Rest, eventually};
use serde_json::{Value, json};
use tonic::metadata::MetadataValue;

/// A time longer than any test waits.
pub(crate) const LONG_MS: u64 = 600_000;
/// How long a stream may outlive the answer to the revocation of its right. The promise is a second; the rest is for slow machines.
pub(crate) const REVOKED_WITHIN: Duration = Duration::from_secs(3);

/// A cluster with an administrator.
pub(crate) struct Secured {
    /// The cluster.
    pub(crate) cluster: Cluster,
    /// The administrator, `user/root`, at the leader.
    pub(crate) root: Caller,
    /// The place of the node that led when the cluster was set up.
    pub(crate) leader: usize,
    /// The place of a node that did not.
    pub(crate) follower: usize,
}

/// Somebody who calls one node, with a key or with nothing.
#[derive(Clone)]
pub(crate) struct Caller {
    /// The principal; empty for an anonymous caller.
    pub(crate) principal: String,
    /// The secret that the caller sends; empty for none.
    pub(crate) key: String,
    /// The id of the credential.
    pub(crate) credential: String,
    /// The namespace of the calls.
    pub(crate) namespace: String,
    /// The REST API.
    pub(crate) rest: Rest,
    /// Base URL of the REST API.
    pub(crate) base: String,
    /// Base URL of the gRPC API.
    pub(crate) grpc: String,
    /// URL of the WebSocket API.
    pub(crate) ws: String,
    /// URL of the GraphQL API over WebSocket.
    pub(crate) graphql: String,
}

/// Finds a field anywhere in an answer, so that a test does not depend on how deep an object lies.
pub(crate) fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => {
            fields.get(name).or_else(|| fields.values().find_map(|inner| field(inner, name)))
        }
        Value::Array(items) => items.iter().find_map(|inner| field(inner, name)),
        _ => None,
    }
}

/// A text field anywhere in an answer.
pub(crate) fn text(answer: &Answer, name: &str) -> String {
    let found = field(&answer.body, name).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("no text {name} in {answer:?}")).to_owned()
}

/// The answer, if it is not a refusal.
#[track_caller]
pub(crate) fn done(answer: Answer) -> Answer {
    assert!(answer.status < 300, "{answer:?}");
    answer
}

/// Checks the code of a refusal.
#[track_caller]
pub(crate) fn refused(answer: &Answer, code: &str) {
    assert_eq!(answer.code(), code, "{answer:?}");
}

impl Caller {
    /// A caller without a credential.
    pub(crate) fn anonymous(node: &Node) -> Self {
        let base = format!("http://{}", node.rest_address());
        Self {
            principal: String::new(),
            key: String::new(),
            credential: String::new(),
            namespace: "default".to_owned(),
            rest: Rest::new(&base),
            base,
            grpc: node.grpc.clone(),
            ws: node.ws(),
            graphql: node.graphql(),
        }
    }

    /// The same caller at another node.
    #[must_use]
    pub(crate) fn at(&self, node: &Node) -> Self {
        let Self { principal, key, credential, namespace, .. } = self.clone();
        Self { principal, key, credential, namespace, ..Self::anonymous(node) }
    }

    /// The same caller in another namespace.
    #[must_use]
    pub(crate) fn within(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }

    /// The same caller with another secret.
    #[must_use]
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// The headers of a call.
    pub(crate) fn headers(&self) -> Vec<(String, String)> {
        let mut headers = Vec::new();
        // GraphQL has it in its arguments and refuses the header.
        if self.namespace != "default" {
            headers.push(("batuta-namespace".to_owned(), self.namespace.clone()));
        }
        if !self.key.is_empty() {
            headers.push(("authorization".to_owned(), format!("Bearer {}", self.key)));
        }
        headers
    }

    /// Sends a request with more headers.
    pub(crate) async fn send_with(
        &self,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let own = self.headers();
        let own = own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let headers: Vec<(&str, &str)> = own.chain(more.iter().copied()).collect();
        let answer = self.rest.try_send(method, path, &headers, body).await;
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Sends a GET request.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send_with("GET", path, &[], None).await
    }

    /// Sends a POST request.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send_with("POST", path, &[], Some(&body)).await
    }

    /// Sends a PUT request.
    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send_with("PUT", path, &[], Some(&body)).await
    }

    /// Sends a DELETE request.
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send_with("DELETE", path, &[], None).await
    }

    /// Takes a lock for a long time without waiting.
    pub(crate) async fn acquire(&self, name: &str) -> Answer {
        self.post("/api/v1/locks", json!({"name": name, "ttl_ms": LONG_MS})).await
    }

    /// Takes a lock under an idempotency key.
    pub(crate) async fn acquire_keyed(&self, name: &str, key: &str) -> Answer {
        let body = json!({"name": name, "ttl_ms": LONG_MS});
        self.send_with("POST", "/api/v1/locks", &[("idempotency-key", key)], Some(&body)).await
    }

    /// Waits for a lock in the background.
    pub(crate) fn wait_for(&self, name: &str) -> tokio::task::JoinHandle<Answer> {
        let body = json!({"name": name, "ttl_ms": LONG_MS, "wait_ms": LONG_MS});
        let caller = Self { rest: self.rest.patient(), ..self.clone() };
        tokio::spawn(async move { caller.post("/api/v1/locks", body).await })
    }

    /// Opens a session and returns its id.
    pub(crate) async fn session(&self) -> String {
        text(&done(self.post("/api/v1/sessions", json!({"ttl_ms": 60_000})).await), "session_id")
    }

    /// Waits until a lock has this many waiters. The caller needs `lock:read`.
    pub(crate) async fn waiters(&self, name: &str, count: u64) {
        let path = format!("/api/v1/locks/{}", name.replace('/', "%2F"));
        eventually(&format!("{name} has {count} waiters"), || async {
            let answer = self.get(&path).await;
            (answer.body["waiter_count"].as_u64() == Some(count)).then_some(())
        })
        .await;
    }

    /// A gRPC request with the caller's metadata.
    pub(crate) fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        for (name, value) in self.headers() {
            let name = tonic::metadata::MetadataKey::from_bytes(name.as_bytes()).expect("a name");
            let value: MetadataValue<_> = value.parse().expect("ASCII");
            request.metadata_mut().insert(name, value);
        }
        request
    }
}

impl Secured {
    /// Starts nodes, makes an administrator, and leaves access off.
    pub(crate) async fn off(count: usize) -> Self {
        Self::over(Cluster::start(count).await).await
    }

    /// Starts nodes that enforce access.
    pub(crate) async fn start(count: usize) -> Self {
        let secured = Self::off(count).await;
        secured.enforce().await;
        secured
    }

    /// Makes an administrator of a running cluster. While access is off and there is none, anybody may.
    pub(crate) async fn over(cluster: Cluster) -> Self {
        let leader = cluster.leader().await;
        let follower = if cluster.nodes.len() > 1 { cluster.follower().await } else { leader };
        let nobody = Caller::anonymous(&cluster.nodes[leader]);
        done(nobody.put("/api/v1/access/users/root", json!({"description": "the administrator"})).await);
        let binding = json!({"subject": "user/root", "role": "admin", "reason": "the first administrator"});
        done(nobody.post("/api/v1/access/bindings", binding).await);
        let wanted = json!({"principal": "user/root", "label": "root", "never_expires": true});
        let key = done(nobody.post("/api/v1/access/keys", wanted).await);
        let root = Caller {
            principal: "user/root".to_owned(),
            key: text(&key, "key"),
            credential: text(&key, "credential_id"),
            ..nobody
        };
        Self { cluster, root, leader, follower }
    }

    /// Enforces access, and waits until every node does.
    pub(crate) async fn enforce(&self) {
        done(self.root.put("/api/v1/access/mode", json!({"mode": "enforce"})).await);
        for node in &self.cluster.nodes {
            let nobody = Caller::anonymous(node);
            eventually(&format!("{} enforces access", node.name), || async {
                (nobody.get("/api/v1/locks").await.code() == "unauthenticated").then_some(())
            })
            .await;
        }
    }

    /// The node that does not lead.
    pub(crate) fn follower(&self) -> &Node {
        &self.cluster.nodes[self.follower]
    }

    /// Makes a key.
    pub(crate) async fn key(&self, principal: &str, more: Value) -> Caller {
        let mut wanted = json!({"principal": principal, "label": "test"});
        for (name, value) in more.as_object().into_iter().flatten() {
            wanted[name] = value.clone();
        }
        let key = done(self.root.post("/api/v1/access/keys", wanted).await);
        Caller {
            principal: principal.to_owned(),
            key: text(&key, "key"),
            credential: text(&key, "credential_id"),
            ..self.root.clone()
        }
    }

    /// Makes a service account with a key and no right.
    pub(crate) async fn service(&self, name: &str) -> Caller {
        let path = format!("/api/v1/access/services/{name}");
        done(self.root.put(&path, json!({"description": "a test"})).await);
        self.key(&format!("service/{name}"), json!({})).await
    }

    /// Makes or replaces a role of one rule.
    pub(crate) async fn role(&self, name: &str, permissions: &[&str], names: &[&str]) {
        let rules = json!({"rules": [{"permissions": permissions, "names": names}]});
        done(self.root.put(&format!("/api/v1/access/roles/{name}"), rules).await);
    }

    /// Gives a role and returns the id of the binding. `more` adds fields.
    pub(crate) async fn grant(&self, subject: &str, role: &str, more: Value) -> String {
        let mut wanted = json!({"subject": subject, "role": role, "reason": "a test"});
        for (name, value) in more.as_object().into_iter().flatten() {
            wanted[name] = value.clone();
        }
        text(&done(self.root.post("/api/v1/access/bindings", wanted).await), "binding_id")
    }

    /// Takes a binding away.
    pub(crate) async fn ungrant(&self, binding: &str) {
        done(self.root.delete(&format!("/api/v1/access/bindings/{binding}")).await);
    }

    /// Suspends a principal, such as `service/a`, with what it owns.
    pub(crate) async fn suspend(&self, principal: &str) {
        let path = format!("/api/v1/access/{}/suspend", principal.replacen('/', "s/", 1));
        done(self.root.post(&path, json!({})).await);
    }

    /// Makes a service account that has exactly these permissions for these names.
    pub(crate) async fn able(&self, name: &str, permissions: &[&str], names: &[&str]) -> Caller {
        let caller = self.service(name).await;
        self.role(name, permissions, names).await;
        self.grant(&caller.principal, name, json!({})).await;
        caller
    }

    /// Makes a service account that may do everything with locks, elections, sessions and registers. Also returns the id of its binding.
    pub(crate) async fn editor(&self, name: &str) -> (Caller, String) {
        let caller = self.service(name).await;
        let binding = self.grant(&caller.principal, "editor", json!({})).await;
        (caller, binding)
    }
}
