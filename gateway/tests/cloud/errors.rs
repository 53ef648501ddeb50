//! What each of Meta's errors leads to, at once and in a status.

use crate::raw::{Raw, Then, answer};
use crate::receiver::Receiver;
use crate::{config, config_at, hand, transport, word};
use gateway::transport::{Class, Event, Refusal, Status, SubmissionOutcome};
use std::sync::Arc;
use std::time::Duration;
use support::{CloudFault, CloudLimit, CloudOptions, META_ERRORS};

/// The class of each error that the emulator knows.
fn class_of(code: i64) -> Class {
    match code {
        4 | 80_007 | 130_429 | 131_057 => Class::Later,
        131_056 => Class::LaterForRecipient,
        1 | 2 | 131_000 | 131_016 => Class::Trouble,
        131_021 | 131_026 | 131_030 | 131_047 | 131_050 | 130_497 => Class::Recipient,
        131_049 | 130_472 => Class::NotNow,
        0 | 3 | 10 | 33 | 190 | 200 | 299 | 368 | 131_005 | 131_031 | 131_037 | 131_042 | 131_045 | 131_048
        | 133_004 | 133_010 => Class::StopSender,
        100 | 131_008 | 131_009 | 131_051 | 131_053 | 132_000 | 132_001 | 132_012 | 132_015 | 132_016 | 135_000 => {
            Class::Message
        }
        _ => panic!("the test does not know {code}"),
    }
}

fn ending(code: i64) -> String {
    format!("{:04}", code % 10_000)
}

#[tokio::test]
async fn each_error_at_once_has_its_class() {
    let emulator = support::CloudApi::start().await;
    let transport = transport(config(&emulator));
    for error in META_ERRORS {
        let SubmissionOutcome::Refused(refusal) =
            hand(&transport, &format!("6012377{}", ending(error.code)), "m").await
        else {
            panic!("{error:?} is a refusal")
        };
        assert_eq!((refusal.class, refusal.code), (class_of(error.code), error.code.to_string()));
        let title = format!("(#{}) {}: emulated {}", error.code, error.title, error.code);
        assert_eq!(refusal.detail, title);
    }
    assert_eq!((emulator.posts().len(), emulator.messages().len()), (META_ERRORS.len(), 0));
}

#[tokio::test]
async fn each_error_in_a_status_has_its_class() {
    let emulator = support::CloudApi::start().await;
    let transport = Arc::new(transport(config(&emulator)));
    let receiver = Receiver::start(transport.clone()).await;
    emulator.set_callback(&receiver.url);
    for error in META_ERRORS {
        let handed = hand(&transport, &format!("6012388{}", ending(error.code)), &error.code.to_string()).await;
        assert_eq!(word(&handed), "taken");
    }
    emulator.wait_until_told().await;
    let events = receiver.events();
    assert_eq!(events.len(), META_ERRORS.len());
    for error in META_ERRORS {
        let id = error.code.to_string();
        let told = events.iter().find_map(|event| match event {
            Event::Status { message_id: Some(of), status: Status::Failed(refusal), .. } if *of == id => Some(refusal),
            _ => None,
        });
        let Refusal { class, code, detail, .. } = told.expect("a status of it");
        assert_eq!((*class, code), (class_of(error.code), &id));
        assert_eq!(*detail, format!("{}: emulated {id}", error.title));
    }
}

#[tokio::test]
async fn limits_make_wait() {
    let limit = |burst| Some(CloudLimit { every: Duration::from_secs(3_600), burst });
    let options = CloudOptions { pair_limit: limit(2), number_limit: limit(4), ..CloudOptions::default() };
    let emulator = support::CloudApi::with(options).await;
    let transport = transport(config(&emulator));
    let mut words = Vec::new();
    for to in ["60121", "60121", "60121", "60122", "60122", "60123"] {
        words.push(word(&hand(&transport, &format!("{to}000000"), "m").await));
    }
    assert_eq!(words, ["taken", "taken", "later for the recipient 131056", "taken", "taken", "later 130429"]);
}

#[tokio::test]
async fn a_wait_is_as_long_as_meta_says() {
    let emulator = support::CloudApi::start().await;
    let cloud = transport(config(&emulator));
    for (code, said, expected) in
        [(130_429, Some(7), Some(7)), (130_429, None, None), (131_026, Some(7), None), (131_057, None, Some(60))]
    {
        emulator.next([Some(CloudFault::Error { code, retry_after_s: said })]);
        let SubmissionOutcome::Refused(refusal) = hand(&cloud, "60123456789", "m").await else { panic!("a refusal") };
        assert_eq!(refusal.retry_after, expected.map(Duration::from_secs), "{code}");
    }
    // Without a word of the Graph API's, and as it says it of an account.
    let usage = r#"429 X
X-Business-Use-Case-Usage: {"1":[{"type":"messages","estimated_time_to_regain_access":3}]}"#;
    for (head, expected) in [
        ("429 Too Many Requests\r\nRetry-After: 9".to_owned(), Some(9)),
        ("503 Service Unavailable\r\nRetry-After: 9".to_owned(), Some(9)),
        ("429 Too Many Requests\r\nRetry-After: soon".to_owned(), None),
        (usage.replace('\n', "\r\n"), Some(180)),
    ] {
        let server = Raw::always(Then::Answer(answer(&head, ""))).await;
        let SubmissionOutcome::Refused(refusal) = hand(&transport(config_at(&server.url)), "60123456789", "m").await
        else {
            panic!("a refusal")
        };
        assert_eq!(refusal.retry_after, expected.map(Duration::from_secs), "{head}");
    }
}

#[tokio::test]
async fn what_others_say_is_never_the_messages_fault() {
    let emulator = support::CloudApi::start().await;
    let transport = transport(config(&emulator));
    for (class, statuses) in [
        ("trouble", &[301, 302, 304, 307, 308, 400, 404, 410, 413, 500, 501, 503, 599][..]),
        ("later", &[429]),
        ("stop", &[401, 403, 407]),
        // Of these nobody knows whether Meta had taken the message.
        ("unknown", &[408, 502, 504, 600, 999]),
    ] {
        for status in statuses {
            let handed = hand(&transport, &format!("60123990{status}"), "m").await;
            assert_eq!(word(&handed), format!("{class} cloud_{status}"));
        }
    }
    assert!(emulator.messages().is_empty());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = support::CloudApi::start().await;
    for status in ["301 Moved Permanently", "302 Found", "303 See Other", "307 X", "308 X"] {
        let head = format!("{status}\r\nLocation: {}/v24.0/106540352242922/messages", elsewhere.url());
        let server = Raw::always(Then::Answer(answer(&head, ""))).await;
        let transport = transport(config_at(&server.url));
        assert_eq!(word(&hand(&transport, "60123456789", "m").await), format!("trouble cloud_{}", &status[..3]));
    }
    assert!(elsewhere.posts().is_empty());
}
