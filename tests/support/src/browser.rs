//! A real Chromium, spoken to by the Chrome DevTools Protocol.

use crate::{DEADLINE, eventually};
use futures::SinkExt;
use futures::stream::{SplitSink, StreamExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Sink = SplitSink<WebSocketStream<MaybeTlsStream<TcpStream>>, Message>;

/// A running browser. It ends when it and its pages are dropped.
#[derive(Debug)]
pub struct Browser {
    wire: Arc<Wire>,
}

/// What the browser and its pages share.
#[derive(Debug)]
struct Wire {
    _process: tokio::process::Child,
    sink: tokio::sync::Mutex<Sink>,
    next: AtomicU64,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Debug, Default)]
struct Heard {
    asked: HashMap<u64, oneshot::Sender<Value>>,
    /// By session: how many documents were loaded.
    loaded: HashMap<String, usize>,
    /// By session: what went wrong on the page.
    problems: HashMap<String, Vec<String>>,
}

/// A page of a browser, with cookies of its own.
#[derive(Debug)]
pub struct Page {
    wire: Arc<Wire>,
    session: String,
    context: String,
}

impl Heard {
    fn take(&mut self, message: Value) {
        if let Some(asker) = message["id"].as_u64().and_then(|id| self.asked.remove(&id)) {
            // Whoever asked may have given up.
            asker.send(message).ok();
            return;
        }
        let session = message["sessionId"].as_str().unwrap_or_default().to_owned();
        let params = &message["params"];
        let problem = match message["method"].as_str().unwrap_or_default() {
            "Page.loadEventFired" => {
                *self.loaded.entry(session).or_default() += 1;
                return;
            }
            "Runtime.exceptionThrown" => params["exceptionDetails"].to_string(),
            "Runtime.consoleAPICalled" if matches!(params["type"].as_str(), Some("error" | "warning" | "assert")) => {
                params["args"].to_string()
            }
            "Log.entryAdded" if matches!(params["entry"]["level"].as_str(), Some("error" | "warning")) => {
                format!("{} {}", params["entry"]["text"], params["entry"]["url"])
            }
            "Network.loadingFailed" if params["canceled"] != true => params.to_string(),
            "Audits.issueAdded" if params["issue"]["code"] == "ContentSecurityPolicyIssue" => params.to_string(),
            _ => return,
        };
        self.problems.entry(session).or_default().push(problem);
    }
}

impl Browser {
    /// Starts a Chromium whose profile lies in a directory.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(dir: &Path) -> Self {
        let chromium = std::env::var_os("PACELINE_TEST_CHROMIUM").expect("set by `cargo xtask test`");
        let profile = dir.join("browser");
        let process = tokio::process::Command::new(&chromium)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--remote-debugging-port=0", "--lang=en", "--force-color-profile=srgb"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the browser runs");
        let url = eventually("the browser to listen", DEADLINE, async || {
            let told =
                std::fs::read_to_string(profile.join("DevToolsActivePort")).map_err(|error| error.to_string())?;
            let (port, path) = told.split_once('\n').ok_or("half a file")?;
            Ok::<_, String>(format!("ws://127.0.0.1:{port}{}", path.trim()))
        })
        .await;
        let (stream, _) = connect_async(&url).await.expect("the browser takes a socket");
        let (sink, mut stream) = stream.split();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let hearing = heard.clone();
        tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                if let Message::Text(text) = message {
                    hearing.lock().take(serde_json::from_str(&text).expect("the browser speaks JSON"));
                }
            }
        });
        let wire = Wire { _process: process, sink: tokio::sync::Mutex::new(sink), next: AtomicU64::new(1), heard };
        Self { wire: Arc::new(wire) }
    }

    /// Opens an empty page with cookies of its own.
    pub async fn page(&self) -> Page {
        let context = self.wire.ask("", "Target.createBrowserContext", json!({})).await;
        let context = context["browserContextId"].as_str().expect("a context").to_owned();
        self.page_in(context).await
    }

    /// Opens another page with a page's cookies.
    pub async fn page_beside(&self, page: &Page) -> Page {
        self.page_in(page.context.clone()).await
    }

    async fn page_in(&self, context: String) -> Page {
        let wire = &self.wire;
        let asked = json!({ "url": "about:blank", "browserContextId": context });
        let target = wire.ask("", "Target.createTarget", asked).await;
        let asked = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = wire.ask("", "Target.attachToTarget", asked).await;
        let session = attached["sessionId"].as_str().expect("a session").to_owned();
        let page = Page { wire: wire.clone(), session, context };
        for domain in ["Page", "Runtime", "Network", "Log", "Audits"] {
            page.ask(&format!("{domain}.enable"), json!({})).await;
        }
        page
    }
}

impl Wire {
    async fn ask(&self, session: &str, method: &str, params: Value) -> Value {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (asker, answer) = oneshot::channel();
        self.heard.lock().asked.insert(id, asker);
        let mut message = json!({ "id": id, "method": method, "params": params });
        if !session.is_empty() {
            message["sessionId"] = session.into();
        }
        self.sink.lock().await.send(Message::text(message.to_string())).await.expect("the browser hears");
        let answer = timeout(DEADLINE, answer).await.unwrap_or_else(|_| panic!("{method}: no answer"));
        let answer = answer.unwrap_or_else(|_| panic!("{method}: the browser is gone"));
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }
}

impl Page {
    async fn ask(&self, method: &str, params: Value) -> Value {
        self.wire.ask(&self.session, method, params).await
    }

    fn loaded(&self) -> usize {
        self.wire.heard.lock().loaded.get(&self.session).copied().unwrap_or_default()
    }

    /// Does what leads to another document, and waits until that is loaded.
    pub async fn leading(&self, act: impl Future<Output = ()>) {
        let before = self.loaded();
        act.await;
        eventually("the next document to load", DEADLINE, async || {
            if self.loaded() > before { Ok(()) } else { Err("none did") }
        })
        .await;
    }

    /// Goes to an address.
    pub async fn go(&self, url: &str) {
        self.leading(async {
            let told = self.ask("Page.navigate", json!({ "url": url })).await;
            assert!(told["errorText"].is_null(), "{url}: {told}");
        })
        .await;
    }

    /// What an expression gives; a promise is awaited.
    ///
    /// # Panics
    /// When it throws.
    pub async fn eval(&self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let told = self.ask("Runtime.evaluate", asked).await;
        assert!(told["exceptionDetails"].is_null(), "{}", told["exceptionDetails"]);
        told["result"]["value"].clone()
    }

    /// The text of the first element that a selector finds, as it is seen.
    pub async fn text(&self, selector: &str) -> String {
        let text = self.eval(&format!("document.querySelector({})?.innerText ?? ''", json!(selector))).await;
        text.as_str().expect("a text").to_owned()
    }

    /// Where the page is, without its host.
    pub async fn address(&self) -> String {
        self.eval("location.pathname + location.search").await.as_str().expect("a text").to_owned()
    }

    /// Presses the mouse on the first element that a selector finds.
    ///
    /// # Panics
    /// When there is none, or something lies over it.
    pub async fn click(&self, selector: &str) {
        let place = self
            .eval(&format!(
                "(() => {{ const e = document.querySelector({0}); if (!e) return null;
                   e.scrollIntoView({{ block: 'center' }}); const r = e.getBoundingClientRect();
                   const x = r.x + r.width / 2, y = r.y + r.height / 2, top = document.elementFromPoint(x, y);
                   return [x, y, e === top || e.contains(top)]; }})()",
                json!(selector)
            ))
            .await;
        assert_eq!(place[2], true, "{selector} is not to be seen: {place}");
        for kind in ["mousePressed", "mouseReleased"] {
            let at = json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
            self.ask("Input.dispatchMouseEvent", at).await;
        }
    }

    /// Writes into a field, in place of what is there.
    ///
    /// # Panics
    /// When there is no such field.
    pub async fn fill(&self, selector: &str, text: &str) {
        let found = self
            .eval(&format!(
                "(() => {{ const e = document.querySelector({}); if (!e) return false; e.focus(); e.select?.(); return true; }})()",
                json!(selector)
            ))
            .await;
        assert_eq!(found, true, "no {selector}");
        self.ask("Input.insertText", json!({ "text": text })).await;
    }

    /// Chooses a file in a field for files.
    ///
    /// # Panics
    /// When there is no such field.
    pub async fn choose(&self, selector: &str, file: &Path) {
        let expression = format!("document.querySelector({})", json!(selector));
        let field = self.ask("Runtime.evaluate", json!({ "expression": expression })).await;
        let object = field["result"]["objectId"].as_str().unwrap_or_else(|| panic!("no {selector}")).to_owned();
        self.ask("DOM.setFileInputFiles", json!({ "files": [file], "objectId": object })).await;
    }

    /// Writes where the focus is.
    pub async fn write(&self, text: &str) {
        self.ask("Input.insertText", json!({ "text": text })).await;
    }

    /// Goes on with `Tab` until the focus is on what a selector finds.
    ///
    /// # Panics
    /// When it never comes there.
    pub async fn tab_to(&self, selector: &str) {
        for _ in 0..200 {
            if self.eval(&format!("document.activeElement.matches({})", json!(selector))).await == true {
                return;
            }
            self.key("Tab").await;
        }
        panic!("no key leads to {selector}");
    }

    /// Presses a key: `Tab`, `Enter`, `Escape`, `ArrowLeft`, `ArrowRight` or a character.
    pub async fn key(&self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            "ArrowLeft" => (37, ""),
            "ArrowRight" => (39, ""),
            _ => (0, key),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let pressed = json!({ "type": kind, "key": key, "windowsVirtualKeyCode": code, "text": text });
            self.ask("Input.dispatchKeyEvent", pressed).await;
        }
    }

    /// How wide the page is, and whether the system is dark.
    pub async fn look(&self, width: u32, dark: bool) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.ask("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.ask("Emulation.setEmulatedMedia", media).await;
    }

    /// Brings it to the front, as whoever chooses its tab.
    pub async fn front(&self) {
        self.ask("Page.bringToFront", json!({})).await;
    }

    /// Whether scripts run.
    pub async fn scripts(&self, on: bool) {
        self.ask("Emulation.setScriptExecutionDisabled", json!({ "value": !on })).await;
    }

    /// A picture of the whole page, as PNG in base64.
    pub async fn picture(&self) -> String {
        let told = self.ask("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await;
        told["data"].as_str().expect("a picture").to_owned()
    }

    /// What went wrong on the page since this was last asked: errors and warnings of scripts, reports of the policy, and
    /// requests that failed.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        self.wire.heard.lock().problems.remove(&self.session).unwrap_or_default()
    }
}
