//! Messages as lines for people: time, kind, which row, event, and what of it changed, with the old value where it was seen.

mod keyed;
mod known;

use serde_json::{Map, Value as Json};
use uuid::Uuid;
use writ_model::Type;
use writ_model::declaration::KeyOf;

use super::message::{Change, Changed, FromServer, Left, Row, Rows, Wanted};
use known::{Known, Seen};

/// Longest value that is shown whole, characters.
const LONGEST: usize = 60;
/// Where the time of a `leave` would be, which brings no event along.
const NO_TIME: &str = "-";
/// Characters of a time: `2026-01-31T12:10:30.123Z`.
const TIME: usize = 24;

/// Makes lines. Remembers rows, to know what a change changes.
#[derive(Debug)]
pub(super) struct Lines {
    /// Of the model or projection.
    name: String,
    /// Only some fields are wanted.
    is_narrow: bool,
    colours: bool,
    /// The application's name, once an event has told it.
    app: Option<String>,
    known: Known,
}

/// What a row does.
#[derive(Clone, Copy)]
enum Kind {
    Row,
    Enter,
    Change,
    Leave,
}

impl Kind {
    /// The name, and its colour by ECMA-48.
    fn look(self) -> (&'static str, u8) {
        match self {
            Kind::Row => ("row", 36),
            Kind::Enter => ("enter", 32),
            Kind::Change => ("change", 33),
            Kind::Leave => ("leave", 31),
        }
    }
}

impl Lines {
    pub(super) fn new(wanted: &Wanted, colours: bool) -> Lines {
        let is_narrow = wanted.fields.is_some();
        Lines { name: wanted.name.clone(), is_narrow, colours, app: None, known: Known::default() }
    }

    /// The lines of a message, each with its end. None for what is no news.
    pub(super) fn of(&mut self, message: &FromServer) -> String {
        match message {
            FromServer::Snapshot(Rows::OfModel { rows }) => rows.iter().map(|row| self.row(row)).collect(),
            FromServer::Snapshot(Rows::OfProjection { rows, keys }) => {
                rows.iter().zip(keys).map(|(row, key)| self.keyed(Kind::Row, key, row)).collect()
            }
            FromServer::Enter(change) => self.changed(Kind::Enter, change),
            FromServer::Change(change) => self.changed(Kind::Change, change),
            FromServer::Leave(Left::OfProjection { key, .. }) => self.keyed_left(key),
            FromServer::Leave(Left::OfModel { id, .. }) => {
                let label = self.known.take(id).map_or_else(|| clean(id), |seen| seen.label);
                self.line(NO_TIME, Kind::Leave, &label, "", &[])
            }
            _ => String::new(),
        }
    }

    fn changed(&mut self, kind: Kind, change: &Changed) -> String {
        match change {
            Changed::OfModel(change) => self.change(kind, change),
            Changed::OfProjection { key, row, .. } => self.keyed(kind, key, row),
        }
    }

    fn row(&mut self, row: &Row) -> String {
        // Sent again after an interruption, as it was.
        if self.known.get(&row.id).is_some_and(|seen| seen.version == row.version) {
            return String::new();
        }
        let label = self.label(&row.id, [&row.state]);
        let values = present(&row.state);
        let time = row.updated_at.as_deref().unwrap_or(NO_TIME);
        let line = self.line(time, Kind::Row, &label, "", &values);
        self.remember(row, label);
        line
    }

    fn change(&mut self, kind: Kind, change: &Change) -> String {
        let Change { id, event, row, .. } = change;
        let (app, name) = (event.name.split('.').next(), event.name.rsplit('.').next());
        self.app = app.map(str::to_owned);
        let before = self.known.take(id);
        let label = match &before {
            Some(seen) if seen.label != *id => seen.label.clone(),
            _ => self.label(id, [&row.state, &event.data]),
        };
        let values = match (kind, &before) {
            (_, Some(seen)) => {
                news(&seen.state, &row.state).into_iter().chain(self.recorded(change)).collect()
            }
            (Kind::Enter, None) => {
                let data = event.data.iter().filter(|(_, value)| !value.is_null());
                self.wanted_of(data, row).chain(self.recorded(change)).collect()
            }
            (_, None) => self.wanted_of(event.data.iter(), row).chain(self.recorded(change)).collect(),
        };
        let values: Vec<String> = values;
        let line = self.line(&event.time, kind, &label, name.unwrap_or_default(), &values);
        self.remember(row, label);
        line
    }

    /// What the event sets of the row's fields.
    fn wanted_of<'a>(
        &self,
        data: impl Iterator<Item = (&'a String, &'a Json)>,
        row: &'a Row,
    ) -> impl Iterator<Item = String> {
        data.filter(|(name, _)| row.state.contains_key(*name)).map(|(name, value)| pair(name, value))
    }

    /// What only the event has: inputs that it records.
    fn recorded<'a>(&self, change: &'a Change) -> impl Iterator<Item = String> + use<'a> {
        let is_narrow = self.is_narrow;
        let Change { event, row, .. } = change;
        let extra = event
            .data
            .iter()
            .filter(move |(name, value)| !is_narrow && !value.is_null() && !row.state.contains_key(*name));
        extra.map(|(name, value)| pair(name, value))
    }

    fn remember(&mut self, row: &Row, label: String) {
        self.known.put(row.id.clone(), Seen { label, version: row.version, state: row.state.clone() });
    }

    /// The natural key, if a field has it, else the id. Which field is the key isn't said, but the id is derived from it.
    fn label<'a>(&self, id: &str, places: impl IntoIterator<Item = &'a Map<String, Json>>) -> String {
        let found = self.app.as_ref().zip(Uuid::try_parse(id).ok()).and_then(|(app, uuid)| {
            // Others are random or of a time.
            if uuid.get_version_num() != 5 {
                return None;
            }
            let text = Type::Text { min_length: None, max_length: None, pattern: None };
            let key = KeyOf { app: app.clone(), model: self.name.clone(), ty: Box::new(text) };
            let mut values = places.into_iter().flat_map(Map::values);
            values.find(|value| is_key_of(value, &key, uuid)).map(shown)
        });
        found.unwrap_or_else(|| clean(id))
    }

    fn line(&self, time: &str, kind: Kind, label: &str, event: &str, values: &[String]) -> String {
        let (name, colour) = kind.look();
        let padding = " ".repeat(6 - name.len());
        let kind = if self.colours { format!("\x1b[{colour}m{name}\x1b[0m") } else { name.to_owned() };
        let mut line = format!("{:TIME$}  {kind}{padding}  {} {label}", clean(time), clean(&self.name));
        if !event.is_empty() {
            line.push_str("  ");
            line.push_str(&clean(event));
        }
        if !values.is_empty() {
            line.push_str("  ");
            line.push_str(&values.join(", "));
        }
        line.push('\n');
        line
    }
}

fn is_key_of(value: &Json, key: &KeyOf, id: Uuid) -> bool {
    match value {
        Json::String(text) => key.id(text) == Some(id),
        Json::Number(number) => key.id(&number.to_string()) == Some(id),
        _ => false,
    }
}

/// The fields that are others now, with the old value where there was one.
fn news(before: &Map<String, Json>, now: &Map<String, Json>) -> Vec<String> {
    let changed = now.iter().filter(|(name, value)| before.get(*name) != Some(value));
    let shown = changed.map(|(name, value)| match before.get(name) {
        Some(old) => format!("{}: {} → {}", clean(name), shown(old), shown(value)),
        None => pair(name, value),
    });
    shown.collect()
}

/// The fields that have a value.
fn present(state: &Map<String, Json>) -> Vec<String> {
    state.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| pair(name, value)).collect()
}

fn pair(name: &str, value: &Json) -> String {
    format!("{}: {}", clean(name), shown(value))
}

/// A value, shortened where it is long. A text without quotes if it can be taken for nothing else.
fn shown(value: &Json) -> String {
    match value {
        Json::String(text) if is_plain(text) => text.clone(),
        Json::String(text) if text.chars().count() > LONGEST => {
            let start: String = text.chars().take(LONGEST - 1).collect();
            clean(&format!("{}…", Json::String(start)))
        }
        Json::Array(items) if is_long(value) => format!("[… {} items]", items.len()),
        Json::Object(members) if is_long(value) => format!("{{… {} members}}", members.len()),
        value => clean(&value.to_string()),
    }
}

fn is_long(value: &Json) -> bool {
    value.to_string().chars().count() > LONGEST
}

fn is_plain(text: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.:@/+".contains(c);
    !text.is_empty() && text.chars().count() <= LONGEST && text.chars().all(is_plain) && !is_word(text)
}

/// What JSON would write without quotes as well.
fn is_word(text: &str) -> bool {
    ["null", "true", "false"].contains(&text)
}

/// The text without anything that a terminal obeys, or that shows it in another order: what others have written must not
/// move the cursor, clear the screen or pass for another line.
pub(super) fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for c in text.chars() {
        match is_unsafe(c) {
            true => cleaned.extend(c.escape_unicode()),
            false => cleaned.push(c),
        }
    }
    cleaned
}

/// Controls (C0, DEL, C1), the separators of lines, and the characters of Unicode that have no width or turn the direction.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests;
