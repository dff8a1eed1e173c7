//! Order, keyset and limit. Null counts as greater than every value, as PostgreSQL has it by default: last in an ascending
//! order, first in a descending one. So a plain index serves the order, and the cursor agrees with it.
//!
//! # A deep page costs what the first one does
//!
//! The rows after a cursor are not asked for with one `OR`, which no index can begin at, but with a few *arms*, each of
//! which is one range of the order:
//!
//! - where keys run in one direction and the cursor has values: `(k1, k2, id) > (v1, v2, vid)`. PostgreSQL compares such rows
//!   from left to right and stops at the first unequal pair, so a null further right does no harm; one in the deciding
//!   place makes it unknown, which is no match;
//! - ascending, the rows whose deciding key is null come after those: `k1 = v1 AND k2 IS NULL`, for every key that may be;
//! - where the cursor's key is null: descending, `k1 IS NOT NULL` comes after it; ascending, nothing does. Then on with
//!   `k1 IS NULL AND …`; and where the direction changes, on with `k1 = v1 AND …`.
//!
//! The arms are disjoint, and together they are what is after the cursor. Each comes in order from an index that has it,
//! up to the limit, and PostgreSQL merges them: it reads about as many rows as the page has.

use std::ops::Range;

use sqlx::{Postgres, QueryBuilder};

use super::request::{ListRequest, Problem};
use super::subject::{Subject, Target};
use crate::tables::{Kind, scalar};

/// Most fields of an order: each may be an arm.
const MAX_KEYS: usize = 8;

/// One field of the order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SortKey {
    pub(super) target: Target,
    pub(super) descending: bool,
}

/// `sort=-total,number`.
pub(super) fn parse(subject: &Subject<'_>, text: &str) -> Result<Vec<SortKey>, Problem> {
    let mut keys: Vec<SortKey> = Vec::new();
    for part in text.split(',') {
        let (name, descending) = match part.strip_prefix('-') {
            Some(name) => (name, true),
            None => (part, false),
        };
        let target = subject.target(name, "sort by", &[])?;
        if target.in_list || target.kind == Kind::Json {
            let what = if target.in_list { "is in a list" } else { "is a list, an object or JSON" };
            return Err(("not_comparable", format!("`{name}` {what}, and has no order")));
        }
        if target.is_part() && !target.is_ordered() && target.kind == Kind::Text {
            return Err((
                "not_comparable",
                format!("`{name}` is a duration within an object, and has no order there"),
            ));
        }
        if keys.iter().any(|key| key.target == target) {
            return Err(("repeated", format!("`{name}` stands twice in the order")));
        }
        if keys.len() == MAX_KEYS {
            return Err(("too_many", format!("an order has at most {MAX_KEYS} fields")));
        }
        keys.push(SortKey { target, descending });
    }
    Ok(keys)
}

/// Makes the order total. The key goes in the direction of the last field, so that one index serves both.
pub(super) fn complete(subject: &Subject<'_>, keys: &mut Vec<SortKey>) {
    let descending = keys.last().is_some_and(|key| key.descending);
    for name in subject.key() {
        let target = subject.target(name, "sort by", &[]).expect("invariant: the key is a column");
        if !keys.iter().any(|key| key.target == target) {
            keys.push(SortKey { target, descending });
        }
    }
}

/// The sort keys of a row as a JSON array, for [`super::cursor::encode`].
pub(super) fn cursor_values(request: &ListRequest<'_>) -> String {
    let keys: Vec<String> = request.sort.iter().map(|key| scalar(key.target.kind, &key.target.sql)).collect();
    format!("'[' || {} || ']'", keys.join(" || ',' || "))
}

/// Appends `FROM …` to the select list: the rows of `table` that the request wants, in order, one more than asked for.
/// `where_`: appends what the rows must fulfil.
pub(super) fn push(
    sql: &mut QueryBuilder<Postgres>,
    request: &ListRequest<'_>,
    table: &str,
    where_: impl Fn(&mut QueryBuilder<Postgres>),
) {
    let keys = &request.sort;
    let rows = |sql: &mut QueryBuilder<Postgres>, arm: &[Condition], values: &[Option<String>]| {
        sql.push(format!(" FROM {table} AS t WHERE "));
        // Before the filters: of two bounds on one column the scan begins at the one that stands first, and the cursor is
        // further on than a filter that its row has passed.
        for condition in arm {
            condition.push(sql, keys, values);
            sql.push(" AND ");
        }
        where_(sql);
        ordered(sql, request);
    };
    let Some(values) = &request.after else { return rows(sql, &[], &[]) };
    match &arms(keys, values)[..] {
        [arm] => rows(sql, arm, values),
        arms => {
            for (index, arm) in arms.iter().enumerate() {
                sql.push(if index == 0 { " FROM ((SELECT *" } else { ") UNION ALL (SELECT *" });
                rows(sql, arm, values);
            }
            sql.push(")) AS t");
            ordered(sql, request);
        }
    }
}

/// Appends the order.
pub(super) fn order(sql: &mut QueryBuilder<Postgres>, request: &ListRequest<'_>) {
    sql.push(" ORDER BY ");
    for (index, key) in request.sort.iter().enumerate() {
        sql.push(if index == 0 { "" } else { ", " }).push(&key.target.sql);
        sql.push(if key.descending { " DESC" } else { " ASC" });
    }
}

fn ordered(sql: &mut QueryBuilder<Postgres>, request: &ListRequest<'_>) {
    order(sql, request);
    // Not bound: a number of ours, and the planner should know it.
    sql.push(format!(" LIMIT {}", request.limit + 1));
}

/// A condition on keys of the order, by their places in it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Equal(usize),
    Null(usize),
    NotNull(usize),
    /// After the cursor's values, compared as rows. All in one direction.
    Beyond(Range<usize>),
}

/// What is after the values of a cursor: all conditions of one of the arms.
fn arms(keys: &[SortKey], values: &[Option<String>]) -> Vec<Vec<Condition>> {
    let (mut arms, mut prefix, mut at) = (Vec::new(), Vec::new(), 0);
    let with = |prefix: &[Condition], more: &[Condition]| [prefix, more].concat();
    while let (Some(key), Some(value)) = (keys.get(at), values.get(at)) {
        if value.is_none() {
            if key.descending {
                arms.push(with(&prefix, &[Condition::NotNull(at)]));
            }
            prefix.push(Condition::Null(at));
            at += 1;
            continue;
        }
        let same = |(next, value): &(&SortKey, &Option<String>)| {
            next.descending == key.descending && value.is_some()
        };
        let end = at + keys[at..].iter().zip(&values[at..]).take_while(same).count();
        arms.push(with(&prefix, &[Condition::Beyond(at..end)]));
        for (place, next) in keys.iter().enumerate().take(end).skip(at) {
            if !key.descending && !next.target.never_null {
                arms.push(with(&prefix, &[Condition::Null(place)]));
            }
            prefix.push(Condition::Equal(place));
        }
        at = end;
    }
    arms
}

impl Condition {
    fn push(&self, sql: &mut QueryBuilder<Postgres>, keys: &[SortKey], values: &[Option<String>]) {
        let value = |sql: &mut QueryBuilder<Postgres>, place: usize| {
            let value = values[place].clone().expect("invariant: a null is compared with IS NULL");
            sql.push_bind(value).push(format!("::{}", keys[place].target.kind.cast()));
        };
        match self {
            Condition::Null(place) => {
                sql.push(&keys[*place].target.sql).push(" IS NULL");
            }
            Condition::NotNull(place) => {
                sql.push(&keys[*place].target.sql).push(" IS NOT NULL");
            }
            Condition::Equal(place) => {
                sql.push(&keys[*place].target.sql).push(" = ");
                value(sql, *place);
            }
            Condition::Beyond(places) => {
                let names: Vec<&str> =
                    keys[places.clone()].iter().map(|key| key.target.sql.as_str()).collect();
                let sign = if keys[places.start].descending { "<" } else { ">" };
                sql.push(format!("({}) {sign} (", names.join(", ")));
                for place in places.clone() {
                    sql.push(if place == places.start { "" } else { ", " });
                    value(sql, place);
                }
                sql.push(")");
            }
        }
    }
}

#[cfg(test)]
mod tests;
