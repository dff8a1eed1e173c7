//! One client: sends a command, and repeats it with the same idempotency key until it knows the outcome.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::history::{Acknowledged, Operation, Outcome, Recorder, Request};

/// Longer than the time after which an api answers 504.
const ANSWER_LIMIT: Duration = Duration::from_secs(6);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The part of the known outcomes that are asked for once more.
const REPEATS: f64 = 0.03;

/// A client with its random numbers.
#[derive(Debug)]
pub(crate) struct Client {
    nth: usize,
    apis: Vec<String>,
    http: reqwest::Client,
    pub(super) rng: ChaCha8Rng,
    pub(super) recorder: Arc<Recorder>,
    give_up: CancellationToken,
}

/// What one send gave.
enum Attempt {
    Known(Outcome),
    /// Not known; with the command's id where the answer told it.
    Lost(Option<Uuid>),
}

impl Client {
    pub(super) fn new(
        nth: usize,
        apis: Vec<String>,
        rng: ChaCha8Rng,
        recorder: Arc<Recorder>,
        give_up: CancellationToken,
    ) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER_LIMIT).build()?;
        Ok(Self { nth, apis, http, rng, recorder, give_up })
    }

    /// The time for outcomes is over.
    pub(super) fn gave_up(&self) -> bool {
        self.give_up.is_cancelled()
    }

    /// A name that nobody else has.
    pub(super) fn name(&mut self, prefix: &str) -> String {
        format!("{prefix}-{:016x}", self.rng.random::<u64>())
    }

    /// Sends the command, records it, and gives its outcome.
    pub(super) async fn send(&mut self, request: Request) -> Outcome {
        let tag = self.name("t");
        let invoked = self.recorder.now();
        let (mut attempts, mut pause, mut command_id) = (0, FIRST_PAUSE, None);
        let outcome = loop {
            attempts += 1;
            match self.attempt(&tag, &request).await {
                Attempt::Known(outcome) => break outcome,
                Attempt::Lost(id) => command_id = command_id.or(id),
            }
            if request.once || self.give_up.is_cancelled() {
                break Outcome::Unknown;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        let returned = self.recorder.now();
        let mut repeat = None;
        if !request.once
            && self.rng.random_bool(REPEATS)
            && let Attempt::Known(again) = self.attempt(&tag, &request).await
        {
            repeat = Some(again);
        }
        let result = outcome.clone();
        let operation = Operation { tag, request, invoked, returned, attempts, outcome, command_id, repeat };
        self.recorder.record(self.nth, operation);
        result
    }

    async fn attempt(&mut self, tag: &str, request: &Request) -> Attempt {
        let api = &self.apis[self.rng.random_range(0..self.apis.len())];
        let Request { model, command, target, .. } = request;
        let creates = matches!(*command, "open" | "create" | "join");
        let path = if creates { format!("{model}/{command}") } else { format!("{model}/{target}/{command}") };
        let mut body = json!({ "tag": tag });
        match (*model, creates) {
            ("purse", true) => body["number"] = json!(target),
            ("register", true) => body["name"] = json!(target),
            _ => {}
        }
        if let Some(value) = request.value {
            body[if *model == "purse" { "amount" } else { "value" }] = json!(value);
        }
        if let Some(email) = &request.email {
            body["email"] = json!(email);
        }
        let mut post = self.http.post(format!("http://{api}/v1/{path}")).json(&body);
        if !request.once {
            post = post.header("Idempotency-Key", tag);
        }
        if let Some(version) = request.if_match {
            post = post.header("If-Match", format!("\"{version}\""));
        }
        let Ok(answer) = post.send().await else { return Attempt::Lost(None) };
        let status = answer.status().as_u16();
        let header =
            |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.trim_matches('"').to_owned());
        let (position, etag) = (header("writ-position"), header("etag"));
        let Ok(text) = answer.text().await else { return Attempt::Lost(None) };
        let found: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let kind = found["type"].as_str().and_then(|kind| kind.rsplit(':').next()).unwrap_or("").to_owned();
        match status {
            200 | 201 => match acknowledged(&found, position.as_deref(), model) {
                Some(acknowledged) => Attempt::Known(Outcome::Committed(acknowledged)),
                None => {
                    self.recorder.surprise(format!("{path} ({tag}) answered {status}: {text}"));
                    Attempt::Lost(None)
                }
            },
            // Refused before it went to Kafka; another attempt with a key is made as a client would.
            503 if kind == "overloaded" && request.once => {
                Attempt::Known(Outcome::Refused { kind, version: None })
            }
            503 | 504 => Attempt::Lost(found["command_id"].as_str().and_then(|id| id.parse().ok())),
            404 | 409 | 412 | 422 if !kind.is_empty() => {
                if matches!(kind.as_str(), "idempotency-key-reused" | "invalid-input" | "unknown-route") {
                    self.recorder.surprise(format!("{path} ({tag}) answered {status}: {text}"));
                }
                let version = etag.and_then(|version| version.parse().ok());
                Attempt::Known(Outcome::Refused { kind, version })
            }
            _ => {
                self.recorder.surprise(format!("{path} ({tag}) answered {status}: {text}"));
                Attempt::Lost(None)
            }
        }
    }
}

/// Reads the body and the position of a success.
fn acknowledged(body: &Value, position: Option<&str>, model: &str) -> Option<Acknowledged> {
    let (of, place) = position?.split_once(':')?;
    let (partition, offset) = place.split_once(':')?;
    if of != model {
        return None;
    }
    let events = body["events"].as_array()?.iter();
    Some(Acknowledged {
        aggregate: body["id"].as_str()?.parse().ok()?,
        version: body["version"].as_u64()?,
        events: events
            .map(|event| Some((event["id"].as_str()?.parse().ok()?, event["version"].as_u64()?)))
            .collect::<Option<_>>()?,
        partition: partition.parse().ok()?,
        offset: offset.parse().ok()?,
        register: body["state"]["value"].as_i64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_needs_all_its_parts() {
        let body = json!({
            "id": Uuid::from_u128(1), "version": 3, "state": { "value": 9 },
            "events": [{ "id": Uuid::from_u128(2), "version": 3 }],
        });
        let found = acknowledged(&body, Some("register:5:77"), "register").unwrap();
        assert_eq!((found.version, found.partition, found.offset, found.register), (3, 5, 77, Some(9)));
        assert_eq!(acknowledged(&body, Some("purse:5:77"), "register"), None);
        assert_eq!(acknowledged(&body, None, "register"), None);
        assert_eq!(acknowledged(&json!({}), Some("register:5:77"), "register"), None);
    }
}
