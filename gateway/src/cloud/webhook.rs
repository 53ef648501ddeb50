//! What a webhook tells: `entry[].changes[].value` with its `statuses`, `messages`, `contacts` and `errors`.
//!
//! It is read value by value. What is not known is passed over, and what is malformed is left out and counted: Meta adds
//! fields and kinds at any time, and one that nobody here knows must not cost the others.

use super::answer::is_number;
use super::error::{MetaError, integer};
use super::inbound::{self, Read};
use crate::limits;
use crate::transport::{Class, Event, Refusal, Status};
use listener::lenient_json;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// What a webhook told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WebhookContent {
    /// In its order.
    pub(super) events: Vec<Event>,
    /// Elements that could not be read, or not wholly.
    pub(super) malformed: u64,
    /// Elements that mean nothing here: of another number or field, of a kind that is not known.
    pub(super) passed_over: u64,
    /// Codes of errors that are no message's.
    pub(super) errors: Vec<i64>,
}

/// An object whose members are still to be read, one by one.
type Members<'a> = BTreeMap<String, &'a RawValue>;

/// An object's members; `None` for what is no object.
fn members(raw: &RawValue) -> Option<Members<'_>> {
    serde_json::from_str(raw.get()).ok()
}

/// Reads a webhook's body, of the numbers that are `ours`; `now_ms` is the time of what has none that can be read.
pub(super) fn read(body: &[u8], ours: impl Fn(&str) -> bool, now_ms: i64) -> WebhookContent {
    let mut told = WebhookContent::default();
    let body = lenient_json(body);
    let Ok(webhook) = serde_json::from_str::<Members<'_>>(&body) else {
        told.malformed = 1;
        return told;
    };
    for entry in told.elements(&webhook, "entry", true) {
        let Some(entry) = members(entry) else {
            told.malformed += 1;
            continue;
        };
        for change in told.elements(&entry, "changes", true) {
            told.change(change, &ours, now_ms);
        }
    }
    told
}

impl WebhookContent {
    fn change(&mut self, change: &RawValue, ours: impl Fn(&str) -> bool, now_ms: i64) {
        let change = members(change).unwrap_or_default();
        let field = change.get("field").and_then(|field| serde_json::from_str::<String>(field.get()).ok());
        let (Some(field), Some(value)) = (field.filter(|field| !field.is_empty()), change.get("value")) else {
            self.malformed += 1;
            return;
        };
        if field != "messages" {
            self.passed_over += 1;
            return;
        }
        let value = members(value).unwrap_or_default();
        // An app may have several numbers, and each webhook says which it is about.
        let metadata = value.get("metadata").map(|metadata| self.value(metadata)).unwrap_or_default();
        match text(&metadata, "phone_number_id") {
            Some(id) if ours(id) => {}
            Some(_) => {
                self.passed_over += 1;
                return;
            }
            None => {
                self.malformed += 1;
                return;
            }
        }
        for status in self.elements(&value, "statuses", false) {
            let status = self.value(status);
            self.status(&status, now_ms);
        }
        let contacts = self.elements(&value, "contacts", false);
        let contacts: Vec<Value> = contacts.into_iter().map(|contact| self.value(contact)).collect();
        for message in self.elements(&value, "messages", false) {
            let message = self.value(message);
            match inbound::read(&message, &contacts, now_ms) {
                Read::Written(inbound) => self.events.push(Event::Inbound(*inbound)),
                Read::Nothing => self.passed_over += 1,
                Read::Malformed => self.malformed += 1,
            }
        }
        for error in self.elements(&value, "errors", false) {
            let error = self.value(error);
            match MetaError::read(&error, None) {
                Some(error) => self.errors.push(error.code),
                None => self.malformed += 1,
            }
        }
    }

    /// An element's value. Of one that cannot be read as a whole, as with a number that is too large or lists that are too
    /// deep, the members that can: a message is worth more than what it says of its media.
    fn value(&mut self, raw: &RawValue) -> Value {
        if let Ok(value) = serde_json::from_str(raw.get()) {
            return value;
        }
        self.malformed += 1;
        let all = members(raw).unwrap_or_default().into_iter();
        Value::Object(all.filter_map(|(name, raw)| Some((name, serde_json::from_str(raw.get()).ok()?))).collect())
    }

    fn status(&mut self, status: &Value, now_ms: i64) {
        let (Some(network_id), Some(word)) = (text(status, "id"), text(status, "status")) else {
            self.malformed += 1;
            return;
        };
        let reached = match word {
            "sent" => Status::Sent,
            "delivered" => Status::Delivered,
            "read" => Status::Read,
            "played" => Status::Played,
            "failed" => Status::Failed(failure(status)),
            _ => {
                self.passed_over += 1;
                return;
            }
        };
        self.events.push(Event::Status {
            message_id: text(status, "biz_opaque_callback_data").map(str::to_owned),
            network_id: limits::id(network_id),
            wa_id: text(status, "recipient_id").filter(|told| is_number(told)).map(str::to_owned),
            status: reached,
            at_ms: at_ms(status, now_ms),
        });
    }

    /// The elements of a list; one that is no list is counted, and so is one that is not there where it must be.
    fn elements<'a>(&mut self, value: &Members<'a>, key: &str, must: bool) -> Vec<&'a RawValue> {
        match value.get(key).filter(|raw| raw.get() != "null") {
            None if !must => Vec::new(),
            found => found.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_else(|| {
                self.malformed += 1;
                Vec::new()
            }),
        }
    }
}

/// Why a message could not be delivered: the first reason that can be read.
fn failure(status: &Value) -> Refusal {
    let errors = status.get("errors").and_then(Value::as_array).into_iter().flatten();
    match errors.filter_map(|error| MetaError::read(error, None)).next() {
        Some(error) => error.refusal(None, None),
        None => Refusal {
            class: Class::Message,
            code: "cloud_failed".into(),
            detail: "Meta could not deliver it and gave no reason".into(),
            retry_after: None,
        },
    }
}

/// The text under a key; `None` when it is empty or none.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The end of the year 9999, in seconds: no time is later.
const END_OF_TIME: i64 = 253_402_300_799;

/// An element's time, told in seconds.
pub(super) fn at_ms(element: &Value, now_ms: i64) -> i64 {
    let seconds = element.get("timestamp").and_then(integer).filter(|seconds| (0..=END_OF_TIME).contains(seconds));
    seconds.map_or(now_ms, |seconds| seconds * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn is_ours(id: &str) -> bool {
        id == OURS
    }

    const OURS: &str = "106540352242922";
    const NOW: i64 = 1_800_000_000_000;

    /// A webhook with one value of ours.
    fn webhook(value: &Value) -> Value {
        let mut value = value.clone();
        value["messaging_product"] = "whatsapp".into();
        value["metadata"] = json!({"display_phone_number": "15550783881", "phone_number_id": OURS});
        json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]})
    }

    fn told(webhook: &Value) -> WebhookContent {
        read(webhook.to_string().as_bytes(), is_ours, NOW)
    }

    fn status(word: &str) -> Value {
        json!({"id": "wamid.A", "status": word, "timestamp": "1749416383", "recipient_id": "60123456789",
            "biz_opaque_callback_data": "m1", "pricing": {"billable": true}, "new": {"deep": []}})
    }

    fn event(status: Status) -> Event {
        let at_ms = 1_749_416_383_000;
        let wa_id = Some("60123456789".into());
        Event::Status { message_id: Some("m1".into()), network_id: "wamid.A".into(), wa_id, status, at_ms }
    }

    #[test]
    fn the_ladder_is_read_in_its_order() {
        let words = ["read", "sent", "delivered", "played", "sent"];
        let told = told(&webhook(&json!({"statuses": words.map(status)})));
        let expected = [Status::Read, Status::Sent, Status::Delivered, Status::Played, Status::Sent].map(event);
        assert_eq!(told, WebhookContent { events: expected.into(), ..WebhookContent::default() });
    }

    #[test]
    fn a_failure_has_its_class() {
        let mut failed = status("failed");
        failed["errors"] = json!([{"code": 131_026, "title": "Message undeliverable", "message": "Message undeliverable",
            "error_data": {"details": "Message Undeliverable."}, "href": "https://example.org"}]);
        let refusal = Refusal {
            class: Class::Recipient,
            code: "131026".into(),
            detail: "Message undeliverable: Message Undeliverable.".into(),
            retry_after: None,
        };
        assert_eq!(told(&webhook(&json!({"statuses": [failed]}))).events, [event(Status::Failed(refusal))]);
        for errors in [json!(null), json!([]), json!({}), json!([{"title": "no code"}])] {
            let mut failed = status("failed");
            failed["errors"] = errors;
            let told = told(&webhook(&json!({"statuses": [failed]})));
            let [Event::Status { status: Status::Failed(refusal), .. }] = &told.events[..] else { panic!("{told:?}") };
            assert_eq!((refusal.class, refusal.code.as_str()), (Class::Message, "cloud_failed"));
        }
    }

    #[test]
    fn what_is_not_known_costs_nothing_else() {
        let mut other = webhook(&json!({"statuses": [status("sent")]}));
        other["entry"][0]["changes"][0]["value"]["metadata"]["phone_number_id"] = "1".into();
        let echoes = json!({"field": "smb_message_echoes", "value": {"message_echoes": []}});
        let mut all = webhook(&json!({"statuses": [status("pending"), status("read")], "user_actions": 7}));
        all["entry"][0]["changes"].as_array_mut().expect("a list").insert(0, echoes);
        all["entry"].as_array_mut().expect("a list").push(other["entry"][0].clone());
        let told = told(&all);
        assert_eq!((told.malformed, told.passed_over, &told.events[..]), (0, 3, &[event(Status::Read)][..]));
    }

    #[test]
    fn what_is_malformed_is_counted_and_costs_nothing_else() {
        let mut nameless = status("sent");
        nameless["id"] = json!(null);
        let value = json!({
            "statuses": [7, nameless, status("read"), {"id": "wamid.A"}],
            "messages": {"no": "list"},
            "errors": [{"code": 130_429, "title": "Rate limit hit"}, {"title": "no code"}],
        });
        let mut all = webhook(&value);
        all["entry"].as_array_mut().expect("a list").insert(0, json!({"id": "1"}));
        all["entry"][1]["changes"].as_array_mut().expect("a list").extend([
            json!(null),
            json!({"field": "messages", "value": {}}),
            json!({"field": "messages"}),
        ]);
        let told = told(&all);
        assert_eq!((told.malformed, told.passed_over), (9, 0));
        assert_eq!((&told.events[..], &told.errors[..]), (&[event(Status::Read)][..], &[130_429][..]));
        for body in [&b""[..], b"[", b"7", b"[]", b"{}", b"\xff", b"{\"entry\": 7}"] {
            assert_eq!(read(body, is_ours, NOW), WebhookContent { malformed: 1, ..WebhookContent::default() });
        }
    }

    #[test]
    fn a_time_that_cannot_be_read_is_now() {
        for (timestamp, expected) in [
            (json!("1749416383"), 1_749_416_383_000),
            (json!(1_749_416_383), 1_749_416_383_000),
            (json!("0"), 0),
            (json!("-1"), NOW),
            (json!("9223372036854775807"), NOW),
            (json!("1749416383.5"), NOW),
            (json!("soon"), NOW),
            (json!(null), NOW),
        ] {
            assert_eq!(at_ms(&json!({"timestamp": timestamp}), NOW), expected, "{timestamp}");
        }
        assert_eq!(at_ms(&json!(7), NOW), NOW);
    }

    #[test]
    fn depth_without_end_is_no_webhook() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(read(deep.as_bytes(), is_ours, NOW).malformed, 1);
    }

    #[test]
    fn half_an_emoji_costs_nothing() {
        let body = webhook(&json!({
            "statuses": [status("read")],
            "contacts": [{"wa_id": "60123456789", "profile": {"name": "Ann HALF"}}],
            "messages": [{"from": "60123456789", "id": "wamid.B", "timestamp": "1749416383", "type": "text",
                "text": {"body": "HALF Hello HALF"}}],
        }));
        for half in ["\\ud83d", "\\ude00", "\\ud83d\\ud83d"] {
            let told = read(body.to_string().replace("HALF", half).as_bytes(), is_ours, NOW);
            let lost = half.replace("\\ud83d", "\u{fffd}").replace("\\ude00", "\u{fffd}");
            assert_eq!((told.malformed, &told.events[0]), (0, &event(Status::Read)), "{half}");
            let [_, Event::Inbound(inbound)] = &told.events[..] else { panic!("{told:?}") };
            assert_eq!(inbound.name, Some(format!("Ann {lost}")));
            assert_eq!(inbound.text, format!("{lost} Hello {lost}"));
        }
    }

    #[test]
    fn what_no_parser_takes_costs_itself_alone() {
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        for (part, malformed) in [("1e999", 1), (deep.as_str(), 1)] {
            let body = webhook(&json!({
                "statuses": [status("read"), {"id": "wamid.C", "status": "sent", "more": "PART"}],
                "messages": [{"from": "60123456789", "id": "wamid.B", "timestamp": "1749416383", "type": "image",
                    "image": "PART"}],
                "contacts": ["PART"],
            }));
            let told = read(body.to_string().replace("\"PART\"", part).as_bytes(), is_ours, NOW);
            assert_eq!((told.malformed, told.events.len()), (3 * malformed, 3), "{told:?}");
            let Event::Inbound(inbound) = &told.events[2] else { panic!("{told:?}") };
            assert_eq!((inbound.kind.as_str(), &inbound.media), ("image", &None));
        }
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let (name, kind, id) = ("\u{1f600}".repeat(300), "k".repeat(51), "wamid.".repeat(60));
        let value = json!({
            "contacts": [{"wa_id": "60123456789", "profile": {"name": name}}],
            "messages": [
                {"from": "60123456789", "id": id, "type": kind, kind.as_str(): {"blob": "x".repeat(70_000)}},
                {"from": "60123456789", "from_user_id": "U".repeat(300), "id": "wamid.B", "type": "text",
                    "text": {"body": "\u{e9}".repeat(70_000)}},
                {"from": "1234567890123456", "id": "wamid.C", "type": "text", "text": {"body": "a\u{0}b"}},
            ],
        });
        let told = told(&webhook(&value));
        let [Event::Inbound(one), Event::Inbound(two), Event::Inbound(three)] = &told.events[..] else {
            panic!("{told:?}")
        };
        assert_eq!(one.name, Some("\u{1f600}".repeat(200)));
        assert_eq!((one.kind.len(), one.network_id.len()), (40, 256));
        assert_eq!(one.media, Some(json!({"too_large": true, "bytes": 70_011})));
        assert_eq!((two.text.chars().count(), two.identities[0].1.len()), (65_536, 256));
        let address = ("wa_id".to_owned(), "1234567890123456".to_owned());
        assert_eq!((three.from.as_str(), &three.identities, three.text.as_str()), ("", &vec![address], "ab"));
    }

    const KEYS: &[&str] = &[
        "entry",
        "changes",
        "field",
        "value",
        "metadata",
        "phone_number_id",
        "statuses",
        "messages",
        "contacts",
        "errors",
        "id",
        "status",
        "timestamp",
        "type",
        "text",
        "body",
        "from",
        "from_user_id",
        "profile",
        "name",
        "code",
        "image",
        "interactive",
        "phones",
        "location",
    ];
    const WORDS: &[&str] =
        &["messages", OURS, "sent", "failed", "text", "image", "contacts", "location", "interactive", "7", ""];

    /// Any JSON, with the keys and words of a webhook among it.
    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            proptest::sample::select(WORDS).prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(8, 64, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec((proptest::sample::select(KEYS), inner), 0..6).prop_map(|pairs| {
                    Value::Object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(body: Vec<u8>) {
            prop_assert!(read(&body, is_ours, NOW).events.is_empty());
        }

        #[test]
        fn any_webhook_is_read(webhook in anything()) {
            read(webhook.to_string().as_bytes(), is_ours, NOW);
        }

        #[test]
        fn no_neighbour_costs_a_status(before in anything(), after in anything(), messages in anything()) {
            let value = json!({"statuses": [before, status("read"), after], "messages": messages});
            let told = told(&webhook(&value));
            prop_assert!(told.events.contains(&event(Status::Read)));
        }

        #[test]
        fn a_webhook_that_is_cut_tells_nothing(at in 0usize..1_000) {
            let whole = webhook(&json!({"statuses": [status("read")]})).to_string();
            let told = read(&whole.as_bytes()[..at.min(whole.len() - 1)], is_ours, NOW);
            prop_assert_eq!((told.malformed, told.events.len()), (1, 0));
        }
    }
}
