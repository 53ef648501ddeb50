//! `/console/new/send`: a send, from whom it is for to the forecast and the button.
//!
//! The form is checked first: the same page comes back with what the send would do, and with the button that does it. A send
//! that is to start now starts [`UNDO`] later, so that whoever pressed too soon can take it back.

use super::course::limited_by;
use super::making::{self, Made, UNDO};
use super::who::Who;
use super::{Wrong, sample};
use crate::fault::Fault;
use crate::guard::{self, Context, redirect};
use crate::ui::Ui;
use askama::Template;
use domain::batches::{self, BatchType, ContactRefs, CreateError, NewSend, Recipients, SendPlan, Staged};
use domain::contacts::phone;
use domain::kept::{drafts, numbers};
use domain::messages::template::{MAX_CHARS, Template as Text};
use domain::messages::templates::{self, StoredTemplate};
use domain::{Timestamp, db};
use faults::Commit;
use poem::Response;
use poem::http::{Method, StatusCode};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;

/// How many templates can be chosen from.
const TEMPLATES: u64 = 200;

/// The form as it was filled in.
#[derive(Clone, Debug, Default)]
struct Draft {
    to: Who,
    template: String,
    content: String,
    rate: String,
    jitter: String,
    /// A local time without a zone, and the minutes of its zone before UTC.
    at: String,
    offset: String,
    /// Names the send, so that it is done once.
    once: String,
}

#[derive(Template)]
#[template(path = "pages/new_send.html", blocks = ["kept"])]
struct Page {
    ui: Ui,
    draft: Draft,
    templates: Vec<StoredTemplate>,
    wrong: Vec<Wrong>,
    plan: Option<Plan>,
    /// When it was kept as a draft, if it was just now.
    kept_at: Option<Timestamp>,
    /// How many numbers tests go to.
    tests: usize,
}

/// What the send would do, as it is shown.
struct Plan {
    plan: SendPlan,
    limited_by: &'static str,
    /// Number and text of some recipients.
    samples: Vec<(String, String)>,
}

impl Draft {
    /// What the form says, in short.
    fn seal(&self) -> String {
        let Self { to, template, content, rate, jitter, at, offset, once } = self;
        let own = [template, content, rate, jitter, at, offset, once].map(String::as_str);
        making::seal(to.parts().into_iter().chain(own))
    }
}

impl Page {
    /// How a text names what is known of a recipient.
    fn example(&self) -> &'static str {
        "{{ name | default(\"there\") }}"
    }

    fn tests_count(&self) -> i64 {
        i64::try_from(self.tests).unwrap_or(i64::MAX)
    }

    fn chosen(&self, template: &StoredTemplate) -> bool {
        self.draft.template == template.id.to_string()
    }
}

/// The form, its check, or the send.
pub(crate) async fn either(context: Context) -> Result<Response, Fault> {
    if context.method != Method::POST {
        let mut draft = match context.query("draft") {
            Some(key) => kept(&context, key).await?,
            None => Draft { to: Who::fresh(&context), once: making::fresh(), ..Draft::default() },
        };
        if context.query("sample").is_some() {
            draft.to.tags_any = sample::TAG.to_owned();
            draft.content = context.ui.t("sample-text");
        }
        return page(&context, draft, Vec::new(), None).await;
    }
    let draft = draft(&context);
    if context.fragment() == Some("kept") || context.form("act") == Some("keep") {
        return keep(&context, draft).await;
    }
    if context.form("act") == Some("test") {
        return test(&context, draft).await;
    }
    let new = match read(&context, &draft).await? {
        Read::Send(new) => new,
        Read::Wrong(wrong) => return page(&context, draft, wrong, None).await,
    };
    let seal = draft.seal();
    if context.form("act") == Some("send") && context.form("checked") == Some(seal.as_str()) {
        return send(&context, draft, *new).await;
    }
    let sees_phones = context.viewer()?.sees_phones();
    let configured = context.app.settings.sender_rate_per_minute;
    match batches::plan_send(context.app.db.read(), context.ui.now, &new, configured).await {
        Ok(plan) => page(&context, draft, Vec::new(), Some(shown(plan, sees_phones))).await,
        Err(error) => page(&context, draft, vec![refused(error)?], None).await,
    }
}

fn draft(context: &Context) -> Draft {
    let text = |name: &str| context.form(name).unwrap_or_default().trim().to_owned();
    Draft {
        to: Who::read(context),
        template: text("template"),
        // Browsers send line ends as forms have them.
        content: text("content").replace("\r\n", "\n"),
        rate: text("rate"),
        jitter: text("jitter"),
        at: text("at"),
        offset: text("offset"),
        once: text("once"),
    }
}

async fn page(context: &Context, draft: Draft, wrong: Vec<Wrong>, plan: Option<Plan>) -> Result<Response, Fault> {
    let (templates, _) = templates::list(context.app.db.read(), TEMPLATES, 0).await?;
    let refused = !wrong.is_empty();
    let tests = numbers::list(context.app.db.read(), context.viewer()?.user.id).await?.len();
    let page = Page { ui: context.ui.clone(), draft, templates, wrong, plan, kept_at: None, tests };
    let mut response = guard::html(&page.ui, &page);
    if refused {
        response.set_status(StatusCode::BAD_REQUEST);
    }
    Ok(response)
}

fn shown(plan: SendPlan, sees_phones: bool) -> Plan {
    let number = |phone: &str| if sees_phones { phone.to_owned() } else { phone::mask_digits(phone) };
    Plan {
        limited_by: limited_by(plan.limited_by),
        samples: plan.samples.iter().map(|one| (number(&one.phone), one.text.clone())).collect(),
        plan,
    }
}

/// What the domain refuses, as the form says it.
pub(super) fn refused(error: CreateError) -> Result<Wrong, Fault> {
    match error {
        CreateError::EmptyAudience => Ok(("send-nobody", String::new())),
        CreateError::Database(error) => Err(error.into()),
        CreateError::NoTemplate => Ok(("send-no-template", String::new())),
        CreateError::NoSender => Ok(("send-no-sender", String::new())),
        CreateError::RemainderTaken(other) => Ok(("send-remainder-taken", other.to_string())),
        CreateError::GivenUp(_) => Ok(("send-given-up", String::new())),
        CreateError::Template(error) => Ok(("send-bad-text", error.to_string())),
    }
}

/// What a form says.
enum Read {
    /// A send.
    Send(Box<NewSend>),
    /// None: all that is wrong with it.
    Wrong(Vec<Wrong>),
}

/// Reads the form.
async fn read(context: &Context, draft: &Draft) -> Result<Read, Fault> {
    let mut wrong = Vec::new();
    let recipients = draft.to.recipients(context, &mut wrong).await?;
    let mut new = NewSend::new(String::new(), recipients);
    text_of(draft, &mut new, &mut wrong);
    new.rate_per_minute = whole(&draft.rate, 1, "bad-rate", &mut wrong);
    let jitter = whole(&draft.jitter, 0, "bad-jitter", &mut wrong).filter(|secs| {
        let fine = *secs <= 600;
        if !fine {
            wrong.push(("bad-jitter", draft.jitter.clone()));
        }
        fine
    });
    new.jitter_ms = jitter.unwrap_or(0).saturating_mul(1_000);
    new.schedule_at = at(draft, context.ui.now, &mut wrong);
    new.approval_above = context.app.settings.approval_above;
    Ok(if wrong.is_empty() { Read::Send(Box::new(new)) } else { Read::Wrong(wrong) })
}

/// The text or the template of the form.
fn text_of(draft: &Draft, new: &mut NewSend, wrong: &mut Vec<Wrong>) {
    new.content = Some(draft.content.clone());
    if draft.template.is_empty() {
        match Text::parse(&draft.content) {
            _ if draft.content.is_empty() => wrong.push(("send-no-text", String::new())),
            _ if draft.content.chars().count() > MAX_CHARS => wrong.push(("send-long-text", MAX_CHARS.to_string())),
            Err(error) => wrong.push(("send-bad-text", error.to_string())),
            Ok(_) => {}
        }
    } else {
        new.content = None;
        match draft.template.parse() {
            Ok(id) => new.template = Some(id),
            Err(_) => wrong.push(("bad-choice", draft.template.clone())),
        }
    }
}

/// A whole number of at most 600,000; nothing where nothing is given.
fn whole(text: &str, least: u32, key: &'static str, wrong: &mut Vec<Wrong>) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    let number: Option<u32> = text.parse().ok().filter(|number| (least..=600_000).contains(number));
    if number.is_none() {
        wrong.push((key, text.to_owned()));
    }
    number
}

/// A local time without a zone, with the minutes of its zone before UTC; without them, UTC's.
pub(super) fn local_time(at: &str, offset: &str) -> Option<Timestamp> {
    let seconds = if at.len() == "2026-01-01T09:00".len() { ":00" } else { "" };
    let local = Timestamp::parse_rfc3339(&format!("{at}{seconds}Z")).ok()?;
    let minutes: i64 = if offset.is_empty() { 0 } else { offset.parse().ok()? };
    (minutes.abs() <= 24 * 60).then(|| Timestamp(local.0.saturating_add(minutes * 60_000)))
}

/// The time that a form names: local, with the minutes of its zone before UTC.
fn at(draft: &Draft, now: Timestamp, wrong: &mut Vec<Wrong>) -> Option<Timestamp> {
    if draft.at.is_empty() {
        return None;
    }
    match local_time(&draft.at, &draft.offset) {
        Some(at) if at >= now.minus(batches::SCHEDULE_SLACK) => Some(at),
        Some(_) => {
            wrong.push(("send-past", draft.at.clone()));
            None
        }
        None => {
            wrong.push(("bad-time", draft.at.clone()));
            None
        }
    }
}

/// The form's fields that a draft keeps; whom it is for has those of [`Who`].
const FIELDS: [&str; 6] = ["template", "content", "rate", "jitter", "at", "offset"];

impl Draft {
    /// What is filled in, by the names of the form's fields.
    fn fields(&self) -> BTreeMap<String, String> {
        let own = [&self.template, &self.content, &self.rate, &self.jitter, &self.at, &self.offset];
        let own = FIELDS.into_iter().zip(own.map(String::as_str));
        let all = Who::FIELDS.into_iter().zip(self.to.parts()).chain(own);
        all.filter(|(_, text)| !text.is_empty()).map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
    }

    /// The form as it was filled in; `once` is its name.
    fn of(fields: &BTreeMap<String, String>, once: &str) -> Self {
        let text = |name: &str| fields.get(name).cloned().unwrap_or_default();
        Self {
            to: Who::of(text),
            template: text("template"),
            content: text("content"),
            rate: text("rate"),
            jitter: text("jitter"),
            at: text("at"),
            offset: text("offset"),
            once: once.to_owned(),
        }
    }

    /// What it is called in the list: how its text begins.
    fn name(&self, templates: &[StoredTemplate]) -> String {
        let template = templates.iter().find(|one| one.id.to_string() == self.template);
        let text = template.map_or(self.content.as_str(), |template| template.name.as_str());
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(drafts::MAX_NAME).collect()
    }
}

/// A draft that was kept, as the form.
async fn kept(context: &Context, key: &str) -> Result<Draft, Fault> {
    let found = match drafts::is_key(key) {
        true => drafts::get(context.app.db.read(), context.viewer()?.user.id, key).await?,
        false => None,
    };
    let found = found.ok_or(Fault::NotFound)?;
    Ok(Draft::of(&found.fields, &found.key))
}

/// Writes the draft down. One that says nothing is none.
async fn write_down(context: &Context, draft: &Draft) -> Result<bool, Fault> {
    if !drafts::is_key(&draft.once) {
        return Err(Fault::Bad("bad-form", String::new()));
    }
    let fields = draft.fields();
    // The choices that a fresh form has say nothing yet.
    if fields.keys().all(|name| matches!(name.as_str(), "who" | "outcome")) {
        return Ok(false);
    }
    let app = &context.app;
    let (templates, _) = templates::list(app.db.read(), TEMPLATES, 0).await?;
    let tx = app.db.begin().await?;
    let named = (draft.once.as_str(), draft.name(&templates));
    drafts::keep(&tx, context.ui.now, context.viewer()?.user.id, (named.0, &named.1), &fields).await?;
    db::commit(tx, Commit::Customer).await?;
    Ok(true)
}

/// Keeps the form as a draft.
async fn keep(context: &Context, draft: Draft) -> Result<Response, Fault> {
    let written = write_down(context, &draft).await?;
    if context.fragment().is_none() {
        let (key, done) = (&draft.once, if written { "&done=draft-kept" } else { "" });
        return Ok(redirect(&if written {
            format!("/console/new/send?draft={key}{done}")
        } else {
            "/console/new/send".into()
        }));
    }
    let kept_at = written.then_some(context.ui.now);
    let (templates, wrong) = (Vec::new(), Vec::new());
    let page = Page { ui: context.ui.clone(), draft, templates, wrong, plan: None, kept_at, tests: 0 };
    Ok(guard::html(&page.ui, &page.as_kept()))
}

/// Sends the text to the reader's own numbers, as a batch of its own; the form is kept meanwhile.
async fn test(context: &Context, draft: Draft) -> Result<Response, Fault> {
    let mut wrong = Vec::new();
    let mut new = NewSend::new(String::new(), Recipients::Contacts(ContactRefs::default()));
    text_of(&draft, &mut new, &mut wrong);
    if !wrong.is_empty() {
        return page(context, draft, wrong, None).await;
    }
    write_down(context, &draft).await?;
    let (name, seal) = (making::fresh(), draft.seal());
    let made = making::once_and(context, &name, &seal, "tested", async |now, user| {
        let rng = &mut StdRng::from_rng(&mut rand::rng());
        let tx = context.app.db.begin().await?;
        let mut contacts = ContactRefs::default();
        for id in numbers::contacts(&tx, now, user, rng).await? {
            contacts.push(&id.to_string());
        }
        if contacts.is_empty() {
            return Err(CreateError::EmptyAudience);
        }
        new.recipients = Recipients::Contacts(contacts);
        new.approval_above = context.app.settings.approval_above;
        let step = batches::create_send(&tx, now, user, new, Staged::default()).await?;
        Ok((tx, step))
    });
    match made.await? {
        Made::Accepted(response) => Ok(response),
        Made::Refused(CreateError::EmptyAudience) => {
            page(context, draft, vec![("test-nobody", String::new())], None).await
        }
        Made::Refused(error) => page(context, draft, vec![refused(error)?], None).await,
    }
}

/// Does the send.
async fn send(context: &Context, draft: Draft, mut new: NewSend) -> Result<Response, Fault> {
    let seal = draft.seal();
    let made = making::once(context, &draft.once, &seal, async |now, user| {
        new.schedule_at.get_or_insert(now.plus(UNDO));
        let (app, mut staged) = (&context.app, Staged::default());
        staged.count(app.db.read(), &new).await?;
        if let Recipients::Contacts(contacts) = &new.recipients {
            making::stage(context, contacts, BatchType::Send, &mut staged).await?;
        }
        let tx = app.db.begin().await?;
        let step = batches::create_send(&tx, now, user, new, staged).await?;
        // What is sent is no draft any more.
        drafts::delete(&tx, user, &draft.once).await?;
        Ok::<_, CreateError>((tx, step))
    });
    match made.await? {
        Made::Accepted(response) => Ok(response),
        Made::Refused(error) => page(context, draft, vec![refused(error)?], None).await,
    }
}
