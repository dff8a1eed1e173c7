//! The messages of `writ.v1` that a follower sends and understands. What it doesn't know it leaves alone: later servers may say
//! more.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

/// The protocol's name.
pub(super) const PROTOCOL: &str = "writ.v1";
/// `from`: what happens from now on.
pub(super) const NOW: &str = "now";
/// `from`: all rows, then what happens.
pub(super) const SNAPSHOT: &str = "snapshot";
/// The name of the one subscription.
const SUB: &str = "tail";

/// What is to be followed.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Name of a model or of an SQL projection.
    pub(super) name: String,
    /// The server has said that no model is called so.
    pub(super) is_projection: bool,
    pub(super) id: Option<String>,
    pub(super) filters: BTreeMap<String, String>,
    pub(super) fields: Option<String>,
}

impl Wanted {
    /// The message that asks for it.
    pub(super) fn subscribe(&self, from: &str) -> String {
        let of = if self.is_projection { "projection" } else { "model" };
        let mut message = json!({ "type": "subscribe", "sub": SUB, of: self.name, "from": from });
        if let Some(id) = &self.id {
            message["id"] = json!(id);
        }
        if !self.filters.is_empty() {
            message["filter"] = json!(self.filters);
        }
        if let Some(fields) = &self.fields {
            message["fields"] = json!(fields);
        }
        message.to_string()
    }
}

/// What a server sends.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromServer {
    /// The first one.
    Welcome { ping_seconds: u64 },
    /// Changes follow from here on.
    Subscribed { resume: String },
    /// The place to go on from is of no use; all rows follow.
    Reset { reason: String },
    /// Some of the rows.
    Snapshot(Rows),
    /// The rows are complete, or what was missed was delivered.
    Ready { resume: String },
    /// A row begins to be one of those that are followed.
    Enter(Changed),
    /// It still is.
    Change(Changed),
    /// It isn't any more.
    Leave(Left),
    /// Nothing for us for a while.
    Progress { resume: String },
    /// Nothing follows.
    Ended {
        reason: String,
        #[serde(default)]
        resume: Option<String>,
    },
    /// Something can't be done.
    Error { problem: Problem },
    /// The server stops.
    Reconnect { after_ms: u64 },
    #[serde(other)]
    Other,
}

impl FromServer {
    /// Whether it is of the subscription, and not of the connection.
    pub(super) fn is_of_subscription(&self) -> bool {
        !matches!(
            self,
            FromServer::Welcome { .. }
                | FromServer::Error { .. }
                | FromServer::Reconnect { .. }
                | FromServer::Other
        )
    }

    /// Whether it shows that the subscription works.
    pub(super) fn is_progress(&self) -> bool {
        self.is_of_subscription() && !matches!(self, FromServer::Ended { .. })
    }
}

/// Rows of a model, or of an SQL projection.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Rows {
    OfProjection { rows: Vec<Map<String, Json>>, keys: Vec<Map<String, Json>> },
    OfModel { rows: Vec<Row> },
}

/// A change of a row of a model, or of an SQL projection.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Changed {
    OfProjection { key: Map<String, Json>, row: Map<String, Json>, resume: String },
    OfModel(Change),
}

impl Changed {
    /// Where to go on behind it.
    pub(super) fn resume(&self) -> &str {
        match self {
            Changed::OfProjection { resume, .. } | Changed::OfModel(Change { resume, .. }) => resume,
        }
    }
}

/// A row that leaves.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Left {
    OfProjection { key: Map<String, Json>, resume: String },
    OfModel { id: String, resume: String },
}

impl Left {
    /// Where to go on behind it.
    pub(super) fn resume(&self) -> &str {
        match self {
            Left::OfProjection { resume, .. } | Left::OfModel { resume, .. } => resume,
        }
    }
}

/// A change of a row of a model.
#[derive(Debug, Deserialize)]
pub(super) struct Change {
    pub(super) id: String,
    pub(super) event: Event,
    pub(super) row: Row,
    pub(super) resume: String,
}

/// What happened.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    /// `shop.order.Paid`.
    #[serde(rename = "type")]
    pub(super) name: String,
    /// RFC 3339.
    pub(super) time: String,
    /// What it sets, and what it only records.
    #[serde(default)]
    pub(super) data: Map<String, Json>,
}

/// A row as a list shows it.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    pub(super) id: String,
    #[serde(default)]
    pub(super) version: u64,
    pub(super) state: Map<String, Json>,
    #[serde(default)]
    pub(super) updated_at: Option<String>,
}

/// A problem document (RFC 9457).
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct Problem {
    /// `urn:writ:problem:unknown-model`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: u16,
    #[serde(default)]
    pub(super) detail: String,
    #[serde(default)]
    pub(super) errors: Vec<Fault>,
}

impl Problem {
    /// The last part of its type.
    pub(super) fn slug(&self) -> &str {
        self.kind.rsplit(':').next().unwrap_or_default()
    }

    /// Everything that it says, for people.
    pub(super) fn text(&self) -> String {
        let faults = self.errors.iter().map(|fault| {
            format!("`{}`: {}", fault.pointer.trim_start_matches('/'), fault.detail.trim_end_matches('.'))
        });
        let faults: Vec<_> = faults.collect();
        match (self.detail.trim_end_matches('.'), faults.join("; ")) {
            ("", faults) if faults.is_empty() => self.slug().to_owned(),
            ("", faults) => faults,
            (detail, faults) if faults.is_empty() => detail.to_owned(),
            (detail, faults) => format!("{detail}: {faults}"),
        }
    }
}

/// What is wrong with one parameter.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Fault {
    pub(super) pointer: String,
    pub(super) detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_in_no_message() {
        let mut wanted = Wanted {
            name: "order".into(),
            is_projection: false,
            id: None,
            filters: BTreeMap::new(),
            fields: None,
        };
        let sent = |wanted: &Wanted| serde_json::from_str::<Json>(&wanted.subscribe("now")).unwrap();
        assert_eq!(
            sent(&wanted),
            json!({ "type": "subscribe", "sub": "tail", "model": "order", "from": "now" })
        );
        wanted.id = Some("10248".into());
        wanted.fields = Some("total".into());
        wanted.filters.insert("total[gte]".into(), "100".into());
        assert_eq!(
            sent(&wanted),
            json!({
                "type": "subscribe", "sub": "tail", "model": "order", "from": "now", "id": "10248",
                "filter": { "total[gte]": "100" }, "fields": "total",
            })
        );
        wanted.is_projection = true;
        assert_eq!((&sent(&wanted)["projection"], sent(&wanted).get("model")), (&json!("order"), None));
    }

    #[test]
    fn what_later_servers_say_is_left_alone() {
        let read = |text: &str| serde_json::from_str::<FromServer>(text);
        assert!(matches!(read(r#"{"type":"news","sub":"tail","n":1}"#), Ok(FromServer::Other)));
        assert!(matches!(
            read(r#"{"type":"progress","sub":"tail","resume":"order:AQ","more":{}}"#),
            Ok(FromServer::Progress { resume }) if resume == "order:AQ"
        ));
        assert!(read(r#"{"type":"ready","sub":"tail"}"#).is_err());
    }
}
