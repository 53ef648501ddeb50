//! What a customer wrote, as a webhook tells it.

use super::webhook::{at_ms, text};
use crate::limits;
use crate::transport::Inbound;
use serde_json::Value;

/// What is to be done with an element of `messages`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Somebody wrote.
    Written(Box<Inbound>),
    /// Nobody wrote, or not to us alone: a note of the system, a message in a group.
    Nothing,
    /// It lacks what every message has.
    Malformed,
}

/// Reads an element of `messages`; `contacts` are those of the same webhook.
pub(super) fn read(message: &Value, contacts: &[Value], now_ms: i64) -> Read {
    let (Some(network_id), Some(kind)) = (text(message, "id"), text(message, "type")) else { return Read::Malformed };
    if kind == "system" || message.get("group_id").is_some() {
        return Read::Nothing;
    }
    let user_id = text(message, "from_user_id");
    let contact = contact_of(text(message, "from"), user_id, contacts);
    let told = |key| contact.and_then(|contact| text(contact, key));
    let from = text(message, "from").or_else(|| told("wa_id")).and_then(digits).unwrap_or_default();
    let user_id = user_id.or_else(|| told("user_id"));
    if from.is_empty() && user_id.is_none() {
        return Read::Malformed;
    }
    let mut identities: Vec<_> = user_id.map(|id| ("bsuid".to_owned(), limits::id(id))).into_iter().collect();
    // An address that no number can be is an address all the same.
    let is_number = limits::NUMBER.contains(&from.len());
    if !is_number && !from.is_empty() {
        identities.push(("wa_id".to_owned(), limits::id(from)));
    }
    let profile = contact.and_then(|contact| contact.get("profile"));
    let name = profile.and_then(|profile| text(profile, "name").or_else(|| text(profile, "username")));
    // Under its kind's own name, whatever the kind.
    let content = message.get(kind).unwrap_or(&Value::Null);
    Read::Written(Box::new(Inbound {
        from: if is_number { from.to_owned() } else { String::new() },
        identities,
        name: name.map(|name| limits::clip(name, limits::NAME)),
        text: limits::clip(&words(kind, content), limits::TEXT),
        network_id: limits::id(network_id),
        kind: limits::clip(kind, limits::KIND),
        media: (kind != "text" && !content.is_null()).then(|| limits::media(content)),
        at_ms: at_ms(message, now_ms),
    }))
}

/// Who wrote. `wa_id` may be written otherwise than `from`, so one contact alone is the one.
fn contact_of<'a>(from: Option<&str>, user_id: Option<&str>, contacts: &'a [Value]) -> Option<&'a Value> {
    let is = |contact: &Value, key: &str, expected: Option<&str>| expected.is_some() && text(contact, key) == expected;
    let named = contacts.iter().find(|contact| is(contact, "wa_id", from) || is(contact, "user_id", user_id));
    named.or(match contacts {
        [one] => Some(one),
        _ => None,
    })
}

/// The text, or what stands for it: a caption, the button's words, the place's name. Empty where there are no words.
fn words(kind: &str, content: &Value) -> String {
    let told = |path: &[&str]| {
        let value = path.iter().try_fold(content, |value, key| value.get(key));
        value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let words = match kind {
        "text" => told(&["body"]),
        "image" | "video" => told(&["caption"]),
        "document" => told(&["caption"]).or_else(|| told(&["filename"])),
        "button" | "order" => told(&["text"]),
        "reaction" => told(&["emoji"]),
        "interactive" => ["button_reply", "list_reply"]
            .iter()
            .find_map(|reply| told(&[reply, "title"]))
            .or_else(|| told(&["nfm_reply", "body"])),
        "location" => place(content),
        "contacts" => Some(people(content)),
        _ => None,
    };
    words.unwrap_or_default()
}

/// A place's name and address, else its coordinates.
fn place(content: &Value) -> Option<String> {
    let named: Vec<_> = ["name", "address"].iter().filter_map(|key| text(content, key)).collect();
    if !named.is_empty() {
        return Some(named.join(", "));
    }
    let number = |key| content.get(key).filter(|value| value.is_number());
    Some(format!("{}, {}", number("latitude")?, number("longitude")?))
}

/// The names of the contacts that were shared, each with its first number.
fn people(content: &Value) -> String {
    let people = content.as_array().into_iter().flatten().filter_map(|person| {
        let name = person.get("name").and_then(|name| text(name, "formatted_name"));
        let number = person.get("phones").and_then(|phones| text(phones.get(0)?, "phone"));
        match (name, number) {
            (Some(name), Some(number)) => Some(format!("{name} ({number})")),
            (Some(told), None) | (None, Some(told)) => Some(told.to_owned()),
            (None, None) => None,
        }
    });
    people.collect::<Vec<_>>().join(", ")
}

/// A number's digits, without a `+`; `None` for what is no number.
fn digits(number: &str) -> Option<&str> {
    let number = number.strip_prefix('+').unwrap_or(number);
    let all = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    all.then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(message: &Value, contacts: &[Value]) -> Inbound {
        match read(message, contacts, 0) {
            Read::Written(inbound) => *inbound,
            other => panic!("{other:?} from {message}"),
        }
    }

    fn of_kind(kind: &str, content: &Value) -> Inbound {
        let message =
            json!({"from": "60123456789", "id": "wamid.A", "timestamp": "1749416383", "type": kind, kind: content});
        written(&message, &[])
    }

    #[test]
    fn every_kind_has_its_words_and_keeps_what_came() {
        let image = json!({"id": "1", "mime_type": "image/jpeg", "sha256": "x", "caption": "look"});
        let cases = [
            ("image", image, "look"),
            ("image", json!({"id": "1"}), ""),
            ("video", json!({"id": "1", "caption": "see"}), "see"),
            ("audio", json!({"id": "1", "voice": true}), ""),
            ("sticker", json!({"id": "1", "animated": false}), ""),
            ("document", json!({"id": "1", "filename": "a.pdf", "caption": "the bill"}), "the bill"),
            ("document", json!({"id": "1", "filename": "a.pdf"}), "a.pdf"),
            (
                "location",
                json!({"latitude": 3.1, "longitude": 101.7, "name": "Tower", "address": "1 Road"}),
                "Tower, 1 Road",
            ),
            ("location", json!({"latitude": 3.1, "longitude": -101}), "3.1, -101"),
            ("location", json!({"latitude": "3.1"}), ""),
            (
                "contacts",
                json!([
                    {"name": {"formatted_name": "Ann"}, "phones": [{"phone": "+60 12"}, {"phone": "2"}]},
                    {"name": {"formatted_name": "Ben"}},
                    {"phones": [{"phone": "3"}]},
                    {},
                    7
                ]),
                "Ann (+60 12), Ben, 3",
            ),
            ("button", json!({"text": "Yes", "payload": "y"}), "Yes"),
            ("interactive", json!({"type": "button_reply", "button_reply": {"id": "y", "title": "Yes"}}), "Yes"),
            (
                "interactive",
                json!({"type": "list_reply", "list_reply": {"id": "1", "title": "Tea", "description": "hot"}}),
                "Tea",
            ),
            ("interactive", json!({"type": "nfm_reply", "nfm_reply": {"body": "Sent", "response_json": "{}"}}), "Sent"),
            ("reaction", json!({"message_id": "wamid.B", "emoji": "👍"}), "👍"),
            ("reaction", json!({"message_id": "wamid.B"}), ""),
            ("order", json!({"catalog_id": "1", "text": "please"}), "please"),
            ("unsupported", json!({"type": "poll"}), ""),
            ("something_new", json!({"text": "x"}), ""),
            ("image", json!("no object"), ""),
        ];
        for (kind, content, words) in cases {
            let inbound = of_kind(kind, &content);
            assert_eq!((inbound.kind.as_str(), inbound.text.as_str()), (kind, words), "{content}");
            assert_eq!(inbound.media, Some(content));
            assert_eq!(inbound.at_ms, 1_749_416_383_000);
        }
        let inbound = of_kind("text", &json!({"body": "Hi\u{0} there"}));
        assert_eq!((inbound.text.as_str(), inbound.media), ("Hi there", None));
        // Without its content it is still a message.
        let bare =
            json!({"from": "60123456789", "id": "wamid.A", "type": "unsupported", "errors": [{"code": 131_051}]});
        assert_eq!(written(&bare, &[]).media, None);
    }

    #[test]
    fn the_writer_is_found() {
        let ann = json!({"wa_id": "60123456789", "user_id": "MY.1", "profile": {"name": "Ann", "username": "@ann"}});
        let ben = json!({"wa_id": "60111111111", "profile": {"name": "Ben"}});
        let cat = json!({"user_id": "MY.3", "profile": {"username": "@cat"}});
        let all = [ben.clone(), ann, cat.clone()];
        let message = |from: &Value, user_id: &Value| json!({"id": "wamid.A", "type": "text", "text": {"body": "x"}, "from": from, "from_user_id": user_id});
        let bsuid = |id: &str| vec![("bsuid".to_owned(), id.to_owned())];

        let inbound = written(&message(&json!("60123456789"), &json!(null)), &all);
        assert_eq!((inbound.from.as_str(), inbound.name.as_deref()), ("60123456789", Some("Ann")));
        assert_eq!(inbound.identities, bsuid("MY.1"));
        // Somebody with a username, who tells no number.
        let inbound = written(&message(&json!(null), &json!("MY.3")), &all);
        assert_eq!((inbound.from.as_str(), inbound.name.as_deref()), ("", Some("@cat")));
        assert_eq!(inbound.identities, bsuid("MY.3"));
        // The number that only the contact tells.
        let inbound = written(&message(&json!(null), &json!("MY.1")), &all);
        assert_eq!(inbound.from, "60123456789");
        // A contact alone is the writer, also under another form of the number; among many nobody is guessed.
        let other = message(&json!("+60111111112"), &json!(null));
        let inbound = written(&other, &[ben]);
        assert_eq!((inbound.from.as_str(), inbound.name.as_deref()), ("60111111112", Some("Ben")));
        let inbound = written(&other, &all);
        assert_eq!((inbound.name, inbound.identities), (None, Vec::new()));
    }

    #[test]
    fn what_lacks_its_writer_is_malformed_and_what_nobody_wrote_is_nothing() {
        for message in [
            json!(null),
            json!([]),
            json!({"id": "wamid.A", "type": "text", "text": {"body": "x"}}),
            json!({"id": "wamid.A", "type": "text", "from": "somebody"}),
            json!({"id": "", "type": "text", "from": "1"}),
            json!({"id": 1, "type": "text", "from": "1"}),
            json!({"id": "wamid.A", "from": "1"}),
        ] {
            assert_eq!(read(&message, &[], 0), Read::Malformed, "{message}");
        }
        for message in [
            json!({"id": "wamid.A", "type": "system", "from": "1", "system": {"body": "Ann changed from 1 to 2"}}),
            json!({"id": "wamid.A", "type": "text", "from": "1", "group_id": "g", "text": {"body": "x"}}),
        ] {
            assert_eq!(read(&message, &[], 0), Read::Nothing, "{message}");
        }
    }
}
