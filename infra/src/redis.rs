//! Redis: a cache, so nothing of it is kept.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::ports::loopback;
use crate::server::Server;
use crate::stack::{Stack, servers};

pub(crate) fn command(stack: &Stack) -> Result<Command> {
    let data = stack.data(Server::Redis);
    fs::create_dir_all(&data).with_context(|| format!("cannot create {}", data.display()))?;
    let mut command = Command::new(servers().join("redis/redis-server"));
    command
        .args(["--bind", "127.0.0.1", "--port", &stack.ports.redis.to_string()])
        .args(["--appendonly", "no", "--save", ""])
        .args(["--maxmemory", "128mb", "--maxmemory-policy", "allkeys-lru"])
        .current_dir(data);
    Ok(command)
}

/// PING, and PONG.
pub(crate) async fn check(port: u16) -> Result<()> {
    let mut stream = TcpStream::connect(loopback(port)).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await?;
    if &answer != b"+PONG\r\n" {
        bail!("PING was answered with {:?}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}
