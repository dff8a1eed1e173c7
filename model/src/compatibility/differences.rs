//! What differs between the versions of one event and its schema of today.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::schema::{Member, Record, Shape, Slot};

/// The fields from the event down to the one that is meant, by their names of today; items of a list have none.
pub(super) type Path = Vec<String>;

/// What a reader can't bear.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Difference {
    /// The last version has a field that today's event lacks. The path ends at its parent.
    Removed {
        field: String,
        optional: bool,
        /// A new field that could be the same under another name.
        maybe: Option<String>,
    },
    /// New, and old events give it no value.
    AddedWithoutValue,
    Retyped {
        was: String,
        is: String,
    },
    MadeRequired,
    MadeOptional,
    ValuesRemoved(Vec<String>),
    /// Old events without the field were read with another value.
    DefaultChanged {
        was: String,
        is: String,
    },
}

/// Differences with the versions that have them.
pub(super) type Found = IndexMap<(Path, Difference), Vec<u32>>;

/// Differences with the versions that have them, and the harmless changes since the last version.
#[derive(Debug, Default)]
pub(super) struct Differences {
    found: Found,
    changes: Vec<String>,
    /// The fields that some version doesn't have.
    lacking: HashMap<Path, u32>,
    /// The defaults that versions gave them, where these differ from today's: then and now.
    defaults: IndexMap<Path, (u32, String, String)>,
}

/// Where in the comparison.
struct At<'p> {
    version: u32,
    is_last: bool,
    path: &'p Path,
}

impl At<'_> {
    fn to(&self, name: &str) -> Path {
        self.path.iter().map(String::as_str).chain([name]).map(str::to_owned).collect()
    }
}

impl Differences {
    /// Holds one version (`was`) against today's schema (`is`).
    pub(super) fn compare(&mut self, version: u32, is_last: bool, was: &Record<'_>, is: &Record<'_>) {
        self.records(&At { version, is_last, path: &Path::new() }, was, is);
    }

    /// The differences with the versions they are about, and the harmless changes.
    pub(super) fn finish(mut self) -> (Found, Vec<String>) {
        for (path, (version, was, is)) in std::mem::take(&mut self.defaults) {
            if self.lacking.contains_key(&path) {
                self.found.entry((path, Difference::DefaultChanged { was, is })).or_default().push(version);
            } else {
                self.changes.push(format!("`{}` has the default {is} in place of {was}", path.join(".")));
            }
        }
        (self.found, self.changes)
    }

    fn add(&mut self, path: Path, difference: Difference, version: u32) {
        self.found.entry((path, difference)).or_default().push(version);
    }

    fn records(&mut self, at: &At<'_>, was: &Record<'_>, is: &Record<'_>) {
        for before in &was.members {
            match is.member(before.wire) {
                Some(now) => self.members(at, before, now),
                // What an earlier version had and the last one doesn't is gone already: then only Avro's rule counts.
                None if at.is_last || before.default.is_none() => {
                    let is_alike = |now: &&Member<'_>| {
                        was.member(now.wire).is_none()
                            && now.slot.nullable == before.slot.nullable
                            && now.slot.shape.is_as(&before.slot.shape)
                    };
                    let maybe = is.members.iter().find(is_alike).map(|now| now.name.to_owned());
                    let (field, optional) = (before.name.to_owned(), before.slot.nullable);
                    let removed = Difference::Removed { field, optional, maybe };
                    self.add(at.path.clone(), removed, at.version);
                }
                None => {}
            }
        }
        for now in is.members.iter().filter(|now| was.member(now.wire).is_none()) {
            let path = at.to(now.name);
            if now.default.is_none() {
                self.add(path, Difference::AddedWithoutValue, at.version);
                continue;
            }
            if at.is_last {
                let how = if now.slot.nullable {
                    "optional".to_owned()
                } else {
                    format!("default {}", now.shown_default())
                };
                self.changes.push(format!("adds `{}` ({how})", path.join(".")));
            }
            self.lacking.insert(path, at.version);
        }
    }

    fn members(&mut self, at: &At<'_>, was: &Member<'_>, is: &Member<'_>) {
        let path = at.to(is.name);
        if at.is_last && was.name != is.name {
            let old = at.to(was.name).join(".");
            self.changes.push(format!(
                "renames `{old}` to `{}`; on the wire it stays `{}`",
                path.join("."),
                is.wire
            ));
        }
        self.slots(&At { path: &path, ..*at }, &was.slot, &is.slot);
        let is_plain = !was.slot.nullable && !is.slot.nullable && is.slot.shape.is_as(&was.slot.shape);
        if let (Some(before), Some(now), true) = (was.default, is.default, is_plain)
            && before != now
        {
            self.defaults.insert(path, (at.version, was.shown_default(), is.shown_default()));
        }
    }

    fn slots(&mut self, at: &At<'_>, was: &Slot<'_>, is: &Slot<'_>) {
        let path = || at.path.clone();
        match (was.nullable, is.nullable) {
            (true, false) => self.add(path(), Difference::MadeRequired, at.version),
            (false, true) => self.add(path(), Difference::MadeOptional, at.version),
            _ => {}
        }
        if !is.shape.is_as(&was.shape) {
            let retyped = Difference::Retyped { was: was.shape.to_string(), is: is.shape.to_string() };
            return self.add(path(), retyped, at.version);
        }
        match (&was.shape, &is.shape) {
            (Shape::Enum(was), Shape::Enum(is)) => {
                let beyond = |these: &[&str], those: &[&str]| -> Vec<String> {
                    let rest = these.iter().filter(|value| !those.contains(value));
                    rest.map(|value| (*value).to_owned()).collect()
                };
                let (gone, new) = (beyond(was, is), beyond(is, was));
                if !gone.is_empty() {
                    self.add(path(), Difference::ValuesRemoved(gone), at.version);
                }
                if at.is_last && !new.is_empty() {
                    let names = new.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                    self.changes.push(format!("`{}` may also be {names}", at.path.join(".")));
                }
            }
            (Shape::Enum(_), Shape::Text) if at.is_last => {
                self.changes.push(format!("`{}` may be any text", at.path.join(".")));
            }
            (Shape::Record(was), Shape::Record(is)) => self.records(at, was, is),
            (Shape::List(was), Shape::List(is)) => self.slots(at, was, is),
            _ => {}
        }
    }
}
