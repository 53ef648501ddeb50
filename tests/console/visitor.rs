//! Who visits the console: a browser's page, or a client that keeps cookies and sends forms as a browser does.

use crate::setup::Setup;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::{Browser, Client, Method, Page, Response, User};

/// Signs in on a page.
pub(crate) async fn sign_in(page: &Page, base: &str, user: &User) {
    page.go(&format!("{base}/console/sign-in")).await;
    page.fill("#email", &user.email).await;
    page.fill("#password", &user.password).await;
    page.leading(page.click("form.stack button")).await;
    assert_eq!(page.address().await, "/console");
}

/// A browser with a page on which a new user of a role is signed in.
pub(crate) async fn browser_of(s: &Setup, role: &str) -> (Browser, Page) {
    let user = s.program.user(role).await;
    let browser = Browser::start(s.program.dir()).await;
    let page = browser.page().await;
    page.look(1280, false).await;
    sign_in(&page, s.api().url(), &user).await;
    (browser, page)
}

/// What went wrong on a page; nothing may.
#[track_caller]
pub(crate) fn nothing_went_wrong(page: &Page) {
    assert_eq!(page.problems(), Vec::<String>::new());
}

/// The violations that axe finds, as text.
pub(crate) async fn violations(page: &Page) -> Vec<String> {
    page.eval(include_str!("vendor/axe-4.10.3.min.js")).await;
    let found = page
        .eval("axe.run().then(r => r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html + ' ' + n.failureSummary).join(' | ')))")
        .await;
    let text = |one: &Value| one.as_str().expect("a text").to_owned();
    found.as_array().expect("a list").iter().map(text).collect()
}

/// A client that keeps its cookies.
#[derive(Debug)]
pub(crate) struct Visitor {
    client: Client,
    pub(crate) cookies: BTreeMap<String, String>,
}

impl Visitor {
    pub(crate) fn of(client: Client) -> Self {
        Self { client, cookies: BTreeMap::new() }
    }

    /// One who has signed in.
    pub(crate) async fn signed_in(client: Client, user: &User) -> Self {
        let mut visitor = Self::of(client);
        let token = visitor.token("/console/sign-in").await;
        let form = [("csrf", token.as_str()), ("email", user.email.as_str()), ("password", user.password.as_str())];
        let answer = visitor.post("/console/sign-in", &form).await;
        assert_eq!((answer.status, answer.header("location")), (303, Some("/console")), "{}", answer.text);
        visitor
    }

    async fn keep(&mut self, request: reqwest::RequestBuilder) -> Response {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = if cookies.is_empty() { request } else { request.header("cookie", cookies.join("; ")) };
        let answer = self.client.send(request).await;
        for set in answer.headers.get_all("set-cookie") {
            let pair = set.to_str().expect("text").split(';').next().expect("a pair");
            let (name, value) = pair.split_once('=').expect("a pair");
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }

    pub(crate) async fn get(&mut self, path: &str) -> Response {
        let request = self.client.request(Method::GET, path);
        self.keep(request).await
    }

    /// The coding of a page to whoever takes `accepts`, and its size as it comes.
    pub(crate) async fn size(&self, path: &str, accepts: &str) -> (Option<String>, usize) {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = self.client.request(Method::GET, path).header("cookie", cookies.join("; "));
        let answer = request.header("accept-encoding", accepts).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        let coding = answer.headers().get("content-encoding").map(|coding| coding.to_str().expect("text").to_owned());
        (coding, answer.bytes().await.expect("a body").len())
    }

    /// The token that a page's forms bring back.
    pub(crate) async fn token(&mut self, path: &str) -> String {
        let page = self.get(path).await.text;
        let (_, rest) = page.split_once("name=\"csrf\" value=\"").unwrap_or_else(|| panic!("no form: {page}"));
        rest.split_once('"').expect("a value").0.to_owned()
    }

    /// Sends a form from a page of the same host.
    pub(crate) async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Response {
        let origin = self.client.base().to_owned();
        self.post_from(path, form, Some(&origin)).await
    }

    /// Sends a form from a page of some origin.
    pub(crate) async fn post_from(&mut self, path: &str, form: &[(&str, &str)], origin: Option<&str>) -> Response {
        let mut request = self.client.request(Method::POST, path).body(encoded(form));
        request = request.header("content-type", "application/x-www-form-urlencoded");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        self.keep(request).await
    }

    /// Sends a form with the token of a page.
    pub(crate) async fn act(&mut self, path: &str) -> Response {
        let token = self.token("/console/password").await;
        self.post(path, &[("csrf", &token)]).await
    }
}

fn encoded(form: &[(&str, &str)]) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    let pair = |(name, value): &(&str, &str)| format!("{name}={}", value.bytes().map(byte).collect::<String>());
    form.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// A world with something of everything: a batch that ended with failures, a paused one, a cancelled one and a scheduled
/// one. Returns their ids in this order.
pub(crate) async fn world(s: &Setup) -> [String; 4] {
    let ids = s.contacts(12).await;
    s.gateway.script(|attempt| match attempt.to.ends_with('3') || attempt.to.ends_with('4') {
        true => support::Reply::status(400).saying("not a number of anybody"),
        false => support::Reply::accept(),
    });
    let ended = s.send(&ids, json!({})).await;
    s.ended(&ended).await;
    let slow = json!({ "ratePerMinute": 1 });
    let [paused, cancelled] = [s.send(&ids, slow.clone()).await, s.send(&ids, slow).await];
    s.admin.post(&format!("/batch/{paused}/pause"), &json!({})).await.expect(200);
    s.admin.post(&format!("/batch/{cancelled}/cancel"), &json!({})).await.expect(200);
    let scheduled = s.send(&ids, json!({ "scheduleAt": "2099-01-01T09:00:00Z" })).await;
    [ended, paused, cancelled, scheduled]
}
