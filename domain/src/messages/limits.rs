//! How much is kept of what comes from a network. Its limits are its own, and nobody would tell again what we refuse: what
//! is longer than ours is cut at a character.

use super::inbox::{self, Inbound};
use super::receipts::{About, Receipt, ReceiptKind};
use crate::contacts::customers::Identity;
use sha2::{Digest, Sha256};

/// A network's id of anything, in characters.
pub const ID: usize = 256;

/// A writer's name, in characters.
pub const NAME: usize = 200;

/// A text, in characters.
pub const TEXT: usize = 65_536;

/// A kind of messages or addresses, in characters.
pub const KIND: usize = 40;

/// The addresses of one writer.
pub const IDENTITIES: usize = 16;

/// A word for a reason, in characters.
pub const CODE: usize = 64;

/// A reason for people, in characters.
pub const DETAIL: usize = 500;

/// The word for a reason that has none.
const UNSPECIFIED: &str = "unspecified";

/// The beginning of a text, without NUL, which PostgreSQL does not store. `None`: nothing is left.
fn clip(text: &str, most: usize) -> Option<String> {
    let clipped: String = text.chars().filter(|c| *c != '\0').take(most).collect();
    (!clipped.trim().is_empty()).then_some(clipped)
}

/// An id. Of one that is too long the beginning and a digest of all are kept, so that two of them stay two.
fn id(id: &str) -> Option<String> {
    if id.chars().count() <= ID && !id.contains('\0') {
        return (!id.is_empty()).then(|| id.to_owned());
    }
    let digest = hex::encode(Sha256::digest(id.as_bytes()));
    let begun: String = id.chars().filter(|c| *c != '\0').take(ID - 1 - digest.len()).collect();
    Some(format!("{begun}~{digest}"))
}

/// What a customer wrote, within our limits. `from` is the writer's address as the network tells it: a number, or, where it
/// can be none, one more address.
#[must_use]
pub fn inbound(from: Option<&str>, told: Inbound) -> Inbound {
    let from = from.map(|from| from.trim().trim_start_matches('+')).filter(|from| !from.is_empty());
    let phone = told.phone.or_else(|| inbox::writers_phone(from?));
    let nameless = from.filter(|_| phone.is_none()).map(|value| Identity { kind: "wa_id".into(), value: value.into() });
    let identities = told
        .identities
        .into_iter()
        .chain(nameless)
        .filter_map(|identity| Some(Identity { kind: clip(&identity.kind, KIND)?, value: id(&identity.value)? }));
    Inbound {
        phone,
        identities: identities.take(IDENTITIES).collect(),
        name: told.name.and_then(|name| clip(&name, NAME)),
        content: told.content.chars().filter(|c| *c != '\0').take(TEXT).collect(),
        whatsapp_id: told.whatsapp_id.and_then(|told| id(&told)),
        message_type: clip(&told.message_type, KIND).unwrap_or_else(|| "text".into()),
        media: told.media,
        at: told.at,
    }
}

/// What is told of a message of ours, within our limits.
#[must_use]
pub fn receipt(told: Receipt) -> Receipt {
    let kind = match told.kind {
        ReceiptKind::Mapped { whatsapp_id, wa_id } => ReceiptKind::Mapped {
            whatsapp_id: id(&whatsapp_id).unwrap_or_default(),
            wa_id: wa_id.as_deref().and_then(id),
        },
        ReceiptKind::Ack { level, whatsapp_id } => {
            ReceiptKind::Ack { level, whatsapp_id: whatsapp_id.as_deref().and_then(id) }
        }
        ReceiptKind::Seen { whatsapp_id, delay_ms } => {
            let delay_ms = delay_ms.map(|delay| delay.max(0));
            ReceiptKind::Seen { whatsapp_id: whatsapp_id.as_deref().and_then(id), delay_ms }
        }
        ReceiptKind::Failed { code, detail } => ReceiptKind::Failed {
            code: clip(&code, CODE).unwrap_or_else(|| UNSPECIFIED.into()),
            detail: clip(&detail, DETAIL).unwrap_or_default(),
        },
    };
    let about = match told.about {
        About::Network(told) => About::Network(id(&told).unwrap_or_default()),
        about @ (About::Uuid(_) | About::Number(_)) => about,
    };
    Receipt { about, kind, at: told.at }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn what_a_customer_wrote_is_cut_at_characters() {
        let told = Inbound {
            identities: (0..20).map(|n| Identity { kind: "k".repeat(51), value: format!("{n}") }).collect(),
            name: Some("\u{1f600}".repeat(300)),
            content: format!("a\0{}", "\u{e9}".repeat(70_000)),
            whatsapp_id: Some("w".repeat(300)),
            message_type: "k".repeat(51),
            ..Inbound::default()
        };
        let kept = inbound(Some("+60123456789"), told.clone());
        assert_eq!(kept.phone.map(|phone| phone.as_digits().to_owned()).as_deref(), Some("60123456789"));
        assert_eq!(kept.name, Some("\u{1f600}".repeat(200)));
        assert_eq!((kept.content.chars().count(), kept.content.get(..3)), (TEXT, Some("a\u{e9}")));
        assert_eq!((kept.identities.len(), kept.identities[0].kind.len(), kept.message_type.len()), (16, 40, 40));
        let other = Inbound { whatsapp_id: Some(format!("{}x", "w".repeat(300))), ..told };
        let other = inbound(None, other).whatsapp_id;
        assert!(other.as_ref().is_some_and(|id| id.chars().count() == ID) && other != kept.whatsapp_id);
    }

    #[test]
    fn who_has_no_number_has_an_address() {
        for from in ["1234567890123456", "somebody", "12345"] {
            let kept = inbound(Some(from), Inbound { name: Some(" \0".into()), ..Inbound::default() });
            let address = Identity { kind: "wa_id".into(), value: from.into() };
            assert_eq!((kept.phone, kept.identities, kept.name), (None, vec![address], None), "{from}");
            assert_eq!(kept.message_type, "text");
        }
    }

    #[test]
    fn what_is_told_of_a_message_is_cut_as_well() {
        let kind = ReceiptKind::Failed { code: "c".repeat(99), detail: "\u{e9}".repeat(999) };
        let kept = receipt(Receipt { about: About::Network("n".repeat(999)), kind, at: Timestamp(0) });
        assert_eq!(kept.kind, ReceiptKind::Failed { code: "c".repeat(64), detail: "\u{e9}".repeat(500) });
        assert!(matches!(kept.about, About::Network(id) if id.len() == ID));
    }
}
