//! The rows of a run, read as any client reads them: page by page through the API.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use uuid::Uuid;

use super::{Events, PATIENCE};
use crate::connection::{Ask, Connection};

/// Rows of one page.
const PAGE: usize = 100;

/// The rows of the run: order and status, as the queries show them.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(super) status: HashMap<Uuid, String>,
    /// Rows that came twice.
    pub(super) repeated: u64,
    /// From the last command until the read model was seen to have it: at most this.
    pub(crate) caught_up: Duration,
}

impl Rows {
    /// Waits until the read model has `events`, then pages through the orders of `customer`.
    pub(crate) async fn read(api: &str, customer: Uuid, events: &Events, since: Instant) -> Result<Self> {
        let mut connection = Connection::open(api).await?;
        let mut rows = Rows::default();
        let first = format!("/v1/order?customer={customer}&limit={PAGE}");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ask = Ask::get(format!("/v1/order?customer={customer}&limit=1"))
                .header("writ-position", events.positions());
            let answer = connection.send(ask).await?;
            match answer.status.as_u16() {
                200 => break,
                412 | 503 if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(100)).await
                }
                status => bail!("{first} answered {status}: {}", String::from_utf8_lossy(&answer.body)),
            }
        }
        rows.caught_up = since.elapsed();
        let mut page = first.clone();
        loop {
            let answer = connection.expect(Ask::get(page)).await?;
            for item in answer["items"].as_array().context("a list without items")? {
                let id = item["id"].as_str().context("a row without id")?.parse()?;
                let status = item["state"]["status"].as_str().context("an order without status")?;
                if rows.status.insert(id, status.to_owned()).is_some() {
                    rows.repeated += 1;
                }
            }
            match answer["next"].as_str() {
                Some(cursor) => page = format!("{first}&after={}", escape(cursor)),
                None => break,
            }
        }
        connection.close().await;
        Ok(rows)
    }
}

/// Percent-encodes a query value.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_escaped() {
        assert_eq!(escape("a+b/c="), "a%2Bb%2Fc%3D");
    }
}
