//! What a client is made of.

use gateway::{ClientError, ClientSettings, HttpGateway};

#[test]
fn only_an_http_address_is_one() {
    for url in ["", "gateway", "gateway:3002", "/send", "ftp://gateway", "unix:/run/gateway", "http://", "http://[::1"]
    {
        let made = HttpGateway::new(&ClientSettings::new(url, "secret", 1));
        assert!(matches!(made, Err(ClientError::Url)), "{url:?}: {made:?}");
    }
    for url in ["http://gateway", "https://gateway/below", "HTTP://[::1]:3002/"] {
        assert!(HttpGateway::new(&ClientSettings::new(url, "secret", 1)).is_ok(), "{url:?}");
    }
    let made = HttpGateway::new(&ClientSettings::new("http://gateway", "", 1));
    assert!(matches!(made, Err(ClientError::NoSecret)), "{made:?}");
}

#[test]
fn what_is_logged_of_it_has_no_secret() {
    let settings = ClientSettings::new("http://user:hunter2@gateway", "hunter3", 1);
    let client = HttpGateway::new(&settings).expect("a client");
    let mut logged = format!("{settings:?} {client:?}");
    for url in ["ftp://user:hunter2@gateway", "http://user:hunter2@"] {
        let error = HttpGateway::new(&ClientSettings::new(url, "hunter3", 1)).expect_err("no address");
        logged += &format!(" {error} {error:?}");
    }
    assert!(!logged.contains("hunter"), "{logged}");
}
