//! What a row shows: all of it or the fields that were asked for, and the rows that its references lead to. PostgreSQL
//! builds the JSON text, in the same statement that finds the row.

use std::sync::Arc;

use sqlx::{Postgres, QueryBuilder};
use writ_model::access::Visible;
use writ_model::{Model, Type};

use super::request::Problem;
use super::subject::{Subject, Target};
use super::{View, permitted};
use crate::tables::{Column, Kind, Table, instant, literal, object, object_of, plain, scalar};

/// Most fields that can be asked for.
const MAX_FIELDS: usize = 100;

/// What a row shows.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// `None`: everything.
    pub(super) fields: Option<Fields>,
    pub(super) expand: Vec<Expansion>,
}

/// The fields that were asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fields {
    /// In the order in which they were named.
    targets: Vec<Target>,
    /// The same as a tree: several parts of one object stand together.
    pub(super) parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub(super) name: String,
    /// Empty: all of it.
    pub(super) inner: Vec<Part>,
}

/// A reference whose row is shown too.
#[derive(Debug, Clone)]
pub(super) struct Expansion {
    /// The field.
    name: String,
    column: String,
    /// Where it leads.
    pub(super) model: Arc<Model>,
    /// What the reader sees there.
    pub(super) visible: Visible,
}

impl Fields {
    /// As they were named.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().map(|target| target.name.as_str())
    }
}

impl Shown {
    /// The JSON text of a row's state, without what `visible` hides.
    pub(super) fn state(&self, table: &Table, visible: &Visible) -> String {
        match &self.fields {
            None => object(table.columns.iter().filter(|column| visible.shows(&column.field))),
            Some(fields) => object_of(table_members(table, &fields.parts)),
        }
    }

    /// Appends the JSON text of the rows that references lead to, or SQL null if none was asked for. `item`: the JSON text of
    /// a row of a model, and its table. What the reader may not read is as what doesn't exist.
    pub(super) fn push_expanded(
        &self,
        sql: &mut QueryBuilder<Postgres>,
        item: impl Fn(&Expansion) -> (String, Arc<View>),
    ) {
        if self.expand.is_empty() {
            sql.push("NULL::text");
            return;
        }
        for (index, one) in self.expand.iter().enumerate() {
            let (item, view) = item(one);
            let before = format!("{}\"{}\":", if index == 0 { "{" } else { "," }, one.name);
            let table = &view.table.qualified;
            sql.push(if index == 0 { "" } else { " || " }).push(literal(&before));
            sql.push(format!(
                " || COALESCE((SELECT {item} FROM {table} AS e WHERE e.id = t.{} AND NOT e.deleted AND ",
                one.column
            ));
            permitted::push(sql, &one.visible.rows, &view.table, "e");
            sql.push("), 'null')");
        }
        sql.push(" || '}'");
    }

    /// The header and the text of each column of a table of values.
    pub(super) fn columns(&self, subject: &Subject<'_>) -> Vec<(String, String)> {
        let column = |target: &Target| {
            let text = match target.in_list {
                false => plain(target.kind, &target.sql),
                true => reduced(&target.column, &target.whole, &branch(&target.path[1..]), 0),
            };
            (target.name.clone(), text)
        };
        match &self.fields {
            Some(fields) => fields.targets.iter().map(column).collect(),
            None => {
                let target = |name| subject.target(name, "show", &[]).expect("invariant: a declared name");
                subject.names().map(|name| column(&target(name))).collect()
            }
        }
    }
}

/// The JSON text of a row of a model with this state, as a list shows it.
pub(super) fn item(state: &str) -> String {
    let quoted = |text: &str| format!("'\"' || {text} || '\"'");
    let fixed = [
        ("id", quoted("id::text")),
        ("version", "version::text".into()),
        ("state", state.to_owned()),
        ("created_at", quoted(&instant("created_at"))),
        ("updated_at", quoted(&instant("updated_at"))),
    ];
    object_of(fixed.into_iter())
}

/// `fields=number,ship_to.city`.
pub(super) fn fields(subject: &Subject<'_>, text: &str) -> Result<Fields, Problem> {
    let (mut targets, mut parts): (Vec<Target>, Vec<Part>) = Default::default();
    for name in text.split(',') {
        let target = subject.target(name, "show", &[])?;
        if targets.len() == MAX_FIELDS {
            return Err(("too_many", format!("at most {MAX_FIELDS} fields can be asked for")));
        }
        if targets.contains(&target) {
            return Err(("repeated", format!("`{name}` stands twice in the list")));
        }
        insert(&mut parts, &target.path);
        targets.push(target);
    }
    Ok(Fields { targets, parts })
}

fn insert(parts: &mut Vec<Part>, path: &[String]) {
    let [name, rest @ ..] = path else { return };
    match parts.iter_mut().find(|part| part.name == *name) {
        None => parts.push(Part { name: name.clone(), inner: branch(rest) }),
        Some(part) if rest.is_empty() => part.inner.clear(),
        // All of it was asked for already.
        Some(part) if part.inner.is_empty() => {}
        Some(part) => insert(&mut part.inner, rest),
    }
}

fn branch(path: &[String]) -> Vec<Part> {
    let mut parts = Vec::new();
    insert(&mut parts, path);
    parts
}

/// `expand=customer,employee`.
pub(super) fn expand(subject: &Subject<'_>, text: &str) -> Result<Vec<Expansion>, Problem> {
    let mut expansions: Vec<Expansion> = Vec::new();
    for name in text.split(',') {
        let references: Vec<&str> = subject
            .fields()
            .filter(|field| matches!(&field.ty, Type::Ref { to, .. } if subject.referenced(to).is_some()))
            .map(|field| field.name.as_str())
            .collect();
        if references.is_empty() {
            return Err((
                "not_expandable",
                format!("{} has no references at the top that could be expanded", subject.name),
            ));
        }
        let target = subject.target(name, "expand", &[])?;
        let model = match &target.ty {
            Type::Ref { to, .. } if !target.is_part() => subject.referenced(to),
            _ => None,
        };
        let Some(model) = model else {
            let detail = format!("`{name}` is no reference at the top; there are {}", references.join(", "));
            return Err(("not_expandable", detail));
        };
        if expansions.iter().any(|one| one.name == name) {
            return Err(("repeated", format!("`{name}` stands twice in the list")));
        }
        let visible = subject.visible_of(model);
        let (name, column) = (name.to_owned(), target.column);
        expansions.push(Expansion { name, column, model: model.clone(), visible });
    }
    Ok(expansions)
}

/// Those of `table`'s columns that `parts` name. What else they name is shown anyway.
fn table_members<'a>(table: &'a Table, parts: &'a [Part]) -> impl Iterator<Item = (&'a str, String)> {
    parts.iter().filter_map(|part| {
        let column = table.columns.iter().find(|column| column.field == part.name)?;
        Some((part.name.as_str(), member(column, part)))
    })
}

fn member(column: &Column, part: &Part) -> String {
    if part.inner.is_empty() {
        scalar(column.kind, &column.quoted())
    } else {
        reduced(&column.quoted(), &column.ty, &part.inner, 0)
    }
}

/// The JSON text of a `jsonb` value with only the parts that were asked for.
fn reduced(value: &str, ty: &Type, parts: &[Part], depth: usize) -> String {
    match ty {
        _ if parts.is_empty() => scalar(Kind::Json, value),
        Type::List { of, .. } => {
            let alias = format!("i{depth}");
            let item = reduced(&format!("{alias}.v"), &of.ty, parts, depth + 1);
            format!(
                "CASE jsonb_typeof({value}) WHEN 'array' THEN (SELECT '[' || COALESCE(string_agg({item}, ',' ORDER BY {alias}.n), '') \
                 || ']' FROM jsonb_array_elements({value}) WITH ORDINALITY AS {alias}(v, n)) ELSE 'null' END"
            )
        }
        Type::Object(fields) => {
            let members = parts.iter().filter_map(|part| {
                let field = fields.get(&part.name)?;
                let value = format!("({value} -> {})", literal(&part.name));
                Some((part.name.as_str(), reduced(&value, &field.ty, &part.inner, depth + 1)))
            });
            format!("CASE jsonb_typeof({value}) WHEN 'object' THEN {} ELSE 'null' END", object_of(members))
        }
        _ => scalar(Kind::Json, value),
    }
}
