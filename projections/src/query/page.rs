//! Order, keyset and limit as SQL. Null counts as greater than every value, as PostgreSQL has it by default: last in an
//! ascending order, first in a descending one. So a plain index serves the order, and the cursor agrees with it.

use sqlx::{Postgres, QueryBuilder};

use super::request::{ListRequest, SortKey};
use crate::tables::scalar;

/// The sort keys of a row as a JSON array, for [`super::cursor::encode`].
pub(super) fn cursor_values(request: &ListRequest) -> String {
    let keys: Vec<String> =
        request.sort.iter().map(|key| scalar(key.target.kind, &key.target.column)).collect();
    format!("'[' || {} || ']'", keys.join(" || ',' || "))
}

/// Appends the keyset condition, the order and the limit: one row more than asked for.
pub(super) fn push(sql: &mut QueryBuilder<Postgres>, request: &ListRequest) {
    if let Some(after) = &request.after {
        sql.push(" AND (");
        keyset(sql, &request.sort, after);
        sql.push(")");
    }
    sql.push(" ORDER BY ");
    for (index, key) in request.sort.iter().enumerate() {
        sql.push(if index == 0 { "" } else { ", " }).push(&key.target.column);
        sql.push(if key.descending { " DESC" } else { " ASC" });
    }
    // Not bound: a number of ours, and the planner should know it.
    sql.push(format!(" LIMIT {}", request.limit + 1));
}

/// `k1 > v1 OR (k1 = v1 AND (k2 > v2 OR (k2 = v2 AND …)))`, null-safe. The last key is the id, which is never null.
fn keyset(sql: &mut QueryBuilder<Postgres>, keys: &[SortKey], values: &[Option<String>]) {
    let ([key, rest @ ..], [value, after @ ..]) = (keys, values) else {
        sql.push("FALSE");
        return;
    };
    beyond(sql, key, value.as_deref());
    if rest.is_empty() {
        return;
    }
    sql.push(" OR (").push(&key.target.column);
    match value {
        None => sql.push(" IS NULL"),
        Some(value) => sql.push(" = ").push_bind(value.clone()).push(format!("::{}", key.target.kind.cast())),
    };
    sql.push(" AND (");
    keyset(sql, rest, after);
    sql.push("))");
}

fn beyond(sql: &mut QueryBuilder<Postgres>, key: &SortKey, value: Option<&str>) {
    let column = &key.target.column;
    match (value, key.descending) {
        (None, false) => sql.push("FALSE"),
        (None, true) => sql.push(column).push(" IS NOT NULL"),
        (Some(value), descending) => {
            sql.push("(").push(column).push(if descending { " < " } else { " > " });
            sql.push_bind(value.to_owned()).push(format!("::{}", key.target.kind.cast()));
            sql.push(if descending { ")".to_owned() } else { format!(" OR {column} IS NULL)") })
        }
    };
}
