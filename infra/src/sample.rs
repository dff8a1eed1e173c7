//! `cargo dev sample`: loads the tables of `models/sample/` as real commands over HTTP, the way any client would.
//!
//! Every command has an idempotency key of its own, so a second load changes nothing, and a load that was cut off is
//! simply repeated.

mod commands;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::Value;

use commands::Command;

/// Limit of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long commands that the server is too busy for are sent again, and queries wait for the read models.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause before sending again.
const PAUSE: Duration = Duration::from_millis(500);
/// Refused commands that the error shows; the rest is counted.
const SHOWN: usize = 10;

/// What was loaded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Accepted `customer.create` commands.
    pub(crate) customers: u64,
    /// Accepted `product.create` commands.
    pub(crate) products: u64,
    /// Accepted `category.create` commands.
    pub(crate) categories: u64,
    /// Accepted `order.place` commands.
    pub(crate) orders: u64,
    /// Lines of these orders.
    pub(crate) lines: u64,
    /// Accepted `order.ship` commands.
    pub(crate) shipped: u64,
    /// Events in the answers. A repeated load gets the answers of the first one, so it counts the same events.
    pub(crate) events: u64,
    /// From the first request until the queries show everything.
    pub(crate) elapsed: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} customers, {} products in {} categories, {} orders with {} lines, {} of them shipped: {} events in {:.1} s",
            self.customers,
            self.products,
            self.categories,
            self.orders,
            self.lines,
            self.shipped,
            self.events,
            self.elapsed.as_secs_f64()
        )
    }
}

/// Loads the tables in `dir` into the server at `base_url` (`http://127.0.0.1:8080`), and returns when its queries
/// show them. `token`: an API key or access token. `progress` is told the number of commands done and of all.
///
/// # Errors
/// The tables can't be read, the server doesn't answer, or it refused commands: the message shows the first of them
/// with their problems. Commands after a refused one were sent all the same.
pub(crate) async fn load(
    base_url: &str,
    token: Option<&str>,
    dir: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<Report> {
    let batches = commands::batches(dir)?;
    let all = batches.iter().map(|batch| batch.len() as u64).sum();
    let mut load = Load {
        client: client(token)?,
        base_url: base_url.trim_end_matches('/').to_owned(),
        report: Report::default(),
        positions: BTreeMap::new(),
        refused: Vec::new(),
    };
    let started = Instant::now();
    let mut done = 0;
    progress(done, all);
    let mut rest = batches.iter().peekable();
    while let Some(batch) = rest.next() {
        load.send(batch).await?;
        done += batch.len() as u64;
        progress(done, all);
        // References are checked by the read models: what later commands refer to must be there.
        let model = batch[0].model();
        if rest.peek().is_none_or(|next| next[0].model() != model) {
            load.await_queries(model).await?;
        }
    }
    load.finish()?;
    load.report.elapsed = started.elapsed();
    Ok(load.report)
}

/// A client that sends `token`, if there is one, with every request.
fn client(token: Option<&str>) -> Result<reqwest::Client> {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(reqwest::Client::builder().timeout(REQUEST_TIMEOUT).default_headers(headers).build()?)
}

/// One line of the answer.
#[derive(Debug, Deserialize)]
struct Answer {
    status: u16,
    #[serde(default)]
    events: Vec<serde::de::IgnoredAny>,
    position: Option<String>,
    problem: Option<Value>,
}

impl Answer {
    /// The server was too busy, or the outcome is not known yet: the same command may be sent again.
    fn is_temporary(&self) -> bool {
        matches!(self.status, 429 | 503 | 504)
    }
}

struct Load {
    client: reqwest::Client,
    base_url: String,
    report: Report,
    /// By model and partition the highest offset that an answer named.
    positions: BTreeMap<(String, String), i64>,
    refused: Vec<String>,
}

impl Load {
    /// Sends a batch until each of its commands has a final answer.
    async fn send(&mut self, batch: &[Command]) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut open: Vec<&Command> = batch.iter().collect();
        loop {
            let answers = self.post(&open).await?;
            let mut again = Vec::new();
            for (command, answer) in open.into_iter().zip(answers) {
                if answer.is_temporary() && Instant::now() < deadline {
                    again.push(command);
                } else {
                    self.take(command, answer);
                }
            }
            if again.is_empty() {
                return Ok(());
            }
            open = again;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One request. A whole request that the server is too busy for counts as that answer to each of its lines.
    async fn post(&self, commands: &[&Command]) -> Result<Vec<Answer>> {
        let url = format!("{}/v1/commands", self.base_url);
        let mut body = Vec::new();
        for command in commands {
            serde_json::to_writer(&mut body, command)?;
            body.push(b'\n');
        }
        let response = self
            .client
            .post(&url)
            .header("content-type", "application/x-ndjson")
            .body(body)
            .send()
            .await
            .with_context(|| format!("{url} doesn't answer; `cargo dev up` starts a server"))?;
        let status = response.status();
        let text = response.text().await.with_context(|| format!("{url}: the answer broke off"))?;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let problem: Option<Value> = serde_json::from_str(&text).ok();
            let answer =
                || Answer { status: 503, events: Vec::new(), position: None, problem: problem.clone() };
            return Ok(commands.iter().map(|_| answer()).collect());
        }
        if !status.is_success() {
            bail!("{url} answered {status}: {text}");
        }
        let answers: Vec<Answer> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| serde_json::from_str(line).with_context(|| format!("{url}: not an answer: {line}")))
            .collect::<Result<_>>()?;
        if answers.len() != commands.len() {
            bail!("{url}: {} answers to {} commands", answers.len(), commands.len());
        }
        Ok(answers)
    }

    /// Counts a final answer.
    fn take(&mut self, command: &Command, answer: Answer) {
        if !matches!(answer.status, 200..300) {
            let problem = answer.problem.as_ref().map_or_else(|| "no problem document".into(), explain);
            self.refused.push(format!("{}: {} {problem}", command.name(), answer.status));
            return;
        }
        let report = &mut self.report;
        report.events += answer.events.len() as u64;
        match (command.model(), command.command()) {
            ("customer", _) => report.customers += 1,
            ("product", _) => report.products += 1,
            ("category", _) => report.categories += 1,
            (_, "place") => {
                report.orders += 1;
                report.lines += command.order_lines();
            }
            (_, "ship") => report.shipped += 1,
            _ => {}
        }
        if let Some((partition, offset)) = answer.position.as_deref().and_then(parse_position) {
            let highest = self.positions.entry(partition).or_insert(offset);
            *highest = (*highest).max(offset);
        }
    }

    /// Fails if anything was refused.
    fn finish(&self) -> Result<()> {
        if self.refused.is_empty() {
            return Ok(());
        }
        let shown = self.refused[..self.refused.len().min(SHOWN)].join("\n  ");
        let more = match self.refused.len().saturating_sub(SHOWN) {
            0 => String::new(),
            n => format!("\n  and {n} more"),
        };
        bail!("the server refused {} commands of the sample:\n  {shown}{more}", self.refused.len())
    }

    /// Waits until the queries show every event of `model` that an answer named.
    async fn await_queries(&self, model: &str) -> Result<()> {
        let url = format!("{}/v1/{model}?limit=1", self.base_url);
        let positions: Vec<String> = self
            .positions
            .iter()
            .filter(|((of, _), _)| of == model)
            .map(|((model, partition), offset)| format!("{model}:{partition}:{offset}"))
            .collect();
        if positions.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let request = self.client.get(&url).header("writ-position", positions.join(","));
            let response = request.send().await.with_context(|| format!("{url} doesn't answer"))?;
            let status = response.status();
            if status.is_success() {
                return Ok(());
            }
            let text = response.text().await.unwrap_or_default();
            let behind = matches!(status, StatusCode::PRECONDITION_FAILED | StatusCode::SERVICE_UNAVAILABLE);
            if !behind || Instant::now() > deadline {
                bail!("the commands are committed, but {url} doesn't show them: {status} {text}");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// `order:5:1234` → (("order", "5"), 1234).
fn parse_position(text: &str) -> Option<((String, String), i64)> {
    let mut parts = text.split(':');
    let (model, partition, offset) = (parts.next()?, parts.next()?, parts.next()?);
    Some(((model.to_owned(), partition.to_owned()), offset.parse().ok()?))
}

/// A problem document in one line.
fn explain(problem: &Value) -> String {
    let title = problem["title"].as_str().unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or_default();
    let mut text = format!("{title}: {detail}");
    for error in problem["errors"].as_array().into_iter().flatten() {
        let pointer = error["pointer"].as_str().unwrap_or_default();
        let detail = error["detail"].as_str().unwrap_or_default();
        text.push_str(&format!(" [{pointer} {detail}]"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_fit_one_line_with_their_pointers() {
        let problem = serde_json::json!({
            "type": "urn:writ:problem:invalid-input",
            "title": "Invalid input",
            "detail": "1 fault",
            "errors": [{ "pointer": "/lines/0/quantity", "code": "out_of_range", "detail": "0 is less than 1" }],
        });
        assert_eq!(explain(&problem), "Invalid input: 1 fault [/lines/0/quantity 0 is less than 1]");
    }

    #[test]
    fn positions_are_split_at_their_colons() {
        assert_eq!(parse_position("order:5:1234"), Some((("order".into(), "5".into()), 1234)));
        assert_eq!(parse_position("order:5"), None);
    }
}
