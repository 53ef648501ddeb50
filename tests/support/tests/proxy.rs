//! The proxy itself: what the outage tests take for granted.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use support::{DEADLINE, Proxy, Way, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Not long: nothing is expected to come.
const SILENCE: Duration = Duration::from_millis(150);

/// A server that says back what it hears, one line at a time, and a proxy before it.
async fn echo() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("tcp://{}/path", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await.ok();
            });
        }
    });
    Proxy::before(&url).await
}

fn address(proxy: &Proxy) -> SocketAddr {
    proxy.url("tcp://target").trim_start_matches("tcp://").parse().expect("an address")
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(address(proxy)).await.expect("it listens")
}

async fn ask(stream: &mut TcpStream, text: &str) -> io::Result<String> {
    stream.write_all(text.as_bytes()).await?;
    hear(stream, text.len()).await
}

async fn hear(stream: &mut TcpStream, count: usize) -> io::Result<String> {
    let mut buffer = vec![0; count];
    timeout(DEADLINE, stream.read_exact(&mut buffer)).await.expect("in time")?;
    Ok(String::from_utf8(buffer).expect("what was said"))
}

async fn hears_nothing(stream: &mut TcpStream) {
    let heard = timeout(SILENCE, stream.read_u8()).await;
    assert!(heard.is_err(), "it heard {heard:?}");
}

#[tokio::test]
async fn urls_lead_through_it() {
    let proxy = echo().await;
    let through = address(&proxy);
    assert_eq!(proxy.url("redis://127.0.0.1:1/0"), format!("redis://{through}/0"));
    assert_eq!(proxy.url("postgres://me:pass@127.0.0.1:1/db"), format!("postgres://me:pass@{through}/db"));
    assert_eq!(proxy.url("http://127.0.0.1:1"), format!("http://{through}"));
    let mut stream = connect(&proxy).await;
    assert_eq!(ask(&mut stream, "hello").await.unwrap(), "hello");
    assert_eq!((proxy.open(), proxy.accepted()), (1, 1));
    drop(stream);
    eventually("it to close", DEADLINE, async || if proxy.open() == 0 { Ok(()) } else { Err(proxy.open()) }).await;
}

#[tokio::test]
async fn who_says_the_last_word_still_hears_the_answer() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    stream.write_all(b"bye").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "bye");
}

#[tokio::test]
async fn a_cut_closes_and_refuses_until_it_passes_again() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    ask(&mut stream, "one").await.unwrap();
    proxy.cut();
    assert_eq!(timeout(DEADLINE, stream.read(&mut [0; 8])).await.unwrap().unwrap_or(0), 0);
    eventually("a refusal", DEADLINE, async || match TcpStream::connect(address(&proxy)).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    proxy.pass();
    let mut stream = eventually("the same port", DEADLINE, async || TcpStream::connect(address(&proxy)).await).await;
    assert_eq!(ask(&mut stream, "two").await.unwrap(), "two");
}

#[tokio::test]
async fn a_reset_is_no_goodbye() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    ask(&mut stream, "one").await.unwrap();
    proxy.reset();
    let error = timeout(DEADLINE, stream.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let mut another = connect(&proxy).await;
    assert!(ask(&mut another, "two").await.is_err());
    proxy.pass();
    assert_eq!(ask(&mut connect(&proxy).await, "three").await.unwrap(), "three");
}

#[tokio::test]
async fn what_breaks_off_is_broken_although_all_is_well_again() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    ask(&mut stream, "one").await.unwrap();
    for end in [Proxy::break_off, Proxy::reset, Proxy::cut] {
        end(&proxy);
        // Nobody has had time to look.
        proxy.pass();
        assert_eq!(timeout(DEADLINE, stream.read(&mut [0; 8])).await.unwrap().unwrap_or(0), 0);
        stream = connect(&proxy).await;
        assert_eq!(ask(&mut stream, "new").await.unwrap(), "new");
    }
}

#[tokio::test]
async fn what_stalls_is_delivered_when_it_passes_again() {
    let proxy = echo().await;
    let mut old = connect(&proxy).await;
    ask(&mut old, "one").await.unwrap();
    proxy.stall();
    old.write_all(b"two").await.unwrap();
    let mut new = connect(&proxy).await;
    new.write_all(b"new").await.unwrap();
    hears_nothing(&mut old).await;
    hears_nothing(&mut new).await;
    proxy.pass();
    assert_eq!((hear(&mut old, 3).await.unwrap().as_str(), hear(&mut new, 3).await.unwrap().as_str()), ("two", "new"));
}

#[tokio::test]
async fn half_open_is_one_way() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::before(&format!("tcp://{}", listener.local_addr().unwrap())).await;
    let mut client = connect(&proxy).await;
    let (mut server, _) = listener.accept().await.unwrap();
    proxy.half_open(Way::Back);
    client.write_all(b"question").await.unwrap();
    assert_eq!(hear(&mut server, 8).await.unwrap(), "question");
    server.write_all(b"answer").await.unwrap();
    hears_nothing(&mut client).await;
    proxy.pass();
    assert_eq!(hear(&mut client, 6).await.unwrap(), "answer");
    proxy.half_open(Way::There);
    client.write_all(b"question").await.unwrap();
    hears_nothing(&mut server).await;
}

#[tokio::test]
async fn what_is_lost_stays_lost_and_new_ones_pass() {
    let proxy = echo().await;
    let mut old = connect(&proxy).await;
    ask(&mut old, "one").await.unwrap();
    proxy.lose();
    assert_eq!(ask(&mut connect(&proxy).await, "new").await.unwrap(), "new");
    old.write_all(b"two").await.unwrap();
    hears_nothing(&mut old).await;
    proxy.pass();
    hears_nothing(&mut old).await;
}

#[tokio::test]
async fn latency_is_each_ways() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    let began = Instant::now();
    proxy.latency(Duration::from_millis(100));
    ask(&mut stream, "slow").await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_trap_lets_so_many_bytes_through_and_springs_so_often() {
    let proxy = echo().await;
    proxy.reset_after(Way::Back, 3, 1);
    let mut stream = connect(&proxy).await;
    stream.write_all(b"hello").await.unwrap();
    let mut heard = Vec::new();
    let end = timeout(DEADLINE, stream.read_to_end(&mut heard)).await.unwrap();
    assert!(heard.len() <= 3 && end.is_err(), "{heard:?} {end:?}");
    assert_eq!(ask(&mut connect(&proxy).await, "hello").await.unwrap(), "hello", "only the first");
    eventually("it to be counted", DEADLINE, async || if proxy.trapped() == 1 { Ok(()) } else { Err(proxy.trapped()) })
        .await;
}

#[tokio::test]
async fn nobody_behind_it_is_no_silence() {
    let proxy = Proxy::before("tcp://127.0.0.1:1").await;
    assert!(ask(&mut connect(&proxy).await, "hello").await.is_err());
}
