//! Before every page: who asks, whether they may, and whether a change comes from a page of ours.

use crate::Console;
use crate::assets::Addresses;
use crate::coding;
use crate::csrf::Csrf;
use crate::fault::Fault;
use crate::i18n::Language;
use crate::ui::Ui;
use crate::upload::{self, Upload};
use crate::viewer::Viewer;
use askama::Template;
use backplane::Limit;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::Timestamp;
use domain::audit_log::{Actor, Origin};
use domain::users::{self, Permission};
use futures::FutureExt;
use futures::future::BoxFuture;
use poem::endpoint::{BoxEndpoint, make};
use poem::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use poem::{EndpointExt, IntoResponse, Request, Response};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// Who may see a page.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access {
    /// Everybody.
    Open,
    /// Whoever has a session, also one that is open to a change of the password alone. Changes here are to the reader's own
    /// session and password: they are taken of a console that is read-only, too.
    Session,
    /// Whoever is signed in.
    SignedIn,
    /// Whoever has the permission.
    Needs(Permission),
}

/// A request on its way to its page.
pub(crate) struct Context {
    pub(crate) app: Arc<Console>,
    pub(crate) ui: Ui,
    /// The reader of a page that is not open to everybody.
    pub(crate) viewer: Option<Viewer>,
    pub(crate) method: Method,
    /// The values of the address.
    pub(crate) query: Vec<(String, String)>,
    /// The values of a form.
    pub(crate) form: Vec<(String, String)>,
    /// The file of a form.
    pub(crate) upload: Option<Upload>,
    /// The variable parts of the path.
    path_values: Vec<(String, String)>,
    /// Where the request comes from.
    pub(crate) address: Option<std::net::IpAddr>,
    /// The browser, as it names itself.
    pub(crate) user_agent: Option<String>,
    /// The minutes of the reader's zone before UTC, as far as a script told them; else UTC's.
    pub(crate) zone_offset: i64,
    /// The name of the request, as the log has it.
    pub(crate) request_id: String,
    /// What a change must prove.
    csrf: Csrf,
}

impl Context {
    /// A value of the address; empty counts as absent.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        value(&self.query, name).filter(|value| !value.is_empty())
    }

    /// A value of the form.
    pub(crate) fn form(&self, name: &str) -> Option<&str> {
        value(&self.form, name)
    }

    /// All values of a name that the form has more than once.
    pub(crate) fn form_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.form.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A variable part of the path.
    pub(crate) fn path(&self, name: &str) -> &str {
        value(&self.path_values, name).unwrap_or_default()
    }

    /// The reader; a fault where nobody is signed in.
    pub(crate) fn viewer(&self) -> Result<&Viewer, Fault> {
        self.viewer.as_ref().ok_or(Fault::SignIn)
    }

    /// Who acts, and from where: for the record of a change in the audit log.
    pub(crate) fn origin(&self) -> Origin {
        let actor = self.viewer.as_ref().map_or(Actor::Anonymous, |viewer| Actor::User(viewer.user.id));
        let address = self.address.map(|ip| ip.to_canonical().to_string());
        Origin::new(actor, address.as_deref(), self.user_agent.as_deref())
    }

    /// Refuses a reader who may not.
    pub(crate) fn needs(&self, permission: Permission) -> Result<(), Fault> {
        if self.viewer()?.may(permission) { Ok(()) } else { Err(Fault::Forbidden(permission)) }
    }

    /// The part of the page that is asked for alone.
    pub(crate) fn fragment(&self) -> Option<&str> {
        self.query("fragment")
    }
}

/// What was just done, as the address of the page after an act says it; each has its text.
const DONE: [&str; 33] = [
    "moved",
    "view-kept",
    "view-deleted",
    "draft-kept",
    "draft-deleted",
    "test-kept",
    "tested",
    "approved",
    "refused",
    "sent",
    "paused",
    "resumed",
    "kept",
    "retried",
    "paced",
    "password",
    "kept-template",
    "deleted-template",
    "suppressed",
    "unsuppressed",
    "user-changed",
    "job-retried",
    "job-cancelled",
    "job-run",
    "job-moved",
    "sender-paused",
    "sender-resumed",
    "sender-paced",
    "operation-undone",
    "operation-stopped",
    "worker-drained",
    "worker-resumed",
    "worker-changed",
];

/// Whether a page asks by itself, without its reader.
fn by_itself(uri: &Uri) -> bool {
    uri.path() == "/console/live" || pairs(uri.query().unwrap_or_default()).iter().any(|(name, _)| name == "fragment")
}

fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

type Run = fn(Context) -> BoxFuture<'static, Result<Response, Fault>>;

/// The only page that takes a file.
const UPLOADS: &str = "/console/new/import";

/// The largest form.
const MAX_FORM: usize = 64 * 1024;

/// The name of the cookie: behind TLS one that no other host can set.
pub(crate) const fn cookie_name(secure: bool) -> &'static str {
    if secure { "__Host-paceline" } else { "paceline" }
}

/// The cookie that keeps the chosen language.
pub(crate) const LANGUAGE_COOKIE: &str = "paceline_language";

/// The cookie in which a script tells the minutes of the reader's zone before UTC.
const ZONE_COOKIE: &str = "paceline_zone";

/// The cookie of who is not signed in yet: its CSRF token follows from it.
const VISITOR_COOKIE: &str = "paceline_visitor";

/// A route: who may see it, its methods, and what makes the page.
pub(crate) fn route(
    app: &Arc<Console>,
    access: Access,
    methods: &'static str,
    run: Run,
) -> BoxEndpoint<'static, Response> {
    let app = app.clone();
    make(move |request| {
        let app = app.clone();
        async move { Ok::<_, poem::Error>(answer(app, access, methods, run, request).await) }
    })
    .map_to_response()
    .boxed()
}

async fn answer(app: Arc<Console>, access: Access, methods: &'static str, run: Run, request: Request) -> Response {
    let secure = app.settings.secure;
    // What a page asks for by itself is not led to another page: that would stand in the place of a part of it.
    let alone = by_itself(request.original_uri());
    let taken = coding::best(request.headers());
    let (mut context, fresh_visitor, checked) = prepare(app, access, methods, request).await;
    let (ui, request_id) = (context.ui.clone(), context.request_id.clone());
    let made = match checked {
        Err(fault) => Err(fault),
        Ok(()) => {
            context.ui.done = context.query("done").and_then(|word| DONE.into_iter().find(|known| *known == word));
            match AssertUnwindSafe(run(context)).catch_unwind().await {
                Ok(made) => made,
                Err(_) => {
                    tracing::error!("a page panicked; the log has its place");
                    Err(Fault::Ours)
                }
            }
        }
    };
    let mut response = match made {
        Ok(response) => response,
        Err(Fault::SignIn) if !alone => redirect(&format!("/console/sign-in?next={}", encoded(&ui.address))),
        Err(Fault::ChangePassword) if !alone => redirect("/console/password"),
        Err(fault) => fault.answer(&ui, &request_id),
    };
    if let Some(visitor) = fresh_visitor {
        set_cookie(&mut response, VISITOR_COOKIE, &visitor, None, secure);
    }
    coding::pack(response, taken, alone)
}

/// Who asks, by the session that the cookie names.
async fn viewer(app: &Console, now: Timestamp, cookie: Option<&str>, uri: &Uri) -> Result<Option<Viewer>, Fault> {
    let Some(token) = cookie else { return Ok(None) };
    let found = users::browser_session(app.db.read(), now, token).await?;
    // A page that fetches its parts by itself is nobody's use of it.
    if let Some(session) = found.as_ref().filter(|_| !by_itself(uri)) {
        users::browser_session_used(app.db.write(), now, session.id).await?;
    }
    Ok(found.map(|it| Viewer { user: it.user, session: it.id, standing: it.standing }))
}

/// Reads the request and finds out who asks and whether they may.
async fn prepare(
    app: Arc<Console>,
    access: Access,
    methods: &'static str,
    mut request: Request,
) -> (Context, Option<String>, Result<(), Fault>) {
    let headers = request.headers().clone();
    let uri = request.original_uri().clone();
    let method = request.method().clone();
    let now = app.clock.now();
    let cookie = cookie(&headers, cookie_name(app.settings.secure));
    let language = cookie_of_language(&headers).unwrap_or_else(|| {
        Language::of_browser(headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok()).unwrap_or_default())
    });
    let mut fresh_visitor = None;
    let (viewer, trouble) = match viewer(&app, now, cookie.as_deref(), &uri).await {
        Ok(viewer) => (viewer, None),
        Err(fault) => (None, Some(fault)),
    };
    let csrf = match (&viewer, &cookie) {
        (Some(_), Some(cookie)) => Csrf::of(cookie),
        _ => {
            let known = self::cookie(&headers, VISITOR_COOKIE).filter(|visitor| visitor.len() == 32);
            let visitor = known.unwrap_or_else(|| {
                let visitor = hex::encode(rand::random::<[u8; 16]>());
                fresh_visitor = Some(visitor.clone());
                visitor
            });
            Csrf::of(&visitor)
        }
    };
    let query = pairs(uri.query().unwrap_or_default());
    let address = address_without_fragment(&uri, &query);
    let ui = Ui {
        language,
        nonce: STANDARD.encode(rand::random::<[u8; 16]>()),
        viewer: viewer.clone(),
        csrf: csrf.token(rand::random()),
        path: uri.path().to_owned(),
        address,
        now,
        done: None,
        assets: Addresses,
    };
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut context = Context {
        ui,
        viewer,
        method: method.clone(),
        query,
        form: Vec::new(),
        upload: None,
        path_values: ["id", "act", "seq", "name"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), request.raw_path_param(name)?.to_owned())))
            .collect(),
        address: request.remote_addr().as_socket_addr().map(|address| address.ip()),
        user_agent: text(header::USER_AGENT).map(|agent| agent.chars().take(200).collect()),
        zone_offset: self::cookie(&headers, ZONE_COOKIE)
            .and_then(|text| text.parse().ok())
            .filter(|minutes: &i64| minutes.abs() <= 24 * 60)
            .unwrap_or(0),
        request_id: text(header::HeaderName::from_static("x-request-id")).unwrap_or_default(),
        csrf,
        app,
    };
    let checked = match trouble {
        Some(fault) => Err(fault),
        None => check(&mut context, access, methods, &headers, &mut request).await,
    };
    (context, fresh_visitor, checked)
}

async fn check(
    context: &mut Context,
    access: Access,
    methods: &'static str,
    headers: &HeaderMap,
    request: &mut Request,
) -> Result<(), Fault> {
    let reads = matches!(context.method, Method::GET | Method::HEAD);
    let allowed = if reads { "GET" } else { context.method.as_str() };
    if !methods.split(", ").any(|method| method == allowed) {
        return Err(Fault::Method(methods));
    }
    admit(context, access)?;
    readable(&context.query)?;
    if reads {
        return Ok(());
    }
    if context.app.settings.read_only && matches!(access, Access::SignedIn | Access::Needs(_)) {
        return Err(Fault::ReadOnly);
    }
    if !same_origin(headers) {
        return Err(Fault::Forged);
    }
    if context.ui.path == UPLOADS && upload::is_form(request) {
        (context.form, context.upload) = upload::read(request).await?;
    } else {
        let body = request.take_body().into_bytes_limit(MAX_FORM).await;
        let body = body.map_err(|_| Fault::Bad("bad-form", String::new()))?;
        context.form = pairs(std::str::from_utf8(&body).map_err(|_| Fault::Bad("bad-form", String::new()))?);
    }
    readable(&context.form)?;
    if context.form("csrf").is_none_or(|token| !context.csrf.takes(token)) {
        return Err(Fault::Forged);
    }
    if let Some(viewer) = &context.viewer {
        // The API's own counts: who has both has no more of either.
        let (key, per_minute) = (format!("general:{}", viewer.user.id), context.app.settings.general_per_minute);
        let limit = Limit { per_minute };
        let decision = context.app.backplane.limiter.check(&key, limit).await;
        if !decision.allowed {
            return Err(Fault::Limited(decision.reset_after.as_secs().max(1)));
        }
    }
    Ok(())
}

/// Refuses values with a NUL: no text of PostgreSQL's can have one.
fn readable(pairs: &[(String, String)]) -> Result<(), Fault> {
    let fine = |text: &str| !text.contains('\0');
    let all = pairs.iter().all(|(name, value)| fine(name) && fine(value));
    if all { Ok(()) } else { Err(Fault::Bad("bad-form", String::new())) }
}

/// Refuses who may not.
fn admit(context: &Context, access: Access) -> Result<(), Fault> {
    if matches!(access, Access::Open) {
        return Ok(());
    }
    let viewer = context.viewer()?;
    match access {
        Access::SignedIn | Access::Needs(_) if viewer.must_change() => Err(Fault::ChangePassword),
        Access::Needs(permission) if !viewer.may(permission) => Err(Fault::Forbidden(permission)),
        _ => Ok(()),
    }
}

/// Whether a change comes from a page of this host: browsers say so with every change (Fetch, 3.2).
fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(origin), Some(host)) = (text(header::ORIGIN), text(header::HOST)) else { return false };
    origin
        .split_once("://")
        .is_some_and(|(scheme, from)| matches!(scheme, "http" | "https") && from.eq_ignore_ascii_case(host))
}

/// Reads `a=b&c=d`, as forms and addresses write it.
fn pairs(text: &str) -> Vec<(String, String)> {
    serde_urlencoded::from_str(text).unwrap_or_default()
}

/// Writes a value for an address.
pub(crate) fn encoded(value: &str) -> String {
    serde_urlencoded::to_string([("", value)]).map(|text| text.trim_start_matches('=').to_owned()).unwrap_or_default()
}

fn address_without_fragment(uri: &Uri, query: &[(String, String)]) -> String {
    let kept: Vec<_> = query
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "fragment" | "done" | "upto" | "was" | "moved"))
        .collect();
    match serde_urlencoded::to_string(&kept) {
        Ok(text) if !text.is_empty() => format!("{}?{text}", uri.path()),
        _ => uri.path().to_owned(),
    }
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value.to_owned())
}

fn cookie_of_language(headers: &HeaderMap) -> Option<Language> {
    Language::of_tag(&cookie(headers, LANGUAGE_COOKIE)?)
}

/// Sets a cookie that scripts cannot read; `max_age` in seconds, `None`: until the browser closes.
pub(crate) fn set_cookie(response: &mut Response, name: &str, value: &str, max_age: Option<u64>, secure: bool) {
    let age = max_age.map_or(String::new(), |seconds| format!("; Max-Age={seconds}"));
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{age}{secure}");
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

/// Leads to another page after an act.
pub(crate) fn redirect(to: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(value) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

/// Where to go after signing in: a page of the console, never another site's.
pub(crate) fn local(next: Option<&str>) -> &str {
    let fine = |next: &&str| {
        (*next == "/console" || next.starts_with("/console/") || next.starts_with("/console?"))
            && !next.contains(['\\', '\r', '\n'])
            && !next.starts_with("/console/sign-in")
    };
    next.filter(fine).unwrap_or("/console")
}

/// A page, with the policy that its scripts and styles need.
pub(crate) fn html(ui: &Ui, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => written(ui, text),
        Err(error) => {
            tracing::error!(%error, "a template could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The same of a text that a template was written to.
pub(crate) fn written(ui: &Ui, text: String) -> Response {
    let policy = format!(
        "default-src 'none'; script-src 'self' 'nonce-{}'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types htmx",
        ui.nonce
    );
    Response::builder()
        .content_type("text/html; charset=utf-8")
        .header(header::CONTENT_SECURITY_POLICY, policy)
        .header(header::CACHE_CONTROL, "no-store")
        // With `no-referrer` a browser would send forms with the origin `null`.
        .header(header::REFERRER_POLICY, "same-origin")
        .header("cross-origin-opener-policy", "same-origin")
        .body(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_to_another_site() {
        for bad in [
            "https://evil.example",
            "//evil.example",
            "/\\evil",
            "/consolex",
            "/console\r\nX: y",
            "",
            "javascript:alert(1)",
            "/console/sign-in",
            "/console/\\evil",
        ] {
            assert_eq!(local(Some(bad)), "/console", "{bad}");
        }
        for fine in ["/console", "/console/batches?status=FAILED", "/console?x=1"] {
            assert_eq!(local(Some(fine)), fine);
        }
        assert_eq!(local(None), "/console");
    }

    #[test]
    fn a_change_comes_from_a_page_of_this_host() {
        let headers = |origin: Option<&'static str>, host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            headers
        };
        assert!(same_origin(&headers(Some("http://127.0.0.1:8000"), "127.0.0.1:8000")));
        assert!(same_origin(&headers(Some("https://Desk.example"), "desk.example")));
        for other in [
            None,
            Some("null"),
            Some("http://evil.example"),
            Some("http://127.0.0.1:8001"),
            Some("file://127.0.0.1:8000"),
        ] {
            assert!(!same_origin(&headers(other, "127.0.0.1:8000")), "{other:?}");
        }
    }

    #[test]
    fn values_survive_an_address() {
        assert_eq!(
            encoded("/console/batches?status=FAILED&x=ü"),
            "%2Fconsole%2Fbatches%3Fstatus%3DFAILED%26x%3D%C3%BC"
        );
        assert_eq!(
            pairs("a=b%20c&d=&a=x"),
            [("a", "b c"), ("d", ""), ("a", "x")].map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
    }

    #[test]
    fn cookies_are_read_by_their_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("xpaceline=1; paceline=2"));
        headers.append(header::COOKIE, HeaderValue::from_static("paceline=3"));
        assert_eq!(cookie(&headers, "paceline").as_deref(), Some("2"));
        assert_eq!(cookie(&headers, "line"), None);
    }
}
