//! The table of a model or of an SQL projection: its columns and their types.

use writ_model::declaration::Projection;
use writ_model::{Field, Model, Type, Value};

use super::indexes::{self, Index};
use super::kind::{self, Kind};
use super::name::{self, Schema, literal, quote};
use super::rename::History;

/// Names of the columns that the table of every model has, with their types.
pub(super) const FIXED: [(&str, &str); 5] = [
    ("id", "uuid"),
    ("version", "bigint"),
    ("deleted", "boolean"),
    ("created_at", "timestamp with time zone"),
    ("updated_at", "timestamp with time zone"),
];

/// The column of one field.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// The field's name.
    pub(crate) field: String,
    /// The column's name.
    pub(crate) name: String,
    /// How its values are kept.
    pub(crate) kind: Kind,
    /// Its declared type.
    pub(crate) ty: Type,
    /// What rows get that are older than the column, as text; `None`: null.
    backfill: Option<String>,
    /// What it was before.
    pub(super) history: History,
}

impl Column {
    fn of_projection(field: &Field) -> Column {
        Column {
            field: field.name.clone(),
            name: name::projection_column(&field.name),
            kind: Kind::of(&field.ty),
            ty: field.ty.clone(),
            backfill: None,
            history: History::default(),
        }
    }

    fn of(field: &Field) -> Column {
        let default = field.default.as_ref().filter(|_| !field.optional);
        Column {
            field: field.name.clone(),
            name: name::column(&field.name),
            kind: Kind::of(&field.ty),
            ty: field.ty.clone(),
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

/// The table of a model or of an SQL projection.
#[derive(Debug, Clone)]
pub struct Table {
    /// The table's name, not qualified.
    pub(crate) name: String,
    /// Schema and name as an identifier.
    pub(crate) qualified: String,
    /// In declared order.
    pub(crate) columns: Vec<Column>,
    /// Columns that make an order total: `id`, or what identifies a projection's row. They are never null.
    pub(crate) key: Vec<String>,
    /// It has the [`FIXED`] columns: it is a model's.
    pub(crate) is_model: bool,
    indexes: Vec<Index>,
}

impl Table {
    /// Derives the table of `model` in `schema`.
    pub fn derive(schema: &Schema, model: &Model) -> Table {
        let name = name::table(&model.name);
        Table {
            qualified: schema.table(&name),
            name,
            columns: model.fields.values().map(Column::of).collect(),
            key: vec!["id".into()],
            is_model: true,
            indexes: indexes::of_model(model),
        }
    }

    /// Derives the table of `projection` in `schema`. Its columns are called as the fields are, since the statements name
    /// them; those of the key are never null, all others may be.
    pub fn of_projection(schema: &Schema, projection: &Projection) -> Table {
        let name = name::table(&projection.name);
        Table {
            qualified: schema.table(&name),
            name,
            columns: projection.fields.values().map(Column::of_projection).collect(),
            key: projection.key.iter().map(|name| name::projection_column(name)).collect(),
            is_model: false,
            indexes: indexes::of_projection(projection),
        }
    }

    /// The statement that creates it, without its indexes.
    pub fn create(&self) -> String {
        let fixed = if self.is_model { &FIXED[..] } else { &[] };
        let fixed = fixed.iter().map(|(name, ty)| format!("{} {ty} NOT NULL", quote(name)));
        let key: Vec<String> = self.key.iter().map(|name| quote(name)).collect();
        let key = format!("PRIMARY KEY ({})", key.join(", "));
        let columns = self.columns.iter().map(Column::definition);
        let lines: Vec<String> = fixed.chain(columns).chain([key]).collect();
        format!("CREATE TABLE IF NOT EXISTS {} (\n    {}\n)", self.qualified, lines.join(",\n    "))
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
        let old = |column: &str| before(column).unwrap_or_else(|| column.to_owned());
        let names = self
            .indexes
            .iter()
            .map(|index| (index.name(&self.name, old), index.name(&self.name, str::to_owned)));
        names.filter(|(old, new)| old != new).collect()
    }

    /// The names of its indexes, each with the statement that creates it.
    pub fn create_indexes(&self) -> Vec<(String, String)> {
        self.indexes
            .iter()
            .map(|index| {
                let name = index.name(&self.name, str::to_owned);
                let create = index.create(&name, self, false);
                (name, create)
            })
            .collect()
    }

    pub(super) fn indexes(&self) -> &[Index] {
        &self.indexes
    }
}

#[cfg(test)]
mod tests;
