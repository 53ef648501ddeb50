//! A real browser's `EventSource`, on a page of another origin, whose network fails.

use crate::reports::{Reporter, customer};
use crate::setup::Setup;
use parking_lot::Mutex;
use poem::listener::TcpAcceptor;
use poem::web::Html;
use poem::{EndpointExt, Route, Server, get, post};
use serde_json::Value;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use support::{Proxy, Pushed, eventually};
use tokio::net::TcpListener;

/// How long a browser on a busy machine may take to start, or to come again.
const PATIENCE: Duration = Duration::from_secs(120);

/// Tells its own server, in order, of everything that the stream tells.
const PAGE: &str = r#"<!doctype html><title>watching</title><script>
let telling = Promise.resolve();
const tell = what => telling = telling.then(() => fetch("/told", { method: "POST", body: JSON.stringify(what) }));
const source = new EventSource("STREAM");
source.onopen = () => tell({ opened: true });
source.onmessage = event => tell({ id: event.lastEventId, data: JSON.parse(event.data) });
</script>"#;

/// The server of the page, and what the page told.
struct Page {
    origin: String,
    stream: Arc<Mutex<String>>,
    told: Arc<Mutex<Vec<Value>>>,
}

impl Page {
    async fn serve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let (stream, told) = (Arc::new(Mutex::new(String::new())), Arc::new(Mutex::new(Vec::new())));
        let (shown, heard) = (stream.clone(), told.clone());
        let page = poem::endpoint::make_sync(move |_| Html(PAGE.replace("STREAM", &shown.lock())));
        let hear = poem::endpoint::make(move |mut request| {
            let heard = heard.clone();
            async move {
                let body = request.take_body().into_bytes().await?;
                heard.lock().push(serde_json::from_slice(&body).expect("JSON"));
                Ok::<_, poem::Error>(())
            }
        });
        let routes = Route::new().at("/", get(page.boxed())).at("/told", post(hear.boxed()));
        let acceptor = TcpAcceptor::from_tokio(listener).expect("a listener");
        tokio::spawn(Server::new_with_acceptor(acceptor).run(routes));
        Self { origin, stream, told }
    }

    /// Waits until the stream was opened so often.
    async fn opened(&self, times: usize) {
        eventually("the browser to open the stream", PATIENCE, async || {
            let opened = self.told.lock().iter().filter(|what| what["opened"] == true).count();
            if opened >= times { Ok(()) } else { Err(format!("opened {opened} times")) }
        })
        .await;
    }

    /// The texts of the messages that were told, and whether their ids rose.
    fn texts(&self) -> (Vec<String>, bool) {
        let told = self.told.lock();
        let events: Vec<_> = told.iter().filter(|what| what["data"]["type"] == "inbound_message").collect();
        let id = |event: &&Value| event["id"].as_str().and_then(|id| id.parse::<i64>().ok()).expect("a number");
        let text = |event: &&Value| event["data"]["message"]["content"].as_str().expect("a text").to_owned();
        (events.iter().map(text).collect(), events.is_sorted_by(|a, b| id(a) < id(b)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_that_is_cut_off_again_and_again_sees_everything_once() {
    let page = Page::serve().await;
    let s = Setup::embedded(&[("PACELINE_CORS_ORIGINS", &page.origin)]).await;
    let proxy = Proxy::before(s.api().url()).await;
    let token = s.program.token_for("agent").await;
    *page.stream.lock() = format!("{}/messages/events/stream?token={token}", proxy.url(s.api().url()));
    let chromium = std::env::var_os("PACELINE_TEST_CHROMIUM").expect("set by `cargo xtask test`");
    let _browser = tokio::process::Command::new(&chromium)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"])
        .args(["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg("--remote-debugging-port=0")
        .arg(format!("--user-data-dir={}", s.program.dir().join("browser").display()))
        .arg(&page.origin)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the browser runs");
    page.opened(1).await;

    customer(&s, "60123456789").await;
    let reporter = Reporter::of(&s);
    let mut written = 0;
    let mut write = async |messages: usize| {
        for _ in 0..messages {
            reporter.inbox("60123456789", &written.to_string(), &format!("in{written}")).await;
            written += 1;
        }
    };
    for time in 2..5 {
        write(10).await;
        // In the middle of what it is told; and more happens while it is away.
        proxy.cut();
        write(10).await;
        proxy.pass();
        page.opened(time).await;
    }
    write(5).await;
    let wanted: Vec<String> = (0..65).map(|n| n.to_string()).collect();
    eventually("the browser to have seen everything", PATIENCE, async || {
        let (texts, _) = page.texts();
        if texts.last() == wanted.last() { Ok(()) } else { Err(format!("it saw {texts:?}")) }
    })
    .await;
    assert_eq!(page.texts(), (wanted, true));
    let pushed = Pushed::of(s.api().url()).await;
    for told in page.told.lock().iter().filter(|told| told["opened"].is_null()) {
        pushed.event(told["id"].as_str().expect("an id"), &told["data"]);
    }
}
