//! placeholder
use crate::cli::Bench;
use crate::config::Config;
use anyhow::Result;
pub(crate) async fn run(_config: &Config, _bench: Bench) -> Result<()> {
    anyhow::bail!("not yet")
}
