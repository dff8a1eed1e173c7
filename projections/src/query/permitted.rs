//! What a reader may read, as SQL: a [`Predicate`] over the fields of a state becomes a condition on the columns of a row.
//!
//! It selects exactly the rows of which [`Predicate::holds`]. Tests of null are unknown in SQL, and select nothing as they
//! stand; under a negation they would select nothing as well, so that is `IS NOT TRUE`. Parts of objects are texts in their
//! JSON and are cast; what isn't of its type is no value, as in filters. The projector renames parts in all rows when it
//! starts with a new declaration; until then a row may have the old name, so that is looked for too: else a part would be
//! null for a moment, and a rule that asks what it is *not* would let everyone in.
//!
//! Every name is a declared one, quoted and qualified: an unqualified one could mean a column of the statement around it.
//! Every value is bound.

use sqlx::{Postgres, QueryBuilder};
use writ_model::access::{Comparison, Kind, Path, Predicate, Readable, Test};
use writ_model::{Type, Value};

use crate::tables::{Column, Table, literal, text};

/// Appends the condition that a row of `table`, which the statement calls `alias`, is readable.
pub(crate) fn push(sql: &mut QueryBuilder<Postgres>, readable: &Readable, table: &Table, alias: &str) {
    match readable {
        Readable::All => {
            sql.push("TRUE");
        }
        Readable::Nothing => {
            sql.push("FALSE");
        }
        Readable::Where(predicate) => Rows { table, alias }.predicate(sql, predicate),
    }
}

struct Rows<'a> {
    table: &'a Table,
    alias: &'a str,
}

impl Rows<'_> {
    fn predicate(&self, sql: &mut QueryBuilder<Postgres>, predicate: &Predicate) {
        let mut joined = |parts: &[Predicate], word: &str| {
            for (index, part) in parts.iter().enumerate() {
                sql.push(if index == 0 { "(" } else { word });
                self.predicate(sql, part);
            }
            sql.push(")");
        };
        match predicate {
            Predicate::And(parts) => joined(parts, " AND "),
            Predicate::Or(parts) => joined(parts, " OR "),
            Predicate::Test(test) => self.test(sql, test),
            Predicate::Not(test) => {
                sql.push("(");
                self.test(sql, test);
                sql.push(") IS NOT TRUE");
            }
        }
    }

    fn test(&self, sql: &mut QueryBuilder<Postgres>, test: &Test) {
        match test {
            Test::IsNull(path) => {
                sql.push(self.presence(path)).push(" IS NULL");
            }
            Test::Compare(path, comparison, constant) => {
                sql.push(self.value(path)).push(sign(*comparison));
                sql.push_bind(text(constant)).push(format!("::{}", sql_type(constant)));
            }
            Test::CompareFields(left, comparison, right) => {
                sql.push(self.value(left)).push(sign(*comparison)).push(self.value(right));
            }
            Test::In(path, constants) => {
                let is_exact = |value: &Value| matches!(value, Value::Decimal(_));
                let ty = match constants.iter().find(|value| is_exact(value)).or(constants.first()) {
                    Some(constant) if path.kind() != Kind::Decimal => sql_type(constant),
                    _ => "numeric",
                };
                let constants: Vec<Option<String>> = constants.iter().map(text).collect();
                sql.push(self.value(path)).push(" = ANY(").push_bind(constants).push(format!("::{ty}[])"));
            }
            Test::HasItem(path, constant) => {
                let list = serde_json::json!([constant.to_json()]).to_string();
                sql.push(self.value(path)).push(" @> ").push_bind(list).push("::jsonb");
            }
            Test::StartsWith(path, part) => {
                sql.push("starts_with(").push(self.value(path)).push(", ").push_bind(part.clone()).push(")");
            }
            Test::EndsWith(path, part) => {
                sql.push("right(").push(self.value(path)).push(", char_length(").push_bind(part.clone());
                sql.push(")) = ").push_bind(part.clone());
            }
            Test::Contains(path, part) => {
                sql.push("strpos(").push(self.value(path)).push(", ").push_bind(part.clone()).push(") > 0");
            }
        }
    }

    /// The value as an SQL expression of the type of its kind.
    fn value(&self, path: &Path) -> String {
        let Path::Field { names, kind } = path else { return format!("{}.id", self.alias) };
        let (column, value) = self.column(names);
        match (names.len(), kind) {
            (1, Kind::Text) => format!("({value} COLLATE \"C\")"),
            (1, _) => value,
            (_, Kind::List | Kind::Whole) => inner(&column.ty, value, &names[1..]),
            (_, kind) => typed(*kind, &unquoted(&inner(&column.ty, value, &names[1..]))),
        }
    }

    /// An SQL expression that is null where the field has no value.
    fn presence(&self, path: &Path) -> String {
        let Path::Field { names, kind } = path else { return format!("{}.id", self.alias) };
        let (column, value) = self.column(names);
        match (names.len(), kind) {
            // The null of JSON is no value either.
            (1, Kind::List | Kind::Whole) => format!("NULLIF({value}, 'null'::jsonb)"),
            (1, _) => value,
            (_, Kind::List | Kind::Whole | Kind::Duration) => {
                unquoted(&inner(&column.ty, value, &names[1..]))
            }
            _ => self.value(path),
        }
    }

    fn column(&self, names: &[String]) -> (&Column, String) {
        let column = self
            .table
            .columns
            .iter()
            .find(|column| names.first() == Some(&column.field))
            .expect("invariant: a rule is checked against the fields that the columns come from");
        (column, format!("{}.{}", self.alias, column.quoted()))
    }
}

/// The part at `path` of the `jsonb` value, as `jsonb`.
fn inner(ty: &Type, value: String, path: &[String]) -> String {
    let (Type::Object(fields), [name, rest @ ..]) = (ty, path) else { return value };
    let field = fields.get(name).expect("invariant: a rule is checked against the declared parts");
    let names = std::iter::once(name).chain(field.renamed_from.iter().rev());
    let found: Vec<String> = names.map(|name| format!("{value} -> {}", literal(name))).collect();
    let found = match found.as_slice() {
        [one] => format!("({one})"),
        several => format!("COALESCE({})", several.join(", ")),
    };
    inner(&field.ty, found, rest)
}

/// The text of a `jsonb` value; SQL null for the null of JSON.
fn unquoted(value: &str) -> String {
    format!("({value} #>> '{{}}')")
}

/// A text as a value of `kind`, or null.
fn typed(kind: Kind, text: &str) -> String {
    let ty = match kind {
        Kind::Text | Kind::List | Kind::Whole => return format!("({text} COLLATE \"C\")"),
        Kind::Integer | Kind::Duration => "bigint",
        Kind::Decimal => "numeric",
        Kind::Boolean => "boolean",
        Kind::Timestamp => "timestamp with time zone",
        Kind::Date => "date",
        Kind::Uuid => "uuid",
    };
    format!("(CASE WHEN pg_input_is_valid({text}, '{ty}') THEN {text}::{ty} END)")
}

/// The type that a constant's text is cast to.
fn sql_type(constant: &Value) -> &'static str {
    match constant {
        Value::Integer(_) | Value::Duration(_) => "bigint",
        Value::Decimal(_) => "numeric",
        Value::Boolean(_) => "boolean",
        Value::Timestamp(_) => "timestamp with time zone",
        Value::Date(_) => "date",
        Value::Uuid(_) => "uuid",
        Value::List(_) | Value::Object(_) | Value::Json(_) => "jsonb",
        Value::Text(_) | Value::Null => "text",
    }
}

fn sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => " = ",
        Comparison::Less => " < ",
        Comparison::LessOrEqual => " <= ",
        Comparison::Greater => " > ",
        Comparison::GreaterOrEqual => " >= ",
    }
}
