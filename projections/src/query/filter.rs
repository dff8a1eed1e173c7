//! Filters: parameters become conditions, and these SQL. Values are bound as text and cast to the type of the column,
//! which the parser has made sure of.

use sqlx::{Postgres, QueryBuilder};
use writ_model::Type;

use super::request::{Problem, RESERVED};
use super::subject::{Subject, Target, clip};
use crate::tables::{Kind, words as text_words};

/// Most values of an `in` list.
const MAX_VALUES: usize = 1000;
/// Most characters of a pattern, and of the words of `q`.
const MAX_PATTERN: usize = 1000;

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Eq,
    Ne,
    Lt,
    Lte,
    Gt,
    Gte,
    In,
    Like,
    Ilike,
    IsNull,
    Contains,
}

impl Operator {
    const ALL: [(&'static str, Operator); 11] = [
        ("eq", Operator::Eq),
        ("ne", Operator::Ne),
        ("lt", Operator::Lt),
        ("lte", Operator::Lte),
        ("gt", Operator::Gt),
        ("gte", Operator::Gte),
        ("in", Operator::In),
        ("like", Operator::Like),
        ("ilike", Operator::Ilike),
        ("is_null", Operator::IsNull),
        ("contains", Operator::Contains),
    ];
}

/// One condition. All of a request hold together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Filter {
    pub(super) target: Target,
    pub(super) operator: Operator,
    /// Texts that the cast to the column's type reads. One, but for `in`.
    pub(super) values: Vec<String>,
}

/// The words of `q` in the text of these columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) columns: Vec<String>,
    pub(super) query: String,
}

/// `total[gte]=100`.
pub(super) fn parse(subject: &Subject<'_>, name: &str, value: &str) -> Result<Filter, Problem> {
    let (field, operator) = match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
        None => (name, "eq"),
        Some(parts) => parts,
    };
    let target = subject.target(field, "filter by", &RESERVED)?;
    let Some((_, operator)) = Operator::ALL.iter().find(|(known, _)| *known == operator) else {
        let known = Operator::ALL.map(|(name, _)| name).join(", ");
        return Err((
            "unknown_operator",
            format!("there is no operator `{}`; there are {known}", clip(operator)),
        ));
    };
    let operator = *operator;
    let values = match operator {
        Operator::IsNull => {
            if target.in_list {
                return Err(not_comparable(&target));
            }
            match value {
                "true" | "false" => vec![value.to_owned()],
                _ => {
                    let detail = format!("`{}` is neither `true` nor `false`", clip(value));
                    return Err(("invalid_value", detail));
                }
            }
        }
        Operator::Contains => vec![contained(&target, value)?],
        _ if target.kind == Kind::Json || target.in_list => return Err(not_comparable(&target)),
        Operator::Like | Operator::Ilike => vec![pattern(&target, value)?],
        Operator::Lt | Operator::Lte | Operator::Gt | Operator::Gte if !target.is_ordered() => {
            return Err(("not_comparable", format!("`{field}` has no order; compare it with eq, ne or in")));
        }
        Operator::In => {
            let values: Vec<&str> = value.split(',').collect();
            if values.len() > MAX_VALUES {
                return Err(("too_many", format!("a list has at most {MAX_VALUES} values")));
            }
            values.into_iter().map(|value| read(&target, value)).collect::<Result<_, _>>()?
        }
        _ => vec![read(&target, value)?],
    };
    Ok(Filter { target, operator, values })
}

fn read(target: &Target, value: &str) -> Result<String, Problem> {
    target.read(value).map_err(|detail| ("invalid_value", detail))
}

fn not_comparable(target: &Target) -> Problem {
    let name = &target.name;
    let hint = match &target.ty {
        _ if target.in_list => format!("there may be several; ask with `{name}[contains]`"),
        Type::List { .. } => format!("a list can't be compared; ask for an item with `{name}[contains]`"),
        Type::Object(fields) => {
            let part = fields.keys().next().map_or("part", String::as_str);
            format!("an object can't be compared; filter by a part of it, such as `{name}.{part}`")
        }
        _ => format!("JSON can't be compared; ask for a part of it with `{name}[contains]`"),
    };
    ("not_comparable", format!("`{name}`: {hint}"))
}

fn contained(target: &Target, value: &str) -> Result<String, Problem> {
    if !target.in_list && !matches!(target.ty, Type::List { .. } | Type::Json) {
        let hint = match target.ty {
            Type::Object(_) => "name a part of the object".to_owned(),
            _ if target.kind == Kind::Text => {
                format!("ask for a part of a text with `{}[like]=%…%`", target.name)
            }
            _ => "compare it with eq".to_owned(),
        };
        return Err(("not_comparable", format!("`{}` is no list; {hint}", target.name)));
    }
    let json = target.containing(value).map_err(|detail| ("invalid_value", detail))?;
    Ok(json.to_string())
}

/// PostgreSQL refuses a pattern whose last backslash stands before nothing.
fn pattern(target: &Target, value: &str) -> Result<String, Problem> {
    if target.kind != Kind::Text {
        return Err((
            "not_comparable",
            format!("`{}` is of type {}; patterns are for texts", target.name, target.ty.name()),
        ));
    }
    if value.chars().count() > MAX_PATTERN {
        return Err(("too_long", format!("a pattern has at most {MAX_PATTERN} characters")));
    }
    let backslashes = value.bytes().rev().take_while(|byte| *byte == b'\\').count();
    if backslashes % 2 == 1 {
        let detail = "a `\\` stands before the character that it makes a plain one; write `\\\\` for itself";
        return Err(("invalid_value", detail.into()));
    }
    Ok(value.to_owned())
}

/// `q=words`.
pub(super) fn search(subject: &Subject<'_>, value: &str) -> Result<Words, Problem> {
    let columns = subject.searched();
    if columns.is_empty() {
        return Err(("not_comparable", format!("{} has no text to search", subject.name)));
    }
    if value.chars().count() > MAX_PATTERN {
        return Err(("too_long", format!("a search has at most {MAX_PATTERN} characters")));
    }
    Ok(Words { columns, query: value.to_owned() })
}

/// Appends `AND …` for every filter.
pub(super) fn push(sql: &mut QueryBuilder<Postgres>, filters: &[Filter], words: Option<&Words>) {
    for filter in filters {
        sql.push(" AND ");
        condition(sql, filter);
    }
    if let Some(wanted) = words {
        sql.push(format!(" AND {} @@ websearch_to_tsquery('simple', ", text_words(&wanted.columns)));
        sql.push_bind(wanted.query.clone()).push(")");
    }
}

fn condition(sql: &mut QueryBuilder<Postgres>, filter: &Filter) {
    let (target, cast) = (&filter.target, filter.target.kind.cast());
    let value = || filter.values.first().cloned().expect("invariant: a filter has a value");
    let sign = match filter.operator {
        Operator::In => {
            sql.push(&target.sql)
                .push(" = ANY(")
                .push_bind(filter.values.clone())
                .push(format!("::{cast}[])"));
            return;
        }
        Operator::Contains => {
            sql.push(&target.column).push(" @> ").push_bind(value()).push("::jsonb");
            return;
        }
        Operator::IsNull => {
            // The null of JSON is no value either.
            let sql = match target.kind {
                Kind::Json => sql.push(format!("NULLIF({}, 'null'::jsonb)", target.sql)),
                _ => sql.push(&target.sql),
            };
            sql.push(if value() == "true" { " IS NULL" } else { " IS NOT NULL" });
            return;
        }
        Operator::Like => {
            sql.push(&target.sql).push(" LIKE ").push_bind(value());
            return;
        }
        // The order of bytes knows the case of ASCII only. This one knows all of Unicode's, each character for itself: the same
        // on every server, and so in memory (`matching/pattern.rs`).
        Operator::Ilike => {
            sql.push(&target.sql).push(" COLLATE \"pg_c_utf8\" ILIKE ").push_bind(value());
            return;
        }
        Operator::Eq => "=",
        // A row without a value is not equal to any.
        Operator::Ne => "IS DISTINCT FROM",
        Operator::Lt => "<",
        Operator::Lte => "<=",
        Operator::Gt => ">",
        Operator::Gte => ">=",
    };
    sql.push(&target.sql).push(format!(" {sign} ")).push_bind(value()).push(format!("::{cast}"));
}
