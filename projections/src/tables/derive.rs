//! The table of a model: columns, types and indexes.

use writ_model::{Field, Model, Type, Value};

use super::kind::{self, Kind};
use super::name::{self, Schema, literal, quote};
use super::rename::History;

/// Most bytes of an index entry, below PostgreSQL's limit of about 2,700.
const MAX_ENTRY: u64 = 2600;
/// Names of the columns that every table has, with their types.
pub(super) const FIXED: [(&str, &str); 5] = [
    ("id", "uuid"),
    ("version", "bigint"),
    ("deleted", "boolean"),
    ("created_at", "timestamp with time zone"),
    ("updated_at", "timestamp with time zone"),
];

/// The column of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The field's name.
    pub(crate) field: String,
    /// The column's name.
    pub(crate) name: String,
    /// How its values are kept.
    pub(crate) kind: Kind,
    /// What rows get that are older than the column, as text; `None`: null.
    backfill: Option<String>,
    /// What it was before.
    pub(super) history: History,
}

impl Column {
    fn of(field: &Field) -> Column {
        let default = field.default.as_ref().filter(|_| !field.optional);
        Column {
            field: field.name.clone(),
            name: name::column(&field.name),
            kind: Kind::of(&field.ty),
            backfill: default.filter(|value| **value != Value::Null).and_then(kind::text),
            history: History::of(field),
        }
    }

    /// The column's name as an identifier.
    pub(crate) fn quoted(&self) -> String {
        quote(&self.name)
    }

    /// Its definition. Always nullable: the constraints are the write side's, and a projection never refuses a fact.
    fn definition(&self) -> String {
        // The order of bytes is the same on every server and in every cursor.
        let collation = if self.kind == Kind::Text { " COLLATE \"C\"" } else { "" };
        format!("{} {}{collation}", self.quoted(), self.kind.sql_type())
    }
}

/// The table of a model.
#[derive(Debug, Clone)]
pub struct Table {
    /// The model's name.
    pub(crate) model: String,
    /// The table's name, not qualified.
    pub(crate) name: String,
    /// Schema and name as an identifier.
    pub(crate) qualified: String,
    /// In declared order.
    pub(crate) columns: Vec<Column>,
    indexes: Vec<Index>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Index {
    columns: Vec<String>,
    /// A hash index takes texts of any length, for equality only.
    hash: bool,
}

impl Table {
    /// Derives the table of `model` in `schema`.
    pub fn derive(schema: &Schema, model: &Model) -> Table {
        let name = name::table(&model.name);
        Table {
            model: model.name.clone(),
            qualified: schema.table(&name),
            name,
            columns: model.fields.values().map(Column::of).collect(),
            indexes: indexes(model),
        }
    }

    /// The name of a field's column.
    pub(crate) fn column_name(field: &str) -> String {
        name::column(field)
    }

    /// The statement that creates it.
    pub fn create(&self) -> String {
        let fixed = FIXED.iter().map(|(name, ty)| {
            let key = if *name == "id" { " PRIMARY KEY" } else { " NOT NULL" };
            format!("{} {ty}{key}", quote(name))
        });
        let columns: Vec<String> = fixed.chain(self.columns.iter().map(Column::definition)).collect();
        format!("CREATE TABLE IF NOT EXISTS {} (\n    {}\n)", self.qualified, columns.join(",\n    "))
    }

    /// The statements that add one column to the table as it was before.
    pub(super) fn add(&self, column: &Column) -> Vec<String> {
        let table = &self.qualified;
        let definition = column.definition();
        match &column.backfill {
            None => vec![format!("ALTER TABLE {table} ADD COLUMN {definition}")],
            // As the write side completes states that are older than the field.
            Some(text) => vec![
                format!("ALTER TABLE {table} ADD COLUMN {definition} DEFAULT {}", literal(text)),
                format!("ALTER TABLE {table} ALTER COLUMN {} DROP DEFAULT", column.quoted()),
            ],
        }
    }

    /// The statement that makes `old` the column.
    pub(super) fn rename(&self, old: &str, column: &Column) -> String {
        format!("ALTER TABLE {} RENAME COLUMN {} TO {}", self.qualified, quote(old), column.quoted())
    }

    /// The statement that gives the parts of a column's values their names of today. `None`: they have them.
    pub(super) fn convert(&self, column: &Column) -> Option<String> {
        let converted = column.history.converted.as_ref()?;
        let name = column.quoted();
        Some(format!("UPDATE {} SET {name} = {converted} WHERE {name} IS NOT NULL", self.qualified))
    }

    /// The statement that notes what a column was before.
    pub(super) fn comment(&self, column: &Column) -> Option<String> {
        let comment = column.history.comment()?;
        Some(format!("COMMENT ON COLUMN {}.{} IS {}", self.qualified, column.quoted(), literal(&comment)))
    }

    /// What its indexes were called before columns were renamed, and what they are called now. `before`: the earlier name
    /// of a column.
    pub(super) fn renamed_indexes(&self, before: impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
        let name = |index: &Index, column: &dyn Fn(&String) -> String| {
            let columns: Vec<String> = index.columns.iter().map(column).collect();
            let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
            name::index(&self.name, &columns, index.hash)
        };
        self.indexes
            .iter()
            .map(|index| {
                let old = name(index, &|column| before(column).unwrap_or_else(|| column.clone()));
                (old, name(index, &String::clone))
            })
            .filter(|(old, new)| old != new)
            .collect()
    }

    /// The names of its indexes, each with the statement that creates it.
    pub fn create_indexes(&self) -> Vec<(String, String)> {
        self.indexes
            .iter()
            .map(|index| {
                let names: Vec<&str> = index.columns.iter().map(String::as_str).collect();
                let quoted: Vec<String> = names.iter().map(|name| quote(name)).collect();
                let method = if index.hash { "USING hash " } else { "" };
                let name = name::index(&self.name, &names, index.hash);
                let columns = quoted.join(", ");
                let create =
                    format!("CREATE INDEX {} ON {} {method}({columns})", quote(&name), self.qualified);
                (name, create)
            })
            .collect()
    }
}

/// The natural key, each reference, each enum, and the declared lists.
fn indexes(model: &Model) -> Vec<Index> {
    let single = model
        .fields
        .values()
        .filter(|field| field.key || matches!(field.ty, Type::Ref { .. } | Type::Enum(_)))
        .map(|field| vec![field.name.clone()]);
    let mut indexes: Vec<Index> = Vec::new();
    for fields in single.chain(model.indexes.iter().cloned()) {
        if let Some(index) = index(model, &fields)
            && !indexes.contains(&index)
        {
            indexes.push(index);
        }
    }
    indexes
}

/// An index entry that is too long would make PostgreSQL refuse the row, and the event is a fact. So a list ends before
/// the first field that may not fit; if that is the first of the list, it gets a hash index.
fn index(model: &Model, fields: &[String]) -> Option<Index> {
    let mut columns = Vec::new();
    let mut bytes = 0;
    for name in fields {
        // `id`, `created_at` and the other fixed columns may be part of a list.
        let Some(field) = model.fields.get(name) else {
            if FIXED.iter().any(|(fixed, _)| fixed == name) {
                bytes += 16;
                columns.push(name.clone());
            }
            continue;
        };
        if Kind::of(&field.ty) == Kind::Json {
            break;
        }
        let column = name::column(name);
        match most_bytes(&field.ty).map(|most| bytes + most).filter(|sum| *sum <= MAX_ENTRY) {
            Some(sum) => {
                bytes = sum;
                columns.push(column);
            }
            None if columns.is_empty() => return Some(Index { columns: vec![column], hash: true }),
            None => break,
        }
    }
    (!columns.is_empty()).then_some(Index { columns, hash: false })
}

/// The size of the largest value; `None`: it has no bound.
fn most_bytes(ty: &Type) -> Option<u64> {
    match ty {
        // Four bytes for a character.
        Type::Text { max_length, .. } => max_length.and_then(|length| length.checked_mul(4)),
        Type::Email => Some(4 * 254),
        Type::Url => Some(2048),
        Type::Enum(names) => names.iter().map(|name| name.len() as u64).max(),
        Type::List { .. } | Type::Object(_) | Type::Json => None,
        Type::Integer { .. }
        | Type::Decimal { .. }
        | Type::Boolean
        | Type::Timestamp
        | Type::Date
        | Type::Duration
        | Type::Uuid
        | Type::Ref { .. } => Some(32),
    }
}

#[cfg(test)]
mod tests;
