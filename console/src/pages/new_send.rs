//! `/console/new/send`: a send, from whom it is for to the forecast and the button.
//!
//! The form is checked first: the same page comes back with what the send would do, and with the button that does it. A send
//! that is to start now starts [`UNDO`] later, so that whoever pressed too soon can take it back.

use crate::fault::Fault;
use crate::guard::{self, Context, redirect};
use crate::ui::Ui;
use askama::Template;
use backplane::Limit;
use domain::audit_log::{self, Action};
use domain::batches::{self, Audience, ContactRefs, CreateError, LimitedBy, NewSend, Recipients, SendPlan, Staged};
use domain::contacts::{find, phone, tags};
use domain::idempotency::{self, Begin};
use domain::messages::template::{MAX_CHARS, Template as Text};
use domain::messages::templates::{self, StoredTemplate};
use domain::{Timestamp, UserId, db};
use faults::Commit;
use poem::Response;
use poem::http::{Method, StatusCode};
use sea_orm::DbErr;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How long after the button a send that is to start now starts.
const UNDO: Duration = Duration::from_secs(10);

/// How many contacts can be pasted; tags and imports are for more.
const MAX_PASTED: usize = 500;

/// How many digits make a number; fewer are a contact's own.
const NUMBER_DIGITS: usize = 8;

/// How many templates can be chosen from.
const TEMPLATES: u64 = 200;

/// The form as it was filled in.
#[derive(Clone, Debug, Default)]
struct Draft {
    /// `tags`, `list` or `all`.
    who: String,
    tags_any: String,
    tags_none: String,
    list: String,
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

/// Something that is wrong with the form: the key of its words, and the value that they take.
type Wrong = (&'static str, String);

#[derive(Template)]
#[template(path = "pages/new_send.html")]
struct Page {
    ui: Ui,
    draft: Draft,
    templates: Vec<StoredTemplate>,
    wrong: Vec<Wrong>,
    plan: Option<Plan>,
}

/// What the send would do, as it is shown.
struct Plan {
    plan: SendPlan,
    limited_by: &'static str,
    /// Number and text of some recipients.
    samples: Vec<(String, String)>,
}

impl Draft {
    /// What the form says, in short: the button of a forecast sends what was checked, and nothing else.
    fn seal(&self) -> String {
        let Self { who, tags_any, tags_none, list, template, content, rate, jitter, at, offset, once } = self;
        let all = [who, tags_any, tags_none, list, template, content, rate, jitter, at, offset, once];
        let mut hash = Sha256::new();
        for text in all {
            hash.update(text.len().to_be_bytes());
            hash.update(text);
        }
        hex::encode(hash.finalize())
    }
}

impl Page {
    /// How a text names what is known of a recipient.
    fn example(&self) -> &'static str {
        "{{ name | default(\"there\") }}"
    }

    fn is(&self, who: &str) -> bool {
        self.draft.who == who
    }

    fn chosen(&self, template: &StoredTemplate) -> bool {
        self.draft.template == template.id.to_string()
    }
}

/// The form, its check, or the send.
pub(crate) async fn either(context: Context) -> Result<Response, Fault> {
    if context.method != Method::POST {
        let draft = Draft { who: "tags".into(), once: hex::encode(rand::random::<[u8; 16]>()), ..Draft::default() };
        return page(&context, draft, Vec::new(), None).await;
    }
    let draft = draft(&context);
    let new = match read(&context, &draft).await? {
        Ok(new) => new,
        Err(wrong) => return page(&context, draft, wrong, None).await,
    };
    let seal = draft.seal();
    if context.form("act") == Some("send") && context.form("checked") == Some(seal.as_str()) {
        return send(&context, draft, new).await;
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
        who: text("who"),
        tags_any: text("tags_any"),
        tags_none: text("tags_none"),
        list: text("list"),
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
    let page = Page { ui: context.ui.clone(), draft, templates, wrong, plan };
    let mut response = guard::html(&page.ui, &page);
    if refused {
        response.set_status(StatusCode::BAD_REQUEST);
    }
    Ok(response)
}

fn shown(plan: SendPlan, sees_phones: bool) -> Plan {
    let number = |phone: &str| if sees_phones { phone.to_owned() } else { phone::mask_digits(phone) };
    Plan {
        limited_by: match plan.limited_by {
            LimitedBy::Batch => "limited-by-batch",
            LimitedBy::Sender => "limited-by-sender",
            LimitedBy::Gateway => "limited-by-gateway",
        },
        samples: plan.samples.iter().map(|one| (number(&one.phone), one.text.clone())).collect(),
        plan,
    }
}

/// What the domain refuses, as the form says it.
fn refused(error: CreateError) -> Result<Wrong, Fault> {
    match error {
        CreateError::EmptyAudience => Ok(("send-nobody", String::new())),
        CreateError::Database(error) => Err(error.into()),
        other => Ok(("send-refused", other.to_string())),
    }
}

/// Reads the form; what is wrong with it is told all at once.
async fn read(context: &Context, draft: &Draft) -> Result<Result<NewSend, Vec<Wrong>>, Fault> {
    let mut wrong = Vec::new();
    let recipients = recipients(context, draft, &mut wrong).await?;
    let mut new = NewSend::new(draft.content.clone(), recipients);
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
    Ok(if wrong.is_empty() { Ok(new) } else { Err(wrong) })
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

/// The time that a form names: local, with the minutes of its zone before UTC.
fn at(draft: &Draft, now: Timestamp, wrong: &mut Vec<Wrong>) -> Option<Timestamp> {
    if draft.at.is_empty() {
        return None;
    }
    let seconds = if draft.at.len() == "2026-01-01T09:00".len() { ":00" } else { "" };
    let local = Timestamp::parse_rfc3339(&format!("{}{seconds}Z", draft.at)).ok();
    let offset = match draft.offset.as_str() {
        "" => Some(0),
        text => text.parse::<i64>().ok().filter(|minutes| minutes.abs() <= 24 * 60),
    };
    let at = local.zip(offset).map(|(local, minutes)| Timestamp(local.0.saturating_add(minutes * 60_000)));
    match at {
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

fn tags_of(text: &str, wrong: &mut Vec<Wrong>) -> Vec<String> {
    let names: Vec<&str> = text.split([',', '，', '\n']).map(str::trim).filter(|name| !name.is_empty()).collect();
    wrong.extend(
        names.iter().filter(|name| !tags::is_fine(&tags::normalise(name))).map(|n| ("bad-tag", (*n).to_owned())),
    );
    tags::normalise_all(&names)
}

async fn recipients(context: &Context, draft: &Draft, wrong: &mut Vec<Wrong>) -> Result<Recipients, Fault> {
    let mut audience = Audience::default();
    match draft.who.as_str() {
        "all" => audience.all = true,
        "tags" => {
            audience.tags_any = tags_of(&draft.tags_any, wrong);
            if audience.tags_any.is_empty() {
                wrong.push(("send-no-tags", String::new()));
            }
        }
        "list" => return Ok(Recipients::Contacts(pasted(context, &draft.list, wrong).await?)),
        other => wrong.push(("bad-choice", other.to_owned())),
    }
    audience.tags_none = tags_of(&draft.tags_none, wrong);
    Ok(Recipients::Audience(audience))
}

/// The contacts of a pasted list: their own numbers, identifiers and phone numbers, by lines or commas.
async fn pasted(context: &Context, list: &str, wrong: &mut Vec<Wrong>) -> Result<ContactRefs, Fault> {
    let mut refs = ContactRefs::default();
    let names: Vec<&str> = list.split([',', ';', '\n', '\r']).map(str::trim).filter(|name| !name.is_empty()).collect();
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

/// Does the send once, whatever the browser repeats.
async fn send(context: &Context, draft: Draft, mut new: NewSend) -> Result<Response, Fault> {
    let (app, user) = (&context.app, context.viewer()?.user.id);
    let limit = Limit { per_minute: app.settings.batch_per_minute };
    let decision = app.backplane.limiter.check(&format!("batch:{user}"), limit).await;
    if !decision.allowed {
        return Err(Fault::Limited(decision.reset_after.as_secs().max(1)));
    }
    if draft.once.len() != 32 {
        return Err(Fault::Bad("bad-form", String::new()));
    }
    let (now, key) = (app.clock.now(), format!("console:{}", draft.once));
    let (asked, owner) = (draft.seal(), hex::encode(rand::random::<[u8; 16]>()));
    let held = match idempotency::begin(app.db.write(), now, user, &key, &asked, &owner).await? {
        Begin::Proceed(held) => held,
        Begin::Replay { body, .. } => return Ok(redirect(&body)),
        Begin::Forgotten | Begin::Mismatch | Begin::InProgress => {
            return Err(Fault::Conflict(context.ui.t("send-twice")));
        }
    };
    new.schedule_at.get_or_insert(now.plus(UNDO));
    match create(context, now, user, new, &held).await {
        Ok(to) => Ok(redirect(&to)),
        Err(error) => {
            idempotency::abandon(app.db.write(), &held).await?;
            page(context, draft, vec![refused(error)?], None).await
        }
    }
}

async fn create(
    context: &Context,
    now: Timestamp,
    user: UserId,
    new: NewSend,
    held: &idempotency::Held,
) -> Result<String, CreateError> {
    let app = &context.app;
    // A form's list is smaller than a part of one that would be written beforehand.
    let mut staged = Staged::default();
    staged.count(app.db.read(), &new).await?;
    let tx = app.db.begin().await?;
    let step = batches::create_send(&tx, now, user, new, staged).await?;
    audit_log::record(&tx, now, &context.origin(), Action::BatchCreate, Some(step.value.summary.id)).await?;
    let to = format!("/console/batches/{}?done=sent", step.value.summary.id);
    if !idempotency::complete(&tx, held, StatusCode::SEE_OTHER.as_u16(), &to, None).await? {
        // It took so long that another try of the same form took over.
        return Err(CreateError::Database(DbErr::RecordNotUpdated));
    }
    db::commit(tx, Commit::Create).await?;
    let batch = app.after.commit(step);
    tracing::info!(batch = batch.summary.id.0, user = user.0, total = batch.summary.total, "a batch was accepted");
    Ok(to)
}
