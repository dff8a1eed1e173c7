//! Is today's declaration compatible with every schema that an event was ever registered with?
//!
//! A registry answers with a sentence of its Avro library, one at a time, and doesn't see what Avro has no word for: the
//! values of an enum, the target of a reference, a default that changes what old events mean. So the comparison is made
//! here, on the JSON of the schemas, before anything is registered (`docs/decisions/010`).
//!
//! The rules are those of FULL_TRANSITIVE: yesterday's readers read tomorrow's events, and today's declaration reads
//! every event that was ever written. Two are stricter than Avro: a field of the last version stays, also an optional
//! one, since a new name in its place would lose its values without a word; and a default stays once old events are
//! read with it.

mod differences;
mod finding;
mod schema;

use std::fmt;

use serde_json::Value as Json;

use self::differences::Differences;
pub use self::finding::Finding;
use self::schema::Record;
use crate::declaration::{Event, Model, Models};

/// An event type as the registry has it.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The name of the subject.
    pub subject: String,
    /// `<app>.<model>.<Event>`.
    pub type_name: String,
    /// Every version, oldest first.
    pub versions: Vec<Version>,
}

/// One version of a subject.
#[derive(Debug, Clone)]
pub struct Version {
    /// The registry's number.
    pub number: u32,
    /// The JSON text of the schema.
    pub schema: String,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Comparison {
    /// What is refused. Empty: the declarations may be registered.
    pub findings: Vec<Finding>,
    /// What is new and fine, in the order of the models.
    pub changes: Vec<Change>,
}

/// A change that no reader minds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `order.Placed`, or the name of a model.
    pub of: String,
    /// What changes, as the end of a sentence.
    pub what: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.of, self.what)
    }
}

/// Compares every declared event with every version of it, and looks for events that are registered but not declared.
/// `registered`: the event types of this application.
pub fn compare(models: &Models, registered: &[Registered]) -> Comparison {
    let mut comparison = Comparison::default();
    for model in models.models.values() {
        for event in model.events.values() {
            let known = registered.iter().find(|registered| registered.type_name == event.type_name);
            match known.filter(|registered| !registered.versions.is_empty()) {
                None => comparison.changes.push(Change { of: short(event), what: "is a new event".into() }),
                Some(registered) => compare_event(&mut comparison, model, event, registered),
            }
        }
    }
    find_undeclared(&mut comparison, models, registered);
    comparison
}

fn compare_event(comparison: &mut Comparison, model: &Model, event: &Event, registered: &Registered) {
    let Ok(today) = serde_json::from_str::<Json>(&event.codec.schema_json) else {
        unreachable!("invariant: the schema of an event is JSON")
    };
    let mut versions: Vec<(u32, Json)> = Vec::with_capacity(registered.versions.len());
    for version in &registered.versions {
        match serde_json::from_str(&version.schema) {
            Ok(schema) => versions.push((version.number, schema)),
            Err(error) => {
                comparison.findings.push(Finding::unreadable(
                    model,
                    event,
                    version.number,
                    &error.to_string(),
                ));
                return;
            }
        }
    }
    // A contract that was once accepted: nothing changes, also when the files go back to it.
    if versions.iter().any(|(_, schema)| *schema == today) {
        return;
    }
    let Some(reader) = Record::read(&today) else { unreachable!("invariant: an event is a record") };
    let mut differences = Differences::default();
    for (index, (number, schema)) in versions.iter().enumerate() {
        let is_last = index + 1 == versions.len();
        match Record::read(schema) {
            Some(writer) => differences.compare(*number, is_last, &writer, &reader),
            None => {
                comparison.findings.push(Finding::unreadable(model, event, *number, "it is no record"));
                return;
            }
        }
    }
    let (found, changes) = differences.finish();
    let findings = found
        .into_iter()
        .map(|((path, difference), versions)| Finding::of(model, event, path, difference, &versions));
    comparison.findings.extend(findings);
    comparison.changes.extend(changes.into_iter().map(|what| Change { of: short(event), what }));
}

fn find_undeclared(comparison: &mut Comparison, models: &Models, registered: &[Registered]) {
    let mut gone: Vec<&str> = Vec::new();
    for registered in registered.iter().filter(|registered| !registered.versions.is_empty()) {
        let Some((app, rest)) = registered.type_name.split_once('.') else { continue };
        let Some((name, _)) = rest.split_once('.').filter(|_| app == models.app) else { continue };
        match models.get(name) {
            Some(model) if model.events.values().any(|event| event.type_name == registered.type_name) => {}
            Some(model) => comparison.findings.push(Finding::undeclared(model, registered)),
            None if gone.contains(&name) => {}
            None => gone.push(name),
        }
    }
    comparison.changes.extend(gone.into_iter().map(|model| Change {
        of: model.to_owned(),
        what: "is no longer declared; its events and its table stay, and nothing of this application reads them".into(),
    }));
}

/// `order.Placed`.
fn short(event: &Event) -> String {
    event.type_name.split_once('.').map_or(event.type_name.as_str(), |(_, short)| short).to_owned()
}

#[cfg(test)]
mod tests;
