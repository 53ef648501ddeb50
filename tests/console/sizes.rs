//! What a page weighs on the wire.

use crate::setup::{Setup, on_both};
use crate::visitor::Visitor;
use serde_json::json;
use std::rc::Rc;

/// The most that a page may weigh after the first, in bytes.
const MOST: usize = 25 * 1024;

/// What is aimed at.
const AIM: usize = 10 * 1024;

on_both!(pages_are_small_on_the_wire_with_their_lists_full () |s: Rc<Setup>| Box::pin(async move {
    let ids = s.contacts(60).await;
    let to = |at: usize| json!({ "content": format!("Offer {at} of the summer sale"), "scheduleAt": "2099-01-01T09:00:00Z" });
    let mut batches = Vec::new();
    for at in 0..60 {
        batches.push(s.send(&ids[at..], to(at)).await);
    }
    let visitor = Visitor::signed_in(s.api().client(), &s.program.user("admin").await).await;
    for path in [
        "/console".to_owned(),
        "/console/batches".into(),
        "/console/contacts".into(),
        "/console/jobs".into(),
        "/console/calendar?week=2099-01-01".into(),
        "/console/audit".into(),
        format!("/console/batches/{}/recipients", batches[0]),
        "/console/system".into(),
    ] {
        let (none, plain) = visitor.size(&path, "identity").await;
        let (gzip, gzipped) = visitor.size(&path, "gzip").await;
        let (brotli, packed) = visitor.size(&path, "gzip, deflate, br, zstd").await;
        assert_eq!((none, gzip.as_deref(), brotli.as_deref()), (None, Some("gzip"), Some("br")), "{path}");
        assert!(gzipped < MOST && packed < AIM, "{path}: {plain} bytes, gzip {gzipped}, br {packed}");
    }
    // Its parts, too, as it fetches them.
    let (coding, part) = visitor.size("/console/batches?fragment=list", "br").await;
    assert!(coding.as_deref() == Some("br") && part < AIM, "{coding:?} {part}");
    // What streams is not kept back by a coding.
    let stream = s.api().client().request(support::Method::GET, "/console/live");
    let cookies: Vec<String> = visitor.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let stream = stream.header("cookie", cookies.join("; ")).header("accept-encoding", "br").send().await.expect("a stream");
    assert_eq!((stream.status().as_u16(), stream.headers().get("content-encoding")), (200, None));
}));
