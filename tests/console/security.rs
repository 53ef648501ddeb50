//! Whoever means harm to the console or its readers.

use crate::setup::{Setup, on_both};
use crate::visitor::{Visitor, browser_of, nothing_went_wrong, world};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use std::collections::BTreeSet;
use std::rc::Rc;
use support::Method;

/// Each page, and which roles may see it: admin, supervisor, agent, guest.
fn pages(batch: &str) -> Vec<(String, [bool; 4])> {
    let all = [true; 4];
    let batches = [true, true, true, false];
    let operators = [true, true, false, false];
    vec![
        ("/console".into(), all),
        ("/console/account".into(), all),
        ("/console/password".into(), all),
        (format!("/console/go?q={batch}"), batches),
        ("/console/live".into(), batches),
        ("/console/contacts".into(), all),
        ("/console/contacts/1".into(), all),
        ("/console/new".into(), all),
        ("/console/new/send".into(), [true, true, false, false]),
        ("/console/new/import".into(), [true, true, true, false]),
        ("/console/new/tags".into(), [true, true, true, false]),
        ("/console/new/delete".into(), [true, false, false, false]),
        ("/console/templates".into(), batches),
        ("/console/calendar".into(), batches),
        ("/console/calendar.ics".into(), batches),
        ("/console/drafts".into(), [true, true, false, false]),
        ("/console/batches/all?act=pause&q=status:pending".into(), [true, true, false, false]),
        ("/console/templates/new".into(), [true, true, false, false]),
        ("/console/suppressions".into(), all),
        ("/console/statistics".into(), batches),
        ("/console/statistics.csv".into(), batches),
        ("/console/audit".into(), [true, true, false, false]),
        ("/console/audit.csv".into(), [true, true, false, false]),
        ("/console/users".into(), [true, false, false, false]),
        (format!("/console/batches/{batch}/history"), batches),
        (format!("/console/batches/{batch}/recipients.csv"), batches),
        ("/console/batches".into(), batches),
        (format!("/console/batches/{batch}"), batches),
        (format!("/console/batches/{batch}/recipients"), batches),
        (format!("/console/batches/{batch}/recipients/0"), batches),
        (format!("/console/batches/{batch}/failures"), batches),
        ("/console/jobs".into(), operators),
        ("/console/jobs/1".into(), operators),
        ("/console/operations".into(), operators),
        ("/console/operations/new?act=retry&state=dead".into(), operators),
        ("/console/workers".into(), operators),
        ("/console/senders".into(), operators),
        ("/console/senders/default".into(), operators),
        ("/console/system".into(), operators),
    ]
}

const ROLES: [&str; 4] = ["admin", "supervisor", "agent", "guest"];

on_both!(each_route_is_open_to_its_roles_alone () |s: Rc<Setup>| Box::pin(async move {
    let [ended, paused, ..] = world(&s).await;
    let mut nobody = Visitor::of(s.api().client());
    for (path, _) in pages(&ended).iter().filter(|(path, _)| path != "/console/live") {
        let answer = nobody.get(path).await;
        let to = answer.header("location").unwrap_or_default();
        assert!(answer.status == 303 && to.starts_with("/console/sign-in?next=%2Fconsole"), "{path}: {} {to}", answer.status);
    }
    assert_eq!(nobody.get("/console/live").await.status, 401);
    for (place, role) in ROLES.into_iter().enumerate() {
        let user = s.program.user(role).await;
        let mut visitor = Visitor::signed_in(s.api().client(), &user).await;
        for (path, may) in pages(&ended).into_iter().filter(|(path, may)| path != "/console/live" || !may[place]) {
            let answer = visitor.get(&path).await;
            let wanted = if !may[place] { 403 } else if path.starts_with("/console/go") { 303 } else { 200 };
            assert_eq!(answer.status, wanted, "{role} {path}");
            let named = ["batches:", "contacts:", "users:", "queues:", "settings:"].iter().any(|p| answer.text.contains(p));
            assert!(may[place] || named, "{role} {path} does not say which permission");
        }
        let steers = place < 2;
        for act in ["resume", "pause", "pace", "cancel", "keep", "retry"] {
            let batch = if steers { "999999" } else { &paused };
            let status = visitor.act(&format!("/console/batches/{batch}/{act}")).await.status;
            assert_eq!(status, if steers { 404 } else { 403 }, "{role} {act}");
        }
        for act in ["batches/acts/999999/undo", "batches/acts/999999/stop", "drafts/999999/delete"] {
            let status = visitor.act(&format!("/console/{act}")).await.status;
            assert_eq!(status, if steers { 404 } else { 403 }, "{role} {act}");
        }
        let status = visitor.act("/console/views/999999/delete").await.status;
        assert_eq!(status, 404, "{role}: a view is its owner's");
        for act in ["approve", "refuse", "move"] {
            let batch = if steers { "999999" } else { &paused };
            let status = visitor.act(&format!("/console/batches/{batch}/{act}")).await.status;
            assert_eq!(status, if steers { 404 } else { 403 }, "{role} {act}");
        }
        for act in ["jobs/999999/retry", "jobs/999999/cancel", "jobs/999999/run", "senders/nobody/pause",
            "senders/nobody/resume", "operations/999999/undo", "operations/999999/stop", "workers/nobody/drain",
            "workers/nobody/resume"]
        {
            let status = visitor.act(&format!("/console/{act}")).await.status;
            assert_eq!(status, if steers { 404 } else { 403 }, "{role} {act}");
        }
        let status = visitor.act("/console/system/examine").await.status;
        assert_eq!(status, if steers { 303 } else { 403 }, "{role}");
    }
    assert_eq!(s.get(&paused).await["paused"], true);
}));

on_both!(a_guest_sees_no_whole_number () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(2).await;
    let guest = s.program.user("guest").await;
    let mut visitor = Visitor::signed_in(s.api().client(), &guest).await;
    for path in ["/console/contacts".to_owned(), format!("/console/contacts/{}", ids[0])] {
        let page = visitor.get(&path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(page.text.contains("Contact 0") && !page.text.contains("60123000000"), "{path}: {}", page.text);
    }
    assert_eq!(visitor.get("/console/contacts?q=a%00b").await.status, 400);
    // With a reason the whole number is shown, this once, and it is in the log.
    let (path, token) = (format!("/console/contacts/{}/unmask", ids[0]), visitor.token("/console").await);
    assert_eq!(visitor.post(&path, &[("csrf", token.as_str()), ("reason", " ")]).await.status, 400);
    let page = visitor.post(&path, &[("csrf", token.as_str()), ("reason", "asked by <b>phone</b>")]).await;
    assert!(page.status == 200 && page.text.contains("+60123000000"), "{}", page.text);
    assert!(!visitor.get(&format!("/console/contacts/{}", ids[0])).await.text.contains("60123000000"));
    let told = s.admin.get("/api/v1/audit-logs?action=contact:unmask").await.expect(200);
    assert_eq!(told["data"]["audit_logs"][0]["reason"], "asked by <b>phone</b>", "{told}");
}));

on_both!(a_change_comes_from_a_form_of_ours () |s: Rc<Setup>| Box::pin(async move {
    let [_, paused, ..] = world(&s).await;
    let user = s.program.user("admin").await;
    let base = s.api().url();
    let evil = format!("{base}.evil.example");
    let mut visitor = Visitor::signed_in(s.api().client(), &user).await;
    let mut other = Visitor::signed_in(s.api().client(), &user).await;
    let (token, foreign) = (visitor.token("/console").await, other.token("/console").await);
    let path = format!("/console/batches/{paused}/resume");
    for (form, origin) in [
        (vec![], Some(base)),
        (vec![("csrf", "")], Some(base)),
        (vec![("csrf", foreign.as_str())], Some(base)),
        (vec![("csrf", token.as_str())], None),
        (vec![("csrf", token.as_str())], Some("null")),
        (vec![("csrf", token.as_str())], Some("http://evil.example")),
        (vec![("csrf", token.as_str())], Some(evil.as_str())),
    ] {
        let answer = visitor.post_from(&path, &form, origin).await;
        assert_eq!(answer.status, 403, "{form:?} from {origin:?}");
    }
    // A read changes nothing.
    assert_eq!(visitor.get(&path).await.status, 405);
    assert_eq!(s.get(&paused).await["paused"], true);
    assert_eq!(visitor.post(&path, &[("csrf", &token)]).await.status, 303);
    assert_eq!(s.get(&paused).await["paused"], false);
}));

/// What the tokens of a session have in common: each stands under a pad of its own.
pub(crate) fn unmasked(token: &str) -> Vec<u8> {
    let both = URL_SAFE_NO_PAD.decode(token).expect("a token");
    let (pad, masked) = both.split_at(both.len() / 2);
    pad.iter().zip(masked).map(|(pad, masked)| pad ^ masked).collect()
}

on_both!(a_token_is_another_in_each_answer_and_each_is_taken () |s: Rc<Setup>| Box::pin(async move {
    let [_, paused, ..] = world(&s).await;
    let mut visitor = Visitor::signed_in(s.api().client(), &s.program.user("admin").await).await;
    let mut tokens = Vec::new();
    for path in ["/console", "/console", "/console/batches", "/console/batches?fragment=list"] {
        tokens.push(visitor.token(path).await);
    }
    let different: BTreeSet<&String> = tokens.iter().collect();
    assert_eq!(different.len(), tokens.len(), "{tokens:?}");
    let parts: BTreeSet<&str> = tokens.iter().flat_map(|token| [&token[..12], &token[60..72]]).collect();
    assert_eq!(parts.len(), 2 * tokens.len(), "neither the pad nor what stands under it is the same: {tokens:?}");
    let same: BTreeSet<Vec<u8>> = tokens.iter().map(|token| unmasked(token)).collect();
    assert_eq!(same.len(), 1, "{tokens:?}");
    for (token, act) in tokens.iter().zip(["resume", "pause", "resume", "pause"]) {
        let answer = visitor.post(&format!("/console/batches/{paused}/{act}"), &[("csrf", token)]).await;
        assert_eq!(answer.status, 303, "{act}: {}", answer.text);
    }
    let mut other = Visitor::signed_in(s.api().client(), &s.program.user("admin").await).await;
    assert_ne!(unmasked(&other.token("/console").await), unmasked(&tokens[0]), "a session has its own");
}));

on_both!(a_session_is_new_at_each_sign_in_and_ends_when_it_is_ended () |s: Rc<Setup>| Box::pin(async move {
    let user = s.program.user("admin").await;
    let mut visitor = Visitor::of(s.api().client());
    let chosen = "ab".repeat(32);
    visitor.cookies.insert("paceline".into(), chosen.clone());
    let token = visitor.token("/console/sign-in").await;
    let form = [("csrf", token.as_str()), ("email", user.email.as_str()), ("password", user.password.as_str())];
    let answer = visitor.post("/console/sign-in", &form).await;
    let set = answer.header("set-cookie").expect("a cookie").to_owned();
    assert!(set.contains("; HttpOnly") && set.contains("; SameSite=Lax") && set.contains("; Path=/"), "{set}");
    assert_ne!(visitor.cookies["paceline"], chosen);
    assert_eq!(visitor.get("/console").await.status, 200);

    let mut thief = Visitor::of(s.api().client());
    thief.cookies = visitor.cookies.clone();
    let token = visitor.token("/console/password").await;
    let new = "another password";
    let form = [("csrf", token.as_str()), ("current_password", user.password.as_str()), ("new_password", new), ("again", new)];
    assert_eq!(visitor.post("/console/password", &form).await.status, 303);
    assert_eq!(thief.get("/console").await.status, 303, "the name of the session was kept");
    assert_eq!(visitor.get("/console").await.status, 200);
    assert_eq!(visitor.act("/console/sign-out").await.status, 303);
    assert_eq!(visitor.get("/console").await.status, 303);
}));

on_both!(pages_are_in_no_frame_and_no_cache_and_lead_nowhere_else (("PACELINE_LIMIT_LOGIN_PER_MIN", "0")) |s: Rc<Setup>| Box::pin(async move {
    let [ended, ..] = world(&s).await;
    let user = s.program.user("supervisor").await;
    let mut visitor = Visitor::signed_in(s.api().client(), &user).await;
    let mut nonces = Vec::new();
    for path in ["/console", "/console/sign-in?next=x", "/console/nowhere", "/console/batches?status=x"]
        .map(str::to_owned).into_iter().chain(pages(&ended).into_iter().map(|(path, _)| path))
        .filter(|path| path != "/console/live" && !path.starts_with("/console/go")) {
        let answer = visitor.get(&path).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        if answer.status == 303 {
            continue;
        }
        if path.ends_with(".csv") || path.ends_with(".ics") {
            let how = answer.header("content-disposition").unwrap_or_default();
            assert!(how.starts_with("attachment; filename="), "{path}: {how}");
            continue;
        }
        let policy = answer.header("content-security-policy").expect("a policy");
        for rule in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'",
            "require-trusted-types-for 'script'", "trusted-types htmx"] {
            assert!(policy.split("; ").any(|one| one == rule), "{path}: {rule} is not in {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        let nonce = policy.split_once("'nonce-").and_then(|(_, rest)| rest.split_once('\'')).expect("a nonce").0;
        assert!(answer.text.contains(nonce));
        nonces.push(nonce.to_owned());
    }
    let all = nonces.len();
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), all, "a nonce came twice");
    for next in ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/batch"] {
        let mut nobody = Visitor::of(s.api().client());
        let token = nobody.token("/console/sign-in").await;
        let form = [("csrf", token.as_str()), ("email", user.email.as_str()), ("password", user.password.as_str()), ("next", next)];
        let answer = nobody.post("/console/sign-in", &form).await;
        assert_eq!(answer.header("location"), Some("/console"), "{next}");
    }
}));

on_both!(guesses_are_counted_with_those_of_the_api (("PACELINE_LIMIT_LOGIN_PER_MIN", "3")) |s: Rc<Setup>| Box::pin(async move {
    let user = s.program.user("admin").await;
    let mut visitor = Visitor::of(s.api().client());
    let token = visitor.token("/console/sign-in").await;
    let form = [("csrf", token.as_str()), ("email", user.email.as_str()), ("password", "a guess")];
    for _ in 0..2 {
        assert_eq!(visitor.post("/console/sign-in", &form).await.status, 401);
    }
    let login = json!({ "email": user.email, "password": "a guess" });
    s.api().client().post("/api/v1/auth/login", &login).await.expect(401);
    let answer = visitor.post("/console/sign-in", &form).await;
    assert_eq!(answer.status, 429);
    assert!(answer.header("retry-after").is_some());
    s.api().client().post("/api/v1/auth/login", &login).await.expect(429);
}));

on_both!(a_console_that_is_read_only_changes_nothing (("PACELINE_CONSOLE_READ_ONLY", "true")) |s: Rc<Setup>| Box::pin(async move {
    let [_, paused, ..] = world(&s).await;
    let user = s.program.user("admin").await;
    let mut visitor = Visitor::signed_in(s.api().client(), &user).await;
    let answer = visitor.act(&format!("/console/batches/{paused}/resume")).await;
    assert_eq!(answer.status, 403);
    assert!(answer.text.contains("console_read_only"));
    assert_eq!(s.get(&paused).await["paused"], true);
    assert_eq!(visitor.act("/console/sign-out").await.status, 303);
}));

on_both!(what_others_write_runs_nowhere () |s: Rc<Setup>| Box::pin(async move {
    let evil = "<img src=x onerror=\"window.bad=1\"><script>window.bad=1</script>'\"><a hx-get=\"/console\" hx-trigger=\"load\">";
    let contacts = json!({ "contacts": [{ "phoneE164": "+60123000001", "name": evil }, { "phoneE164": evil, "name": "x" }] });
    let import = crate::setup::accepted(s.admin.post("/batch/import", &contacts).await.expect(202));
    s.ended(&import).await;
    let ids: Vec<String> = s.items(&import).await.iter().filter_map(|item| item["contactId"].as_str().map(str::to_owned)).collect();
    s.gateway.script(move |_| support::Reply::status(400).saying(evil));
    let send = s.send(&ids, json!({ "content": evil })).await;
    s.admin.post("/templates", &json!({ "name": evil, "content": evil })).await.expect(201);
    s.ended(&send).await;
    let (_browser, page) = browser_of(&s, "admin").await;
    for path in [
        "/console".to_owned(),
        "/console/batches".into(),
        "/console/contacts".into(),
        format!("/console/contacts/{}", ids[0]),
        format!("/console/batches/{import}"),
        format!("/console/batches/{import}/recipients"),
        format!("/console/batches/{import}/failures"),
        format!("/console/batches/{send}"),
        format!("/console/batches/{send}/recipients"),
        "/console/templates".into(),
        "/console/templates/1".into(),
        "/console/audit".into(),
        format!("/console/batches/{send}/history"),
        "/console/new/send".into(),
        format!("/console/batches/{send}/failures"),
    ] {
        page.go(&format!("{}{path}", s.api().url())).await;
        assert_eq!(page.eval("window.bad ?? null").await, serde_json::Value::Null, "{path}");
        assert_eq!(page.eval("document.querySelectorAll('main img, main script').length").await, 0, "{path}");
        nothing_went_wrong(&page);
    }
    assert!(page.text("main").await.contains("onerror"), "the text is shown as it is");
}));

on_both!(files_are_kept_by_their_content () |s: Rc<Setup>| Box::pin(async move {
    let client = s.api().client();
    let page = client.get("/console/sign-in").await.text;
    let mut weight = 0;
    for part in page.split("/console/assets/").skip(1) {
        let name = part.split('"').next().expect("a name");
        let request = client.request(Method::GET, &format!("/console/assets/{name}")).header("accept-encoding", "br");
        let answer = client.send(request).await;
        assert_eq!((answer.status, answer.header("content-encoding")), (200, Some("br")), "{name}");
        assert_eq!(answer.header("cache-control"), Some("public, max-age=31536000, immutable"));
        weight += answer.text.len();
    }
    assert!((1..80_000).contains(&weight), "{weight} bytes");
    client.get("/console/assets/htmx.js").await.expect(404);
}));
