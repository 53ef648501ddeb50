//! What clients send: described here for the document; `Fields` reads it, and holds the same limits.

use super::{OnUnknown, Outcome, TagOperation};
use crate::foundation::country::CountryCode;
use crate::foundation::time::Time;
use poem_openapi::Object;
use poem_openapi::types::Example;
use serde_json::Value;
use std::collections::BTreeMap;

/// Contacts chosen by their tags. At least one condition; `{"all": true}` is everyone.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct AudienceRequest {
    /// Everyone.
    all: Option<bool>,
    /// Has at least one of these tags.
    #[oai(validator(max_items = 50, min_length = 1, max_length = 64))]
    tags_any: Option<Vec<String>>,
    /// Has every one of these tags.
    #[oai(validator(max_items = 50, min_length = 1, max_length = 64))]
    tags_all: Option<Vec<String>>,
    /// Has none of these tags.
    #[oai(validator(max_items = 50, min_length = 1, max_length = 64))]
    tags_none: Option<Vec<String>>,
}

/// A test of a send: to the numbers that the caller keeps.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct TestRequest {
    /// The message, with placeholders; required unless a template is given.
    #[oai(validator(min_length = 1, max_length = 4096))]
    content: Option<String>,
    /// The template to send.
    #[oai(validator(pattern = "^[1-9][0-9]{0,18}$"))]
    template_id: Option<String>,
    /// The sender that it leaves from, by name: one of `GET /senders`; without it, `default`.
    #[oai(validator(pattern = "^[A-Za-z0-9._-]{1,64}$"))]
    sender: Option<String>,
}

/// Why a send is approved.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct ApproveRequest {
    /// Why, for who asked for it and for the audit log.
    #[oai(validator(min_length = 1, max_length = 200))]
    reason: Option<String>,
}

/// Why a send is refused.
#[derive(Debug, Object)]
pub(crate) struct RefuseRequest {
    /// Why, for who asked for it and for the audit log.
    #[oai(validator(min_length = 1, max_length = 200))]
    reason: String,
}

/// The recipients of a former batch, by what became of them.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct FormerRequest {
    /// The batch.
    #[oai(validator(pattern = "^[1-9][0-9]{0,18}$"))]
    batch_id: String,
    /// How their items ended.
    status: Outcome,
}

/// A send to many contacts: to `contactIds`, to an `audience`, to the `remainderOf` a cancelled one or to `recipientsOf` one, of `content` or of a
/// template.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none, example)]
pub(crate) struct SendRequest {
    /// Contact ids: numbers or identifiers. These, an audience, or the remainder of a cancelled batch.
    #[oai(validator(min_items = 1, max_items = 1_000_000, min_length = 1))]
    contact_ids: Option<Vec<String>>,
    /// Whom to write to, by tags.
    audience: Option<AudienceRequest>,
    /// A cancelled batch: the recipients are those that it never wrote to. Message, pace, jitter and `onUnknown` are its
    /// own unless they are given.
    #[oai(validator(pattern = "^[1-9][0-9]{0,18}$"))]
    remainder_of: Option<String>,
    /// Those recipients of a former batch that ended so.
    recipients_of: Option<FormerRequest>,
    /// The message, with placeholders; required unless a template or the remainder of a batch is given.
    #[oai(validator(min_length = 1, max_length = 4096))]
    content: Option<String>,
    /// The template to send.
    #[oai(validator(pattern = "^[1-9][0-9]{0,18}$"))]
    template_id: Option<String>,
    /// The sender that it leaves from, by name: one of `GET /senders`; without it, `default`.
    #[oai(validator(pattern = "^[A-Za-z0-9._-]{1,64}$"))]
    sender: Option<String>,
    /// The pace; without it, the sender's own limit.
    #[oai(validator(minimum(value = "1"), maximum(value = "600000")))]
    rate_per_minute: Option<i64>,
    /// A random extra delay before each message, up to this many milliseconds.
    #[oai(validator(minimum(value = "0"), maximum(value = "600000")))]
    jitter_ms: Option<i64>,
    /// When to start; at most a minute ago.
    schedule_at: Option<Time>,
    /// What becomes of a send whose outcome is not known.
    on_unknown: Option<OnUnknown>,
    /// Writes nothing, and answers 200 with what it would do; the query may say it as well.
    dry_run: Option<bool>,
}

impl Example for SendRequest {
    fn example() -> Self {
        Self {
            contact_ids: Some(vec!["1".into(), "2".into()]),
            audience: None,
            remainder_of: None,
            recipients_of: None,
            content: Some("Hello {{ name | default('there') }}".into()),
            template_id: None,
            sender: None,
            rate_per_minute: Some(600),
            jitter_ms: Some(250),
            schedule_at: None,
            on_unknown: Some(OnUnknown::Resend),
            dry_run: None,
        }
    }
}

/// A change of many contacts' tags.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", example)]
pub(crate) struct TagRequest {
    /// Contact ids: numbers or identifiers.
    #[oai(validator(min_items = 1, max_items = 1_000_000, min_length = 1))]
    contact_ids: Vec<String>,
    /// The tags.
    #[oai(validator(min_items = 1, max_items = 50, min_length = 1, max_length = 64))]
    tags: Vec<String>,
    /// What to do with them.
    operation: TagOperation,
    /// Writes nothing, and answers 200 with what it would do; the query may say it as well.
    dry_run: Option<bool>,
}

impl Example for TagRequest {
    fn example() -> Self {
        let (contact_ids, tags) = (vec!["1".into(), "2".into()], vec!["vip".into()]);
        Self { contact_ids, tags, operation: TagOperation::Add, dry_run: Some(false) }
    }
}

/// A deletion of many contacts.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", example)]
pub(crate) struct DeleteRequest {
    /// Contact ids: numbers or identifiers.
    #[oai(validator(min_items = 1, max_items = 1_000_000, min_length = 1))]
    contact_ids: Vec<String>,
    /// Writes nothing, and answers 200 with what it would do; the query may say it as well.
    dry_run: Option<bool>,
}

impl Example for DeleteRequest {
    fn example() -> Self {
        Self { contact_ids: vec!["3".into()], dry_run: Some(false) }
    }
}

/// A contact to be imported. What is wrong with its values makes it a failed item, not a refusal.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub(crate) struct ImportContact {
    /// The number, as +60123456789; without a country's code it is read in `defaultCountry`.
    #[oai(rename = "phoneE164")]
    phone_e164: String,
    /// The name.
    name: Option<String>,
    /// Its own tags.
    tags: Option<Vec<String>>,
}

/// An import of contacts.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none, example)]
pub(crate) struct ImportRequest {
    /// The contacts.
    #[oai(validator(min_items = 1, max_items = 1_000_000))]
    contacts: Vec<ImportContact>,
    /// Whether contacts that exist are skipped (the default) or merged into.
    skip_duplicates: Option<bool>,
    /// Tags for all of them.
    #[oai(validator(max_items = 50, min_length = 1, max_length = 64))]
    tags: Option<Vec<String>>,
    /// Where they come from.
    #[oai(validator(min_length = 1, max_length = 200))]
    source: Option<String>,
    /// Where numbers without a country's code are at home: two letters of ISO 3166-1.
    default_country: Option<CountryCode>,
    /// Writes nothing, and answers 200 with what each row would become; the query may say it as well.
    dry_run: Option<bool>,
}

impl Example for ImportRequest {
    fn example() -> Self {
        let contact = |phone: &str, name: &str| ImportContact {
            phone_e164: phone.into(),
            name: Some(name.into()),
            tags: Some(vec!["vip".into()]),
        };
        Self {
            contacts: vec![contact("+60123456789", "Ann"), contact("+60123456780", "Bob")],
            skip_duplicates: Some(true),
            tags: Some(vec!["fair".into()]),
            source: Some("trade fair".into()),
            default_country: "MY".parse().ok().map(CountryCode),
            dry_run: None,
        }
    }
}

/// A change of a batch's pace or time: at least one of them.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none, example)]
pub(crate) struct PatchRequest {
    /// A new pace.
    #[oai(validator(minimum(value = "1"), maximum(value = "600000")))]
    rate_per_minute: Option<i64>,
    /// A new jitter.
    #[oai(validator(minimum(value = "0"), maximum(value = "600000")))]
    jitter_ms: Option<i64>,
    /// Another time to start; at most a minute ago.
    schedule_at: Option<Time>,
}

impl Example for PatchRequest {
    fn example() -> Self {
        Self { rate_per_minute: Some(1_200), jitter_ms: None, schedule_at: None }
    }
}

/// A template to be kept.
#[derive(Debug, Object)]
#[oai(example)]
pub(crate) struct TemplateRequest {
    /// Its name; no two templates have the same.
    #[oai(validator(min_length = 1, max_length = 120))]
    name: String,
    /// The text with placeholders.
    #[oai(validator(min_length = 1, max_length = 4096))]
    content: String,
}

impl Example for TemplateRequest {
    fn example() -> Self {
        Self { name: "welcome".into(), content: "Hello {{ name | default('there') }}".into() }
    }
}

/// Values to try a template with.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none, example)]
pub(crate) struct TemplatePreviewRequest {
    /// The name.
    #[oai(validator(min_length = 1, max_length = 200))]
    name: Option<String>,
    /// The number.
    #[oai(validator(min_length = 1, max_length = 40))]
    phone: Option<String>,
    /// Further values, by name.
    attributes: Option<BTreeMap<String, Value>>,
}

impl Example for TemplatePreviewRequest {
    fn example() -> Self {
        let attributes = BTreeMap::from([("shop".to_owned(), "Ipoh".into())]);
        Self { name: Some("Ann".into()), phone: Some("60123456789".into()), attributes: Some(attributes) }
    }
}
