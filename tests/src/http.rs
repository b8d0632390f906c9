//! A plain HTTP client for the REST API, comparable to curl.

use std::time::Duration;

use reqwest::header::HeaderValue;
use serde_json::Value;

/// The answer of a node.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// The JSON body; `Null` when there is none.
    pub body: Value,
    /// The `Content-Type` header.
    pub content_type: String,
}

impl Answer {
    /// The error code of a problem answer; empty when there is none.
    #[must_use]
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// A number field of the body.
    ///
    /// # Panics
    /// When it is not there: the test has failed.
    #[must_use]
    pub fn number(&self, field: &str) -> u64 {
        self.body[field].as_u64().unwrap_or_else(|| panic!("no number {field} in {self:?}"))
    }

    /// A text field of the body.
    ///
    /// # Panics
    /// When it is not there: the test has failed.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_else(|| panic!("no text {field} in {self:?}"))
    }

    /// Returns the answer itself if it has the expected status.
    ///
    /// # Panics
    /// When the status differs: the test has failed.
    #[must_use]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// The REST API of one node.
#[derive(Clone, Debug)]
pub struct Rest {
    base: String,
    http: reqwest::Client,
    /// The `authorization` header of every request.
    bearer: Option<HeaderValue>,
}

impl Rest {
    /// The API at a base URL.
    ///
    /// # Panics
    /// When no HTTP client can be built on this machine.
    #[must_use]
    pub fn new(base: &str) -> Self {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .build()
            .expect("a plain HTTP client needs nothing of the machine");
        Self { base: base.to_owned(), http, bearer: None }
    }

    /// The same API for calls that wait: they time out only after some minutes.
    ///
    /// # Panics
    /// When no HTTP client can be built on this machine.
    #[must_use]
    pub fn patient(&self) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_mins(5)).build();
        let http = http.expect("a plain HTTP client needs nothing of the machine");
        Self { base: self.base.clone(), http, bearer: self.bearer.clone() }
    }

    /// The same API, called with a token, which `Debug` does not show.
    ///
    /// # Panics
    /// When the token is no value of a header, which no token of Batuta is.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}")).expect("a token is printable");
        bearer.set_sensitive(true);
        Self { bearer: Some(bearer), ..self.clone() }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The transport's error, when no HTTP answer came.
    ///
    /// # Panics
    /// When `method` is not an HTTP method, which is a mistake of the test.
    pub async fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, reqwest::Error> {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(bearer) = &self.bearer {
            request = request.header("authorization", bearer.clone());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let content_type = response
            .headers()
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let bytes = response.bytes().await?;
        Ok(Answer { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null), content_type })
    }

    /// Sends a request that must be answered.
    ///
    /// # Panics
    /// When no answer came: the test has failed.
    pub async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.try_send(method, path, &[], body)
            .await
            .unwrap_or_else(|error| panic!("{method} {}{path}: {error}", self.base))
    }

    /// Sends a GET request that must be answered.
    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    /// Sends a POST request that must be answered.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, Some(body)).await
    }

    /// Sends a PUT request that must be answered.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, Some(body)).await
    }

    /// Sends a DELETE request that must be answered.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None).await
    }

    /// Sends a POST request under an idempotency key, and repeats it on this node until an answer is not a retryable error.
    pub async fn post_with_key(&self, path: &str, key: &str, body: &Value) -> Option<Answer> {
        let answer = self.try_send("POST", path, &[("idempotency-key", key)], Some(body)).await.ok()?;
        (answer.status < 500).then_some(answer)
    }
}
