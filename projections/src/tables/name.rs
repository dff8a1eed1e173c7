//! Names in SQL: always quoted, never longer than PostgreSQL keeps, never one of ours or its own.

/// PostgreSQL cuts longer names off silently, so that two of them could become one.
const MAX_BYTES: usize = 63;
/// Hexadecimal digits of a hash.
const HASH: usize = 16;
/// Columns that the table of every model has.
const FIXED: [&str; 5] = ["id", "version", "deleted", "created_at", "updated_at"];
/// Columns that PostgreSQL adds to every table.
const SYSTEM: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// A name as an SQL identifier.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as an SQL literal.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The name of a model's or a projection's table. Names beginning with `writ_` are ours.
pub(super) fn table(model: &str) -> String {
    if model.starts_with("writ_") { with_hash(model) } else { fit(model) }
}

/// The name of a model's field's column.
pub(crate) fn column(field: &str) -> String {
    if FIXED.contains(&field) { with_hash(field) } else { projection_column(field) }
}

/// The name of a projection's column: its statements call it as it is declared.
pub(crate) fn projection_column(field: &str) -> String {
    if SYSTEM.contains(&field) { with_hash(field) } else { fit(field) }
}

/// The name of an index. The point can't stand in a model's name, so it never is a table's name, and no two lists of
/// columns share one. `kind` is a sign that can't stand in a column's name: another kind of index on the same columns has
/// another name, so it replaces the first.
pub(super) fn index(table: &str, columns: &[&str], kind: &str) -> String {
    fit(&format!("{}{}{kind}", index_prefix(table), columns.join(".")))
}

/// What the names of all derived indexes of a table begin with.
pub(super) fn index_prefix(table: &str) -> String {
    format!("{table}.")
}

fn fit(name: &str) -> String {
    if name.len() <= MAX_BYTES { name.to_owned() } else { with_hash(name) }
}

fn with_hash(name: &str) -> String {
    let mut end = name.len().min(MAX_BYTES - HASH - 1);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{:016x}", &name[..end], fnv1a(name.as_bytes()))
}

/// FNV-1a: names in the database and cursors depend on it, so it must never change.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The schema that holds everything.
#[derive(Debug, Clone)]
pub struct Schema {
    name: String,
}

impl Schema {
    /// The schema of this name.
    pub fn new(name: &str) -> Schema {
        Schema { name: fit(name) }
    }

    /// The schema in which tables are built that are to take the place of those in this one.
    pub(crate) fn next(&self) -> Schema {
        Schema::new(&format!("{}_next", self.name))
    }

    /// Its name as an identifier.
    pub(crate) fn quoted(&self) -> String {
        quote(&self.name)
    }

    /// A table in it, as an identifier.
    pub(crate) fn table(&self, name: &str) -> String {
        format!("{}.{}", quote(&self.name), quote(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
    }

    #[test]
    fn names_that_are_taken_or_too_long_get_a_hash() {
        assert_eq!(column("number"), "number");
        assert!(column("xmin").starts_with("xmin_"));
        assert!(column("version").starts_with("version_"));
        assert_eq!(projection_column("version"), "version");
        assert!(projection_column("xmin").starts_with("xmin_"));
        assert_ne!(table("writ_offsets"), "writ_offsets");
        let long = "a".repeat(80);
        assert_eq!(column(&long).len(), MAX_BYTES);
        assert_ne!(column(&long), column(&format!("{long}a")));
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn indexes_of_different_columns_differ() {
        assert_ne!(index("a", &["b_c"], ""), index("a_b", &["c"], ""));
        assert_ne!(index("a", &["b"], ""), index("a", &["b"], "#"));
    }
}
