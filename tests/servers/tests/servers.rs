//! The servers against the real programs: what survives a kill, and what does not.

use anyhow::Result;
use servers::{Postgres, Redis, RedisOptions, tools};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;

/// Runs SQL as a client would; the server packages bring `psql` along everywhere.
fn sql(server: &Postgres, statement: &str) -> Result<String> {
    let out = Command::new(tools::postgres_bin()?.join("psql"))
        .args(["--no-psqlrc", "--tuples-only", "--no-align", "-v", "ON_ERROR_STOP=1", "-c", statement])
        .arg(server.url("postgres"))
        .output()?;
    anyhow::ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

#[test]
fn postgres_keeps_what_was_committed_over_a_kill_and_a_stop() -> Result<()> {
    let mut server = Postgres::start()?;
    assert_eq!(sql(&server, "SHOW fsync")?, "on");
    assert_eq!(sql(&server, "SHOW max_connections")?, "200");
    assert_eq!(sql(&server, "SHOW listen_addresses")?, "127.0.0.1");
    sql(&server, "CREATE TABLE kept AS SELECT 42 AS n")?;
    let url = server.url("postgres");

    server.kill9()?;
    assert!(!server.is_running()?);
    assert!(sql(&server, "SELECT 1").is_err(), "a killed server answers nobody");
    server.restart()?;
    assert_eq!(server.url("postgres"), url, "clients find it at the same place");
    assert_eq!(sql(&server, "SELECT n FROM kept")?, "42");

    server.stop()?;
    assert!(sql(&server, "SELECT 1").is_err(), "a stopped server answers nobody");
    server.restart()?;
    assert_eq!(sql(&server, "SELECT n FROM kept")?, "42");

    let port = server.port();
    drop(server);
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err(), "a dropped server is gone");
    Ok(())
}

#[test]
fn redis_forgets_over_a_kill_unless_it_appends() -> Result<()> {
    for append_only in [false, true] {
        let mut redis = Redis::start(RedisOptions { append_only })?;
        assert_eq!(redis.command("SET key value")?, "+OK");
        let port = redis.port();
        redis.kill9()?;
        assert!(redis.command("PING").is_err(), "a killed server answers nobody");
        redis.restart()?;
        assert_eq!(redis.port(), port);
        assert_eq!(redis.command("EXISTS key")?, if append_only { ":1" } else { ":0" });
        assert_eq!(redis.command("SET key value")?, "+OK");
        redis.flushall()?;
        assert_eq!(redis.command("DBSIZE")?, ":0");
        drop(redis);
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err(), "a dropped server is gone");
    }
    Ok(())
}

#[test]
fn two_servers_of_a_kind_go_side_by_side() -> Result<()> {
    let (one, two) = (Redis::start(RedisOptions::default())?, Redis::start(RedisOptions::default())?);
    assert_ne!(one.port(), two.port());
    assert_eq!(one.command("SET only one")?, "+OK");
    assert_eq!(two.command("EXISTS only")?, ":0");
    Ok(())
}
