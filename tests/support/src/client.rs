//! HTTP as a client of the contracts sees it.

use crate::DEADLINE;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

/// A client of one process, with or without a token. Cloning shares the connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status code.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body as JSON; null if it is none.
    pub body: Value,
    /// The body as it came, with bytes that are no UTF-8 replaced.
    pub text: String,
}

impl Client {
    /// A client without a token; `base` is like `http://127.0.0.1:4000`.
    #[must_use]
    pub fn new(base: impl Into<String>) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            // It never speaks TLS, and reading all that the machine trusts is a third of what such a test costs.
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .timeout(DEADLINE)
            .build()
            .expect("nothing in these settings depends on the machine");
        Self { http, base: base.into(), token: None }
    }

    /// The same client with a bearer token.
    #[must_use]
    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    /// Where it sends its requests.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The WebSocket address of a path, with the token as the contracts want it.
    #[must_use]
    pub fn socket_url(&self, path: &str) -> String {
        let base = self.base.replacen("http", "ws", 1);
        match &self.token {
            Some(token) => format!("{base}{path}?token={token}"),
            None => format!("{base}{path}"),
        }
    }

    /// A request to be finished by hand: headers, forms, raw bodies. Then [`Client::send`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Panics
    /// When there is no answer; see [`Client::try_send`].
    pub async fn send(&self, request: RequestBuilder) -> Response {
        self.try_send(request).await.unwrap_or_else(|error| panic!("no answer from {}: {error:?}", self.base))
    }

    /// Sends a request that may find nobody, and reads the whole answer.
    ///
    /// # Errors
    /// When the connection failed or broke, or nothing came within [`DEADLINE`].
    pub async fn try_send(&self, request: RequestBuilder) -> reqwest::Result<Response> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = String::from_utf8_lossy(&response.bytes().await?).into_owned();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Response { status, headers, body, text })
    }

    /// The numbers of a process, as Prometheus asks for them.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn metrics(&self) -> String {
        self.send(self.request(Method::GET, "/metrics").header("accept", "text/plain")).await.text
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Response {
        self.send(self.request(Method::GET, path)).await
    }

    /// `POST` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// `PUT` with a JSON body.
    pub async fn put(&self, path: &str, body: &Value) -> Response {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    /// `PATCH` with a JSON body.
    pub async fn patch(&self, path: &str, body: &Value) -> Response {
        self.send(self.request(Method::PATCH, path).json(body)).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Response {
        self.send(self.request(Method::DELETE, path)).await
    }
}

impl Response {
    /// The body, when the status is the expected one.
    ///
    /// # Panics
    /// When it is another; the message has the answer.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "the answer was: {}", self.text);
        self.body
    }

    /// A header's value as text, if it is there.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}
