//! What happened to an aggregate: an event with the states before and after it.

use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use uuid::Uuid;
use writ_model::access::Visible;
use writ_model::{Model, Object, Position, State, Value};

use super::event::Happened;
use super::resume::Place;

/// An event, and the aggregate before and after it.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) happened: Happened,
    /// `None`: it had no event before.
    pub(super) before: Option<Arc<State>>,
    pub(super) after: Arc<State>,
}

/// A change at its place in the feed of its model.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) change: Change,
    /// Of the feed, behind this change.
    pub(super) place: Place,
    /// Made once for all views.
    place_text: OnceLock<String>,
    /// Bytes that it takes, about.
    pub(super) weight: usize,
}

impl Change {
    pub(super) fn aggregate(&self) -> Uuid {
        self.happened.aggregate
    }

    pub(super) fn position(&self, model: &Model) -> Position {
        let Happened { partition, offset, .. } = self.happened;
        Position { model: model.name.clone(), partition, offset }
    }

    /// The event as a reader sees it, JSON.
    pub(super) fn event<'a>(&'a self, model: &'a Model, visible: &'a Visible) -> impl Serialize + 'a {
        Shown { change: self, model, visible }
    }
}

impl Placed {
    pub(super) fn new(change: Change, place: Place) -> Placed {
        let before = change.before.as_deref().map_or(0, weight);
        let weight = before + weight(&change.after) + of_object(&change.happened.fields) + 512;
        Placed { change, place, place_text: OnceLock::new(), weight }
    }

    pub(super) fn place_text(&self) -> &str {
        self.place_text.get_or_init(|| self.place.text())
    }
}

/// Bytes that a state takes, about.
pub(super) fn weight(state: &State) -> usize {
    64 + of_object(&state.fields)
}

fn of_object(object: &Object) -> usize {
    object.iter().map(|(name, value)| 48 + name.len() + of_value(value)).sum()
}

fn of_value(value: &Value) -> usize {
    48 + match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.iter().map(of_value).sum(),
        Value::Object(object) => of_object(object),
        // Its nodes are larger than their text; who has much of it has few states in memory.
        Value::Json(json) => 4 * json.to_string().len(),
        _ => 0,
    }
}

/// As `/events` shows it, without what the message says already. What is hidden from the reader is in no event either.
struct Shown<'a> {
    change: &'a Change,
    model: &'a Model,
    visible: &'a Visible,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let happened = &self.change.happened;
        let event = happened.event(self.model);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &happened.id)?;
        map.serialize_entry("type", &event.type_name)?;
        map.serialize_entry("time", &happened.at.to_string())?;
        map.serialize_entry("actor", &happened.actor)?;
        map.serialize_entry("correlation_id", &happened.correlation_id)?;
        map.serialize_entry("causation_id", &happened.causation_id)?;
        map.serialize_entry("data", &Data { shown: self })?;
        map.end()
    }
}

struct Data<'a> {
    shown: &'a Shown<'a>,
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Shown { change, model, visible } = self.shown;
        let declared = &change.happened.event(model).fields;
        // An input that is only recorded may be secret too.
        let is_secret = |name: &str| declared.get(name).is_some_and(|field| field.secret);
        let fields = change.happened.fields.iter();
        let seen = fields.filter(|(name, _)| visible.shows(name) && !is_secret(name));
        serializer.collect_map(seen.map(|(name, value)| (name, value.to_json())))
    }
}
