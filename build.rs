//! A release has line tables, so that a backtrace in a log can be read; compressed they are a fraction of the size, and the
//! standard library unpacks them when it needs them. Only there: in development linking is to be quick.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|given| given == value);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,--compress-debug-sections=zlib");
    }
}
