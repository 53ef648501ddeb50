//! The console over a ledger of ten million items: how long each page takes, what it weighs, how soon a change stands on
//! it, and what open pages cost those who send.
//!
//! Pages are found as a reader finds them: from a list of those that have no link, and by every link and live part of
//! what is shown. So a page that is new is measured without being named here. Of addresses that differ in numbers alone
//! two are asked.

use super::load::Sink;
use super::{Figures, percentile};
use crate::rig::{Environment, Kind, PASSWORD, Setup, USER};
use anyhow::{Context, Result, bail};
use domain::db::{self, Dialect};
use reqwest::{Method, StatusCode, header};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Items of the ledger; its batches are a hundredth of that, its jobs and its contacts a tenth.
const ITEMS: usize = 10_000_000;

/// How often each page is asked.
const ASKED: usize = 100;

/// Of addresses that differ in numbers alone so many are asked.
const ALIKE: usize = 2;

/// How many pages are measured at most.
const MAX_PAGES: usize = 250;

/// How many changes are followed to the page.
const CHANGES: usize = 200;

/// How long a change may take to reach a page before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Overviews that are open at once.
const OVERVIEWS: usize = 200;

/// Consoles that are open while messages are sent.
const BESIDE: usize = 50;

/// For how long the share of a core is measured.
const WATCHED: Duration = Duration::from_secs(20);

/// After how long the scheduler has looked at the queue.
const SCHEDULED: Duration = Duration::from_secs(8);

/// Messages that are sent with and without open consoles.
const MESSAGES: usize = 10_000;

/// Pages that no link leads to, and filters that people write themselves.
const UNLINKED: [&str; 22] = [
    "/console/batches?q=status:failed",
    "/console/batches?q=status:completed+type:send",
    "/console/batches?q=text:%22no+such+text%22",
    "/console/batches?before=500",
    "/console/contacts?q=601230",
    "/console/contacts?q=Contact+77",
    "/console/jobs?state=dead&error=timed+out",
    "/console/jobs?state=dead&error=no+such+error",
    "/console/jobs?state=ready&lane=critical",
    "/console/jobs?state=ready&error=no+such+error",
    "/console/jobs?state=done&kind=deliver",
    "/console/jobs?kind=expand",
    "/console/jobs?batch=1",
    "/console/operations/new?act=retry&state=dead",
    "/console/operations/new?act=retry&state=dead&error=no+such+error",
    "/console/operations/new?act=run&state=ready&kind=deliver",
    "/console/operations/new?act=cancel&state=ready&lane=critical",
    "/console?span=24h&figures=1",
    "/console?span=7d&figures=1",
    "/console/audit?q=action:batch",
    "/console/audit?q=resource:77",
    "/console/statistics?q=days:366",
];

/// Measures it.
pub(super) async fn pages(
    environment: &Environment,
    kind: Kind,
    count: Option<usize>,
    figures: &mut Figures,
) -> Result<()> {
    let items = count.unwrap_or(ITEMS).max(1_000);
    let sink = Sink::start(Duration::ZERO).await?;
    let setup = Setup::start(environment, kind, &sink.url(), 1, &[("SSE_MAX_CONNECTIONS", "1000".into())]).await?;
    let began = Instant::now();
    let filled = fill(&setup, items).await?;
    eprintln(&format!("{}: a ledger of {items} items in {:.0} s", kind.name(), began.elapsed().as_secs_f64()));
    let reader = Arc::new(Reader::sign_in(&setup).await?);
    // The scheduler has counted what there is now.
    tokio::time::sleep(SCHEDULED).await;
    all_pages(&reader, &filled, figures).await?;
    weights(&reader, figures).await?;
    changes(&setup, &reader, figures).await?;
    overviews(&setup, &reader, figures).await?;
    beside(&setup, &reader, filled.contacts.min(MESSAGES), figures).await?;
    setup.stop().await
}

/// A measurement of many minutes says where it is.
#[expect(clippy::print_stderr, reason = "nothing of the figures, which go to standard output")]
fn eprintln(text: &str) {
    eprintln!("{text}");
}

/// Somebody who is signed in to the console with a browser.
struct Reader {
    client: reqwest::Client,
    url: String,
    cookie: String,
}

/// What a page answered.
struct Shown {
    text: String,
    took: Duration,
}

impl Reader {
    async fn sign_in(setup: &Setup) -> Result<Self> {
        let none = reqwest::redirect::Policy::none();
        let client = reqwest::Client::builder().no_proxy().tcp_nodelay(true).redirect(none).build()?;
        let page = format!("{}/console/sign-in", setup.url());
        let answer = client.get(&page).send().await?.error_for_status()?;
        let cookies = |answer: &reqwest::Response| {
            let set = answer.headers().get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
            set.filter_map(|text| text.split(';').next()).map(str::to_owned).collect::<Vec<_>>()
        };
        let visitor = cookies(&answer).join("; ");
        let text = answer.text().await?;
        let csrf = text.split_once("name=\"csrf\" value=\"").and_then(|(_, rest)| rest.split_once('"'));
        let csrf = csrf.context("the sign-in has no form")?.0;
        let form = [("csrf", csrf), ("email", USER), ("password", PASSWORD)];
        let body = reqwest::Url::parse_with_params("http://form/", &form)?.query().unwrap_or_default().to_owned();
        let request = client.post(&page).header(header::COOKIE, visitor).header(header::ORIGIN, setup.url());
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(body);
        let answer = request.send().await?;
        if answer.status() != StatusCode::SEE_OTHER {
            bail!("the console did not let the rig in: {}", answer.status());
        }
        Ok(Self { cookie: cookies(&answer).join("; "), url: setup.url().to_owned(), client })
    }

    fn request(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.url)).header(header::COOKIE, &self.cookie)
    }

    /// Fetches a page. One that leads elsewhere has no text.
    async fn get(&self, path: &str) -> Result<Shown> {
        let began = Instant::now();
        let answer = self.request(path).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() && !status.is_redirection() {
            bail!("{path} answered {status}: {}", text.chars().take(300).collect::<String>());
        }
        Ok(Shown { text, took: began.elapsed() })
    }

    /// How many bytes an answer has on the wire, compressed as browsers ask for it.
    async fn weight(&self, path: &str) -> Result<usize> {
        let answer = self.request(path).header(header::ACCEPT_ENCODING, "br, gzip").send().await?.error_for_status()?;
        Ok(answer.bytes().await?.len())
    }
}

/// The addresses of the console in a page: of its links, its live parts and its forms that read.
fn addresses(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for name in [" href=\"", " hx-get=\""] {
        for (at, _) in text.match_indices(name) {
            let Some((address, _)) = text[at + name.len()..].split_once('"') else { continue };
            let address = address.replace("&amp;", "&").replace("&#38;", "&");
            let address = address.split('#').next().unwrap_or_default();
            if address == "/console" || address.starts_with("/console/") || address.starts_with("/console?") {
                found.push(address.to_owned());
            }
        }
    }
    found
}

/// Whether an address is a page that can be measured: no file of the page's own, no stream, no whole ledger as a file.
fn measured(address: &str) -> bool {
    let path = address.split('?').next().unwrap_or_default();
    !path.starts_with("/console/assets/")
        && !path.ends_with(".csv")
        && !["/console/live", "/console/go"].contains(&path)
}

/// What addresses that differ in numbers and names alone have in common.
fn shape(address: &str) -> String {
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let number = |part: &str| if part.bytes().any(|b| b.is_ascii_digit()) { "#".to_owned() } else { part.to_owned() };
    let path: Vec<String> = path.split('/').map(number).collect();
    let choice = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // What is chosen from a set makes another page; a number, a place or a text does not.
        let chosen = ["state", "lane", "kind", "status", "act", "ask", "span", "fragment", "settings", "figures", "q"];
        if chosen.contains(&name) { format!("{name}={value}") } else { name.to_owned() }
    };
    let query: BTreeSet<String> = query.split('&').filter(|pair| !pair.is_empty()).map(choice).collect();
    format!("{}?{}", path.join("/"), query.into_iter().collect::<Vec<_>>().join("&"))
}

/// How long every page takes: p95 of each.
async fn all_pages(reader: &Reader, filled: &Filled, figures: &mut Figures) -> Result<()> {
    let mut waiting: VecDeque<String> = VecDeque::from(["/console".to_owned()]);
    waiting.extend(filled.pages());
    waiting.extend(UNLINKED.map(str::to_owned));
    let (mut known, mut alike) = (BTreeSet::new(), HashMap::<String, usize>::new());
    let mut slow: BTreeMap<String, f64> = BTreeMap::new();
    while let Some(address) = waiting.pop_front() {
        let seen = alike.entry(shape(&address)).or_default();
        if !measured(&address) || *seen >= ALIKE || slow.len() >= MAX_PAGES || !known.insert(address.clone()) {
            continue;
        }
        *seen += 1;
        let shown = reader.get(&address).await?;
        waiting.extend(addresses(&shown.text));
        let mut took = Vec::with_capacity(ASKED);
        for _ in 0..ASKED {
            took.push(reader.get(&address).await?.took.as_secs_f64() * 1_000.0);
        }
        took.sort_by(f64::total_cmp);
        slow.insert(address, percentile(&took, 0.95));
    }
    let mut by_time: Vec<(&String, &f64)> = slow.iter().collect();
    by_time.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let over = by_time.iter().filter(|(_, took)| **took > 50.0).count();
    for (address, took) in &by_time {
        figures.add(format!("GET {address}, p95"), **took, "ms");
    }
    if let Some((address, took)) = by_time.first() {
        figures.add(format!("the slowest of {} pages, p95", by_time.len()), **took, "ms");
        figures.note(format!("{address}; {over} are over 50 ms; {filled}"));
    }
    Ok(())
}

/// What a first and a next page weigh, and the heaviest page.
async fn weights(reader: &Reader, figures: &mut Figures) -> Result<()> {
    let overview = reader.weight("/console").await?;
    let text = reader.get("/console").await?.text;
    let mut first = overview;
    let mut assets = BTreeSet::new();
    for name in [" href=\"", " src=\""] {
        for (at, _) in text.match_indices(name) {
            let Some((address, _)) = text[at + name.len()..].split_once('"') else { continue };
            if address.starts_with("/console/assets/") && assets.insert(address.to_owned()) {
                first += reader.weight(address).await?;
            }
        }
    }
    figures.add("first load, compressed", first as f64 / 1024.0, "KiB");
    figures.note(format!("the overview and {} files", assets.len()));
    for path in ["/console/batches", "/console/jobs", "/console/batches/1/recipients", "/console/system"] {
        figures.add(format!("next page {path}, compressed"), reader.weight(path).await? as f64 / 1024.0, "KiB");
    }
    Ok(())
}

/// The topics that a stream tells.
fn listen(reader: &Reader) -> impl Future<Output = Result<mpsc::UnboundedReceiver<String>>> + use<> {
    let request = reader.request("/console/live").timeout(Duration::from_secs(3_600));
    async move {
        let mut answer = request.send().await?.error_for_status()?;
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut rest = String::new();
            while let Ok(Some(part)) = answer.chunk().await {
                rest.push_str(&String::from_utf8_lossy(&part));
                while let Some((line, after)) = rest.split_once('\n') {
                    let topic = line.strip_prefix("data: ").and_then(|data| data.split(' ').next()).map(str::to_owned);
                    rest = after.to_owned();
                    if topic.is_some_and(|topic| tell.send(topic).is_err()) {
                        return;
                    }
                }
            }
        });
        Ok(told)
    }
}

/// From the request that changes a batch to the page that shows it.
async fn changes(setup: &Setup, reader: &Reader, figures: &mut Figures) -> Result<()> {
    let mut batches = Vec::new();
    for _ in 0..20 {
        let body = json!({ "contactIds": ["1"], "content": "x", "scheduleAt": "2099-01-01T00:00:00Z" }).to_string();
        batches.push(setup.post("/batch/send", body).await?);
    }
    let mut told = listen(reader).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut took = Vec::new();
    for nth in 0..CHANGES {
        let batch = &batches[nth % batches.len()];
        let (act, opposite) =
            if (nth / batches.len()).is_multiple_of(2) { ("pause", "resume") } else { ("resume", "pause") };
        while told.try_recv().is_ok() {}
        let began = Instant::now();
        let changed = setup.request(Method::POST, &format!("/batch/{batch}/{act}")).json(&json!({}));
        changed.send().await?.error_for_status()?;
        let button = format!("/console/batches/{batch}/{opposite}\"");
        loop {
            let left = PATIENCE.checked_sub(began.elapsed()).context("a change did not reach its page")?;
            let topic = tokio::time::timeout(left, told.recv()).await.context("a change was not told")?;
            let topic = topic.context("the stream ended")?;
            if topic != format!("batch:{batch}") && topic != "all" {
                continue;
            }
            let part = reader.get(&format!("/console/batches/{batch}?fragment=state")).await?;
            if part.text.contains(&button) {
                break;
            }
        }
        took.push(began.elapsed().as_secs_f64() * 1_000.0);
        // Not in step with what collects the news.
        tokio::time::sleep(Duration::from_millis(37 + (nth as u64 * 13) % 211)).await;
    }
    took.sort_by(f64::total_cmp);
    figures.add("a change, from its request to the page, p99", percentile(&took, 0.99), "ms");
    figures.note(format!("median {:.0} ms, of {CHANGES}", percentile(&took, 0.5)));
    Ok(())
}

/// A page that is open: whatever its topics tell, it fetches its part, one at a time and never the same twice at once.
async fn open(reader: Arc<Reader>, parts: Vec<(&'static str, String)>) -> Result<JoinSet<()>> {
    let mut told = listen(&reader).await?;
    let mut page = JoinSet::new();
    page.spawn(async move {
        while let Some(topic) = told.recv().await {
            let mut topics = vec![topic];
            while let Ok(more) = told.try_recv() {
                topics.push(more);
            }
            for (wanted, part) in &parts {
                let wants = |topic: &String| {
                    topic == "all"
                        || wanted.split(' ').any(|one| topic == one || one.ends_with(':') && topic.starts_with(one))
                };
                if topics.iter().any(wants) && reader.get(part).await.is_err() {
                    return;
                }
            }
        }
    });
    Ok(page)
}

fn overview() -> Vec<(&'static str, String)> {
    vec![("batch: queue", "/console?fragment=now".into()), ("queue", "/console?span=1h&fragment=plots".into())]
}

/// What a batch that goes slowly costs the processes for a while, in shares of a core.
async fn share(setup: &Setup) -> Result<f64> {
    let contacts: Vec<String> = (1..=1_000).map(|id| id.to_string()).collect();
    let body = json!({ "contactIds": contacts, "content": "x", "ratePerMinute": 1_200 }).to_string();
    let id = setup.post("/batch/send", body).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (before, began) = (setup.processor_time()?, Instant::now());
    tokio::time::sleep(WATCHED).await;
    let used = (setup.processor_time()? - before).as_secs_f64() / began.elapsed().as_secs_f64();
    let cancel = setup.request(Method::POST, &format!("/batch/{id}/cancel")).json(&json!({}));
    cancel.send().await?.error_for_status()?;
    Ok(100.0 * used)
}

/// What open overviews cost, beside a batch that is under way.
async fn overviews(setup: &Setup, reader: &Arc<Reader>, figures: &mut Figures) -> Result<()> {
    let without = share(setup).await?;
    let mut pages = Vec::new();
    for _ in 0..OVERVIEWS {
        pages.push(open(reader.clone(), overview()).await?);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let with = share(setup).await?;
    figures.add(format!("{OVERVIEWS} open overviews, of one core"), with - without, "%");
    figures.note(format!("{with:.1}% with them, {without:.1}% without; a batch of 20 messages a second is under way"));
    Ok(())
}

/// Messages a second beside open consoles, of those without.
async fn beside(setup: &Setup, reader: &Arc<Reader>, messages: usize, figures: &mut Figures) -> Result<()> {
    let contacts: Vec<String> = (1..=messages).map(|id| id.to_string()).collect();
    let body = json!({ "contactIds": contacts, "content": "Hello {{ name }}" }).to_string();
    let send = async || {
        let began = Instant::now();
        let id = setup.post("/batch/send", body.clone()).await?;
        setup.ended(&id).await?;
        Ok::<_, anyhow::Error>(messages as f64 / began.elapsed().as_secs_f64())
    };
    // Once for what is cold, then without, with, with and without: what drifts meanwhile is the same for both.
    send().await?;
    let mut without = send().await?;
    let mut pages = Vec::new();
    for nth in 0..BESIDE {
        let list = ("batch:", "/console/batches?fragment=list&upto=9000000".to_owned());
        let parts = if nth % 2 == 0 { overview() } else { vec![list] };
        pages.push(open(reader.clone(), parts).await?);
    }
    let with = f64::midpoint(send().await?, send().await?);
    drop(pages);
    without = f64::midpoint(without, send().await?);
    figures.add(format!("sends beside {BESIDE} open consoles, of those without"), 100.0 * with / without, "%");
    figures.note(format!("{with:.0}/s with them, {without:.0}/s without; {messages} messages"));
    Ok(())
}

/// What the ledger was filled with.
struct Filled {
    items: usize,
    batches: usize,
    jobs: usize,
    contacts: usize,
}

impl std::fmt::Display for Filled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { items, batches, jobs, contacts } = self;
        write!(f, "{items} items, {batches} batches, {jobs} jobs, {contacts} contacts")
    }
}

impl Filled {
    /// Pages of what is large.
    fn pages(&self) -> Vec<String> {
        let (middle, job) = (self.batches / 2, self.jobs / 2);
        vec![
            "/console/batches/1".into(),
            "/console/batches/1/failures".into(),
            "/console/batches/1/recipients?status=failed".into(),
            "/console/batches/1/recipients?status=skipped".into(),
            format!("/console/batches/1/recipients?after={}", self.items / 40),
            format!("/console/batches/{middle}"),
            format!("/console/batches?before={middle}"),
            format!("/console/jobs/{job}"),
            format!("/console/contacts/{}", self.contacts / 2),
        ]
    }
}

/// The largest batches: they have half of all items.
const LARGE: usize = 10;

/// Rows that are written in one statement.
const PART: usize = 500_000;

/// The statements that fill the ledger: each takes the numbers from `$1` on, `$2` of them, and the time now as `$3`.
fn statements(items: usize) -> (Filled, Vec<(usize, String)>) {
    let filled = Filled { items, batches: (items / 100).max(LARGE * 2), jobs: items / 10, contacts: items / 10 };
    let Filled { batches, jobs, contacts, .. } = filled;
    let large = items / 2 / LARGE;
    let small = (items / 2).div_ceil(batches - LARGE).max(1);
    let day = 86_400_000_i64;
    let (twenty, year) = (20 * day, 365 * day);
    // Over the last 20 days, the newest last; what is older would be thrown away meanwhile.
    let at = |n: &str, of: usize| format!("($3 - {twenty} + {n} * {twenty} / {of})");
    let size = format!("(CASE WHEN n < {LARGE} THEN {large} ELSE {small} END)");
    let failed = format!("({size} / 100)");
    let ended = at("n", batches);
    let contact = "INSERT INTO contacts (identifier, phone, name, source, created_at, updated_at)
        SELECT UUID, '6012' || CAST(10000000 + n AS TEXT), 'Contact ' || CAST(n AS TEXT), 'bench', $3, $3 FROM NUMBERS";
    let batch = format!(
        "INSERT INTO batches (type, status, sender_id, created_by, config, content, total, succeeded, failed, expanded,
                              chunk_count, next_chunk, created_at, started_at, completed_at)
         SELECT CASE WHEN n < {LARGE} OR n % 10 > 1 THEN 'SEND' WHEN n % 10 = 0 THEN 'IMPORT' ELSE 'TAG' END,
                CASE WHEN n % 50 = 49 THEN 'FAILED' WHEN n % 50 = 48 THEN 'CANCELLED' ELSE 'COMPLETED' END, 1, 1, '{{}}',
                'Hello {{{{ name }}}}, this is offer ' || CAST(n AS TEXT), {size}, {size} - {failed}, {failed}, TRUE,
                ({size} + 499) / 500, ({size} + 499) / 500, {ended}, {ended}, {ended} + 60000 FROM NUMBERS"
    );
    let message = |batch: String, seq: String, of: &str| {
        format!(
            "INSERT INTO messages (batch_id, seq, contact_id, sender_id, item_status, attempts, fence, error_code,
                                   error_message, direction, status, ack, created_at, started_at, sent_at, finished_at)
             SELECT {batch}, {seq}, n % {contacts} + 1, 1, CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'succeeded' END, 1, 1,
                    CASE WHEN n % 100 = 0 THEN 'gateway_' || CAST(400 + n / 100 % 5 AS TEXT) END,
                    CASE WHEN n % 100 = 0 THEN 'not a number of anybody' END, 'outbound',
                    CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'sent' END, 1, {of}, {of}, {of}, {of} FROM NUMBERS"
        )
    };
    let job_at = at("n", jobs);
    let job = format!(
        "INSERT INTO jobs (kind, lane, state, batch_id, payload_version, run_at, attempts, failures, error, created_at,
                           started_at, finished_at)
         SELECT CASE n % 3 WHEN 0 THEN 'deliver' WHEN 1 THEN 'expand' ELSE 'start' END,
                CASE n % 3 WHEN 0 THEN 'critical' ELSE 'default' END,
                CASE n % 10 WHEN 0 THEN 'ready' WHEN 1 THEN 'ready' WHEN 2 THEN 'dead' WHEN 3 THEN 'paused'
                            WHEN 4 THEN 'cancelled' ELSE 'done' END,
                CASE WHEN n % 3 = 0 THEN NULL ELSE n % {batches} + 1 END, 1,
                CASE WHEN n % 10 < 2 THEN $3 + {year} + n ELSE {job_at} END, 1, CASE WHEN n % 10 = 2 THEN 5 ELSE 0 END,
                CASE WHEN n % 10 = 2 THEN CASE WHEN n % 20 = 2 THEN 'the gateway timed out' ELSE 'the number is not known' END
                END, {job_at}, {job_at}, CASE WHEN n % 10 IN (2, 4, 5, 6, 7, 8, 9) THEN {job_at} END FROM NUMBERS"
    );
    let audit = format!(
        "INSERT INTO audit_logs (actor, user_id, action, resource_id, created_at)
         SELECT 'user', 1, CASE n % 3 WHEN 0 THEN 'batch:create' WHEN 1 THEN 'batch:pause' ELSE 'job:retry' END,
                CAST(n / 3 + 1 AS TEXT), {} FROM NUMBERS",
        at("n", batches * 3)
    );
    let minutes = "INSERT INTO queue_samples (minute, waiting_critical, waiting_default, waiting_bulk, behind_critical_ms,
            behind_default_ms, behind_bulk_ms, running, dead, ended, died, succeeded, failed)
        SELECT $3 / 60000 - 1 - n, n % 50, n % 70, n % 500, n % 900, n % 3000, n % 90000, n % 20, n % 5, n % 300, n % 2, n % 9000,
               n % 90 FROM NUMBERS WHERE TRUE ON CONFLICT (minute) DO NOTHING";
    let suppressed = "INSERT INTO suppressions (phone, reason, created_at)
        SELECT '6019' || CAST(10000000 + n AS TEXT), 'user', $3 FROM NUMBERS";
    let template = "INSERT INTO templates (name, content, created_by, created_at, updated_at)
        SELECT 'Offer ' || CAST(n AS TEXT), 'Hello {{ name }}', 1, $3, $3 FROM NUMBERS";
    let many = items / 2;
    let first = message(format!("n / {large} + 1"), format!("n % {large}"), &at("n", many));
    let rest = message(format!("n / {small} + {LARGE} + 1"), format!("n % {small}"), &at("n", many));
    let parts = vec![
        (contacts, contact.to_owned()),
        (batches, batch),
        (LARGE * large, first),
        ((batches - LARGE) * small, rest),
        (jobs, job),
        (batches * 3, audit),
        (8 * 24 * 60, minutes.to_owned()),
        (contacts / 100, suppressed.to_owned()),
        (200, template.to_owned()),
        (1, "ANALYZE".to_owned()),
    ];
    (filled, parts)
}

/// Fills the ledger with what its workers would have left there.
async fn fill(setup: &Setup, items: usize) -> Result<Filled> {
    let ledger = setup.ledger.open().await?;
    let conn = ledger.write();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let (numbers, uuid) = match Dialect::of(conn) {
        Dialect::Postgres => {
            ("generate_series(CAST($1 AS BIGINT), $1 + CAST($2 AS BIGINT) - 1) AS numbers(n)", "gen_random_uuid()")
        }
        Dialect::Sqlite => (
            "(WITH RECURSIVE counted(n) AS (SELECT $1 UNION ALL SELECT n + 1 FROM counted WHERE n + 1 < $1 + $2)
              SELECT n FROM counted) AS numbers",
            "printf('%08x-0000-4000-8000-%012x', n, n)",
        ),
    };
    let (filled, parts) = statements(items);
    for (rows, statement) in parts {
        if statement == "ANALYZE" {
            db::execute(conn, statement, []).await?;
            continue;
        }
        let sql = statement.replace("NUMBERS", numbers).replace("UUID", uuid);
        let mut from = 0;
        while from < rows {
            let some = (rows - from).min(PART);
            // As a bigint in every place: a server takes the type of the first one.
            let sql = sql.replace("$3", "CAST($3 AS BIGINT)");
            let values = [i64::try_from(from)?.into(), i64::try_from(some)?.into(), now.into()];
            db::execute(conn, sql, values).await.with_context(|| statement.chars().take(60).collect::<String>())?;
            from += some;
        }
    }
    ledger.close().await;
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_leads_to_those_of_the_console_alone() {
        let text = r#"<a href="/console/jobs/7?x=1&amp;y=2#z">7</a> <a href="https://else.where/console">
            <link href="/console/assets/a.css"> <div hx-get="/console?fragment=now">"#;
        let found = addresses(text);
        assert_eq!(found, ["/console/jobs/7?x=1&y=2", "/console/assets/a.css", "/console?fragment=now"]);
        assert_eq!(found.iter().filter(|one| measured(one)).count(), 2);
    }

    #[test]
    fn numbers_make_no_other_page_and_choices_do() {
        assert_eq!(shape("/console/jobs/7"), shape("/console/jobs/123"));
        assert_eq!(shape("/console/jobs?after=1-2&state=dead"), shape("/console/jobs?state=dead&after=7-9"));
        assert_ne!(shape("/console/jobs?state=dead"), shape("/console/jobs?state=ready"));
    }
}
