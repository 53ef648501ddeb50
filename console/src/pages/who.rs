//! Whom something is for: contacts with tags, pasted ones, those of a former batch with some outcome, or all.

use super::Wrong;
use crate::fault::Fault;
use crate::guard::Context;
use domain::BatchId;
use domain::batches::{self, Audience, ContactRefs, ItemStatus, OUTCOMES, Recipients};
use domain::contacts::{find, tags};

/// How many contacts can be pasted; tags and imports are for more.
const MAX_PASTED: usize = 500;

/// How many digits make a number; fewer are a contact's own.
const NUMBER_DIGITS: usize = 8;

/// The most contacts of one batch.
const MOST: usize = 1_000_000;

/// The part of a form that says whom it is for, as it was filled in.
#[derive(Clone, Debug, Default)]
pub(super) struct Who {
    /// `tags`, `list`, `batch` or `all`.
    pub(super) who: String,
    pub(super) tags_any: String,
    pub(super) tags_none: String,
    pub(super) list: String,
    pub(super) batch: String,
    pub(super) outcome: String,
}

impl Who {
    /// Of a form that was not filled in yet; a link may have named the batch.
    pub(super) fn fresh(context: &Context) -> Self {
        let batch = context.query("batch").unwrap_or_default().to_owned();
        let outcome = context.query("outcome").unwrap_or("failed").to_owned();
        Self { who: if batch.is_empty() { "tags" } else { "batch" }.into(), batch, outcome, ..Self::default() }
    }

    pub(super) fn read(context: &Context) -> Self {
        Self::of(|name| context.form(name).unwrap_or_default().trim().to_owned())
    }

    /// The names of the form's fields, in the order of [`parts`](Self::parts).
    pub(super) const FIELDS: [&'static str; 6] = ["who", "tags_any", "tags_none", "list", "batch", "outcome"];

    /// As it was filled in, by the names of the form's fields.
    pub(super) fn of(text: impl Fn(&str) -> String) -> Self {
        let [who, tags_any, tags_none, list, batch, outcome] = Self::FIELDS.map(text);
        Self { who, tags_any, tags_none, list, batch, outcome }
    }

    /// All that it says.
    pub(super) fn parts(&self) -> [&str; 6] {
        [&self.who, &self.tags_any, &self.tags_none, &self.list, &self.batch, &self.outcome]
    }

    pub(super) fn is(&self, who: &str) -> bool {
        self.who == who
    }

    /// The outcomes that can be chosen.
    pub(super) fn outcomes(&self) -> &'static [ItemStatus] {
        &OUTCOMES
    }

    pub(super) fn chosen(&self, outcome: &ItemStatus) -> bool {
        self.outcome == outcome.as_str()
    }

    /// Whom it names.
    pub(super) async fn recipients(&self, context: &Context, wrong: &mut Vec<Wrong>) -> Result<Recipients, Fault> {
        let mut audience = Audience::default();
        match self.who.as_str() {
            "all" => audience.all = true,
            "tags" => {
                audience.tags_any = tags_of(&self.tags_any, wrong);
                if audience.tags_any.is_empty() {
                    wrong.push(("send-no-tags", String::new()));
                }
            }
            "list" => return Ok(Recipients::Contacts(self.pasted(context, wrong).await?)),
            "batch" => return Ok(Recipients::Contacts(self.of_batch(context, wrong).await?)),
            other => wrong.push(("bad-choice", other.to_owned())),
        }
        audience.tags_none = tags_of(&self.tags_none, wrong);
        Ok(Recipients::Audience(audience))
    }

    /// The same as a list, for what is done with a list alone: whom the tags match now.
    pub(super) async fn contacts(&self, context: &Context, wrong: &mut Vec<Wrong>) -> Result<ContactRefs, Fault> {
        let mut refs = match self.recipients(context, wrong).await? {
            Recipients::Contacts(refs) => refs,
            // An audience without a condition is everybody only where that was chosen.
            Recipients::Audience(_) if !wrong.is_empty() => ContactRefs::default(),
            Recipients::Audience(audience) => audience.contacts(context.app.db.read(), MOST).await?,
        };
        refs.each_once(context.app.db.read()).await?;
        if refs.is_empty() && wrong.is_empty() {
            wrong.push(("send-nobody", String::new()));
        }
        Ok(refs)
    }

    async fn of_batch(&self, context: &Context, wrong: &mut Vec<Wrong>) -> Result<ContactRefs, Fault> {
        let id: Option<BatchId> = self.batch.trim_start_matches('#').parse().ok();
        let outcome = OUTCOMES.into_iter().find(|one| self.chosen(one));
        let (Some(id), Some(outcome)) = (id, outcome) else {
            wrong.push(("bad-batch", self.batch.clone()));
            return Ok(ContactRefs::default());
        };
        match batches::contacts_of(context.app.db.read(), id, outcome, MOST).await? {
            Some(refs) if refs.is_empty() => wrong.push(("send-nobody", String::new())),
            Some(refs) => return Ok(refs),
            None => wrong.push(("bad-batch", self.batch.clone())),
        }
        Ok(ContactRefs::default())
    }

    /// The contacts of a pasted list: their own numbers, identifiers and phone numbers, by lines or commas.
    async fn pasted(&self, context: &Context, wrong: &mut Vec<Wrong>) -> Result<ContactRefs, Fault> {
        let mut refs = ContactRefs::default();
        let names: Vec<&str> =
            self.list.split([',', ';', '\n', '\r']).map(str::trim).filter(|name| !name.is_empty()).collect();
        if names.is_empty() || names.len() > MAX_PASTED {
            wrong.push(("send-list-size", names.len().to_string()));
            return Ok(refs);
        }
        let mut unknown = Vec::new();
        for name in names {
            match named(context, name).await? {
                Some(id) => refs.push(&id),
                None => unknown.push(name),
            }
        }
        if !unknown.is_empty() {
            let some: Vec<&str> = unknown.iter().take(5).copied().collect();
            let more = if unknown.len() > some.len() { ", …" } else { "" };
            wrong.push(("send-unknown", format!("{}{more}", some.join(", "))));
        }
        Ok(refs)
    }
}

/// Reads tags that are separated by commas.
pub(super) fn tags_of(text: &str, wrong: &mut Vec<Wrong>) -> Vec<String> {
    let names: Vec<&str> = text.split([',', '，', '\n']).map(str::trim).filter(|name| !name.is_empty()).collect();
    wrong.extend(
        names.iter().filter(|name| !tags::is_fine(&tags::normalise(name))).map(|n| ("bad-tag", (*n).to_owned())),
    );
    tags::normalise_all(&names)
}

async fn named(context: &Context, name: &str) -> Result<Option<String>, Fault> {
    let db = context.app.db.read();
    let digits = find::digits_of(name).filter(|digits| name.starts_with('+') || digits.len() >= NUMBER_DIGITS);
    let Some(digits) = digits else {
        return Ok(find::resolve(db, name).await?.map(|id| id.to_string()));
    };
    let search = find::Search { phone: Some(name.to_owned()), ..find::Search::default() };
    let found = find::find(db, &search, 0, 2).await?.rows;
    let [one] = found.as_slice() else { return Ok(None) };
    // A part of a number is nobody's number.
    let whole = one.phone.as_deref().is_some_and(|phone| phone.len() == digits.trim_start_matches('0').len());
    Ok(whole.then(|| one.id.to_string()))
}
