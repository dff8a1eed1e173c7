//! The check of all files together: from YAML trees to models in which everything is resolved.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use indexmap::IndexMap;

use super::report::Report;
use super::types::{self, Directory};
use super::yaml::{self, Entry, Kind, Node};
use super::{Channel, Model, Models, Projection, channel, fields, model, names, projection, reactions};
use crate::diagnostic::{Diagnostic, Source};

/// The models that other declarations may name.
pub(super) struct Known<'a> {
    pub(super) models: &'a IndexMap<String, Arc<Model>>,
    /// Models with faults, or in files that can't be read: what seems to be missing may be missing for that reason.
    pub(super) faulty: &'a HashSet<String>,
}

/// See [`Models::check`].
pub(super) fn check(app: &str, sources: &[Source]) -> Result<Models, Vec<Diagnostic>> {
    let mut found = Vec::new();
    if !names::is_name(app) {
        found.push(Diagnostic {
            file: String::new(),
            span: 0..0,
            message: format!("{} is no name for an application", super::report::shown(app)),
            hint: Some(
                "`app` has only lower-case letters, digits and `_`: it is part of every event type".into(),
            ),
        });
    }
    let mut files: Vec<(Report<'_>, Vec<Node>)> = Vec::new();
    let mut directory = Directory { app: app.to_owned(), models: HashMap::new() };
    for source in sources {
        let mut report = Report::new(source);
        let mut documents = yaml::load(&mut report);
        // `---` at the end of a file opens a document without content.
        let empty = documents.roots.iter().filter(|root| root.is_null()).count();
        if empty == documents.roots.len() && documents.intact {
            let hint = "a document starts with `model: NAME`, `projection: NAME` or `channel: NAME`";
            report.error(&(0..0), "the file declares nothing", hint);
        }
        documents.roots.retain(|root| !root.is_null());
        if !documents.intact {
            // So that references to a model that can't be read aren't called wrong.
            directory.models.extend(named_in(&source.text).map(|name| (name, None)));
        }
        files.push((report, documents.roots));
    }
    let mut headed: HashSet<String> = HashSet::new();
    for ((_, roots), source) in files.iter().zip(sources) {
        for root in roots {
            if let Some((name, key)) = heading(root, source) {
                headed.insert(name.clone());
                directory.models.entry(name).or_insert(key);
            }
        }
    }

    let mut models: IndexMap<String, Arc<Model>> = IndexMap::new();
    let mut projections: IndexMap<String, Arc<Projection>> = IndexMap::new();
    let mut taken = Taken::default();
    // In files that can't be read models are only named.
    let unread = directory.models.keys().filter(|name| !headed.contains(*name)).cloned();
    let mut faulty: HashSet<String> = unread.collect();
    for ((report, roots), source) in files.iter_mut().zip(sources) {
        for root in roots.iter().filter(|root| projection_of(root).is_none() && channel_of(root).is_none()) {
            let before = report.len();
            let Some((name, span)) = model::name(report, root) else { continue };
            taken.take(report, source, "model", &name, &span);
            if let Some(model) = model::read(report, &directory, root, name.clone(), &span) {
                models.entry(name.clone()).or_insert_with(|| Arc::new(model));
            }
            if report.len() > before {
                faulty.insert(name);
            }
        }
    }
    reactions::read_all(&mut files, &mut models, &faulty);
    // They name the events of the models.
    let known = Known { models: &models, faulty: &faulty };
    for ((report, roots), source) in files.iter_mut().zip(sources) {
        for root in roots.iter() {
            let Some(entry) = projection_of(root) else { continue };
            let (name, span) = (projection::name(report, entry), &entry.value.span);
            if let Some(name) = name {
                taken.take(report, source, "projection", name, span);
            }
            if let Some(projection) = projection::read(report, &directory, &known, root, name, span) {
                projections.entry(projection.name.clone()).or_insert_with(|| Arc::new(projection));
            }
        }
    }
    let mut channels: IndexMap<String, Arc<Channel>> = IndexMap::new();
    let known = Known { models: &models, faulty: &faulty };
    for ((report, roots), source) in files.iter_mut().zip(sources) {
        for root in roots.iter() {
            let Some(entry) = channel_of(root) else { continue };
            let (name, span) = (channel::name(report, entry), &entry.value.span);
            if let Some(name) = name {
                taken.take(report, source, "channel", name, span);
            }
            if let Some(channel) = channel::read(report, &directory, &known, root, name) {
                channels.entry(channel.name.clone()).or_insert_with(|| Arc::new(channel));
            }
        }
    }
    let mut warnings = Vec::new();
    for (report, _) in files {
        let (errors, others) = report.finish();
        found.extend(errors);
        warnings.extend(others);
    }
    if !found.is_empty() {
        return Err(found);
    }
    Ok(Models { app: app.to_owned(), models, projections, channels, warnings })
}

/// The entry that makes a document a projection.
fn projection_of(root: &Node) -> Option<&Entry> {
    root.get("projection").filter(|_| root.get("model").is_none())
}

/// The entry that makes a document a channel.
fn channel_of(root: &Node) -> Option<&Entry> {
    root.get("channel").filter(|_| root.get("model").is_none() && root.get("projection").is_none())
}

/// The names that are given already, each with what has it and where. Models and projections share them, since each has a table
/// and a place in lists by its name, and channels do, since permissions name all of them alike.
#[derive(Default)]
struct Taken {
    names: HashMap<String, (&'static str, String)>,
}

impl Taken {
    fn take(
        &mut self,
        report: &mut Report<'_>,
        source: &Source,
        what: &'static str,
        name: &str,
        span: &Range<usize>,
    ) {
        match self.names.get(name).filter(|_| name != model::NAMELESS) {
            Some((other, place)) if *other == what => {
                let message = format!("the {what} `{name}` is declared twice, first in {place}");
                report.error(span, message, "rename one of them, or join them");
            }
            Some((other, place)) => {
                let message = format!("there is a {other} `{name}` already, in {place}");
                report.error(
                    span,
                    message,
                    "rename one of them: models, projections and channels share their names",
                );
            }
            None => {
                let (line, column) = source.location(span.start);
                self.names.insert(name.to_owned(), (what, format!("{}:{line}:{column}", source.name)));
            }
        }
    }
}

/// The name of the model in a document and the type of its natural key, without any report: that comes with the check
/// of the document itself.
fn heading(root: &Node, source: &Source) -> Option<(String, Option<super::Type>)> {
    let name = root.get("model")?.value.scalar()?.text.clone();
    let is_key = |node: &Node| {
        node.get("key").and_then(|entry| entry.value.scalar()).and_then(|scalar| scalar.as_bool())
            == Some(true)
    };
    let key = root.get("fields").and_then(|entry| match &entry.value.kind {
        Kind::Map(entries) => entries.iter().find(|entry| is_key(&entry.value)),
        _ => None,
    });
    let mut unread = Report::new(source);
    let field =
        key.and_then(|entry| fields::read(&mut unread, &Directory::default(), entry, fields::Place::Part));
    let ty = field.map(|field| field.ty).filter(types::can_be_key);
    Some((name, ty))
}

/// The names in lines `model: NAME`, of a text that is no valid YAML.
fn named_in(text: &str) -> impl Iterator<Item = String> {
    let names = text.lines().filter_map(|line| line.strip_prefix("model:")).map(str::trim);
    names.filter(|name| names::is_name(name)).map(str::to_owned)
}
