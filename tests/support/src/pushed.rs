//! What is pushed, held against what the process says of it in its AsyncAPI document.

use crate::Client;
use jsonschema::Validator;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where sockets are.
const SOCKET: &str = "/ws";

/// Where the stream is.
pub(crate) const STREAM: &str = "/messages/events/stream";

/// A process's `/asyncapi.json`, ready to be asked whether a frame or an event is one that it describes.
#[derive(Debug)]
pub struct Pushed {
    document: Value,
    /// By the channel's address and the message's type.
    messages: BTreeMap<(String, String), Message>,
}

#[derive(Debug)]
struct Message {
    payload: Validator,
    headers: Option<Validator>,
}

impl Pushed {
    /// Asks the process at an address like `http://127.0.0.1:4000`.
    ///
    /// # Panics
    /// When it has no such document, or one that cannot be used.
    pub async fn of(base: &str) -> Self {
        let answer = Client::new(base).get("/asyncapi.json").await;
        let document = answer.expect(200);
        let mut messages = BTreeMap::new();
        let operations = document["operations"].as_object().into_iter().flatten();
        for (_, operation) in operations {
            // What the process receives is no frame of its own; what it answers to that is.
            let sent =
                if operation["action"] == "send" { &operation["messages"] } else { &operation["reply"]["messages"] };
            for at in sent.as_array().into_iter().flatten() {
                let channel = resolved(&document, &operation["channel"]);
                let message = resolved(&document, resolved(&document, at));
                let address = channel["address"].as_str().expect("a channel has an address").to_owned();
                let name = message["name"].as_str().expect("a message has a name").to_owned();
                let payload = validator(&document, &message["payload"]);
                let headers = message.get("headers").map(|headers| validator(&document, headers));
                messages.insert((address, name), Message { payload, headers });
            }
        }
        Self { document, messages }
    }

    /// Checks a frame of the socket.
    ///
    /// # Panics
    /// When the document has no such frame; the message says what differs.
    pub fn frame(&self, frame: &Value) {
        self.check(SOCKET, frame, None);
    }

    /// Checks the code that the server closes a socket with.
    ///
    /// # Panics
    /// When the document does not have it.
    pub fn close(&self, code: u16) {
        let codes = self.channel(SOCKET)["x-close-codes"].as_object();
        let known = codes.is_some_and(|codes| codes.contains_key(&code.to_string()));
        assert!(known, "the document has no close code {code}");
    }

    /// Checks an event of the stream: its id, and its data.
    ///
    /// # Panics
    /// When the document has no such event; the message says what differs.
    pub fn event(&self, id: &str, data: &Value) {
        self.check(STREAM, data, Some(&json!({ "id": id })));
    }

    /// The line that a stream begins with.
    pub(crate) fn hello(&self) -> String {
        format!("retry: {}", self.channel(STREAM)["x-server-sent-events"]["retry"]["milliseconds"])
    }

    /// The comment by which a silent stream says that it lives.
    pub(crate) fn keep_alive(&self) -> String {
        let comment = &self.channel(STREAM)["x-server-sent-events"]["keepAlive"]["comment"];
        format!(": {}", comment.as_str().unwrap_or_default())
    }

    fn channel(&self, address: &str) -> &Value {
        let mut channels = self.document["channels"].as_object().into_iter().flatten();
        let found = channels.find(|(_, channel)| channel["address"] == address);
        found.unwrap_or_else(|| panic!("the document has no channel {address}")).1
    }

    fn check(&self, address: &str, payload: &Value, headers: Option<&Value>) {
        let kind = payload["type"].as_str().unwrap_or_default();
        let Some(message) = self.messages.get(&(address.to_owned(), kind.to_owned())) else {
            panic!("the document has nothing of this type on {address}: {payload}");
        };
        let mut wrong: Vec<String> = message.payload.iter_errors(payload).map(|error| told(&error)).collect();
        match (&message.headers, headers) {
            (Some(described), Some(headers)) => wrong.extend(described.iter_errors(headers).map(|error| told(&error))),
            (described, headers) => assert_eq!(described.is_some(), headers.is_some(), "{address}: {kind}"),
        }
        assert!(wrong.is_empty(), "{kind} on {address} is described differently: {}\n{payload}", wrong.join("; "));
    }
}

fn told(error: &jsonschema::ValidationError<'_>) -> String {
    format!("{}: {error}", error.instance_path())
}

/// What a reference leads to; what is no reference is there already.
fn resolved<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    let Some(at) = value["$ref"].as_str() else { return value };
    let found = at.strip_prefix('#').and_then(|at| document.pointer(at));
    found.unwrap_or_else(|| panic!("nothing is at {at}"))
}

fn validator(document: &Value, schema: &Value) -> Validator {
    // What it refers to is found where it stands in the document.
    let whole = json!({ "allOf": [schema], "components": document["components"] });
    let built = jsonschema::draft7::options().should_validate_formats(true).build(&whole);
    built.unwrap_or_else(|error| panic!("no schema ({error}): {schema}"))
}
