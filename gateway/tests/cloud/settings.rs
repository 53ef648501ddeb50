//! What a transport is made of.

use crate::config_at;
use gateway::{CloudApi, CloudConfig, CloudError};

fn problem(config: &CloudConfig) -> String {
    let said = config.validate().expect_err("a problem");
    match CloudApi::new(config.clone()) {
        Err(CloudError::Config(same)) => assert_eq!(same, said),
        other => panic!("{other:?}"),
    }
    said
}

#[test]
fn a_bad_value_is_named_with_its_fix() {
    let good = config_at("https://graph.facebook.com");
    assert_eq!(good.validate(), Ok(()));
    let cases: [(CloudConfig, &str, &str); 13] = [
        (CloudConfig { api_version: "24.0".into(), ..good.clone() }, "api_version", "v24.0"),
        (CloudConfig { api_version: "v24".into(), ..good.clone() }, "api_version", "v24.0"),
        (CloudConfig { api_version: "v24.0/..".into(), ..good.clone() }, "api_version", "v24.0"),
        (CloudConfig { phone_number_id: String::new(), ..good.clone() }, "phone_number_id", "API Setup"),
        (CloudConfig { phone_number_id: "+60123456789".into(), ..good.clone() }, "phone_number_id", "not the number"),
        (CloudConfig { access_token: String::new(), ..good.clone() }, "access_token", "system user"),
        (CloudConfig { access_token: "hunter2\n".into(), ..good.clone() }, "access_token", "spaces"),
        (CloudConfig { app_secret: String::new(), ..good.clone() }, "app_secret", "dashboard"),
        (CloudConfig { verify_token: String::new(), ..good.clone() }, "verify_token", "choose one"),
        (CloudConfig { timeout_ms: 0, ..good.clone() }, "timeout_ms", "expected 1 to 300000"),
        (
            CloudConfig { connect_timeout_ms: 9, timeout_ms: 8, ..good.clone() },
            "connect_timeout_ms",
            "must not be above",
        ),
        (CloudConfig { status_wait_secs: 0, ..good.clone() }, "status_wait_secs", "expected 1 to 86400"),
        (CloudConfig { idle_connections: 0, ..good.clone() }, "idle_connections", "expected 1 to 10000"),
    ];
    for (config, key, fix) in cases {
        let said = problem(&config);
        assert!(said.starts_with(&format!("cloud_api.{key}: ")) && said.contains(fix), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn the_token_travels_encrypted_or_not_at_all() {
    for url in [
        "",
        "graph.facebook.com",
        "http://graph.facebook.com",
        "http://10.0.0.1",
        "http://127.0.0.1.example.org",
        "ftp://127.0.0.1",
        "https://user:hunter2@graph.facebook.com",
        "https://graph.facebook.com?a=hunter2",
        "https://graph.facebook.com#hunter2",
        "https://",
    ] {
        let said = problem(&config_at(url));
        assert!(said.starts_with("cloud_api.base_url: ") && !said.contains("hunter2"), "{url}: {said}");
    }
    for url in [
        "https://graph.facebook.com/",
        "https://proxy.example.org/meta",
        "http://127.0.0.1:1",
        "http://[::1]:1",
        "http://localhost:1",
    ] {
        assert!(CloudApi::new(config_at(url)).is_ok(), "{url}");
    }
}

#[test]
fn the_defaults_are_metas_and_unknown_keys_are_none() {
    let config: CloudConfig =
        serde_json::from_str(r#"{"phone_number_id": "1", "access_token": "t"}"#).expect("a configuration");
    let expected = CloudConfig { phone_number_id: "1".into(), access_token: "t".into(), ..CloudConfig::default() };
    assert_eq!(config, expected);
    assert_eq!(config.base_url, "https://graph.facebook.com");
    let error = serde_json::from_str::<CloudConfig>(r#"{"acces_token": "t"}"#).expect_err("an unknown key");
    assert!(error.to_string().contains("acces_token"), "{error}");
}
