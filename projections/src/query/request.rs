//! A list request: query-string parameters, typed and checked against the model. Pure.

use writ_model::{FieldError, Model, Type, Value};

use super::cursor;
use crate::tables::{Kind, Table, fnv1a, quote, text};

/// Rows of a page when the caller doesn't say.
const DEFAULT_LIMIT: usize = 50;
/// Most rows of a page.
pub const MAX_LIMIT: usize = 1000;
/// Most values of an `in` list.
const MAX_VALUES: usize = 1000;
/// Most filters, and most fields of a sort: the statement's size is bounded.
const MAX_PARTS: usize = 32;
/// Parameters that are no filters. The model language keeps fields from having these names.
const RESERVED: [&str; 3] = ["sort", "limit", "after"];

/// A list request, typed and checked against its model.
#[derive(Debug, Clone)]
pub struct ListRequest {
    pub(super) filters: Vec<Filter>,
    /// Ends with `id`, so that the order is total.
    pub(super) sort: Vec<SortKey>,
    pub(super) limit: usize,
    /// The sort keys of the row after which the page begins; SQL null as `None`.
    pub(super) after: Option<Vec<Option<String>>>,
    /// Of sort and filters: a cursor belongs to one query.
    pub(super) fingerprint: u64,
}

/// A column that can be filtered and sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// As the caller names it.
    pub(super) name: String,
    /// The column, quoted.
    pub(super) column: String,
    pub(super) kind: Kind,
}

/// How a column is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Eq,
    Ne,
    Lt,
    Lte,
    Gt,
    Gte,
    In,
}

impl Operator {
    const ALL: [(&'static str, Operator); 7] = [
        ("eq", Operator::Eq),
        ("ne", Operator::Ne),
        ("lt", Operator::Lt),
        ("lte", Operator::Lte),
        ("gt", Operator::Gt),
        ("gte", Operator::Gte),
        ("in", Operator::In),
    ];
}

/// One condition. All of a request hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) target: Target,
    pub(super) operator: Operator,
    /// Texts that the cast to the column's type reads. One, but for `in`.
    pub(super) values: Vec<String>,
}

/// One field of the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SortKey {
    pub(super) target: Target,
    pub(super) descending: bool,
}

impl ListRequest {
    /// Reads the query string's parameters. Errors: every fault of every parameter; the pointer names the parameter
    /// (`/total[gte]`).
    pub fn parse(model: &Model, params: &[(String, String)]) -> Result<ListRequest, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut request = ListRequest {
            filters: Vec::new(),
            sort: Vec::new(),
            limit: DEFAULT_LIMIT,
            after: None,
            fingerprint: 0,
        };
        let mut after = None;
        for (name, value) in params {
            let fault = |(code, detail): (&str, String)| FieldError {
                pointer: format!("/{}", clip(name).replace('~', "~0").replace('/', "~1")),
                code: code.to_owned(),
                detail,
            };
            if value.contains('\0') {
                errors.push(fault(("nul_character", "a value can't hold the character U+0000".into())));
                continue;
            }
            let outcome = match name.as_str() {
                "sort" => sort(model, value).map(|keys| request.sort = keys),
                "limit" => limit(value).map(|limit| request.limit = limit),
                "after" => {
                    after = Some((value, fault(("invalid_cursor", String::new()))));
                    Ok(())
                }
                _ if request.filters.len() == MAX_PARTS => {
                    Err(("too_many", format!("a query has at most {MAX_PARTS} filters")))
                }
                _ => filter(model, name, value).map(|filter| request.filters.push(filter)),
            };
            if let Err(problem) = outcome {
                errors.push(fault(problem));
            }
        }
        let id = target(model, "id").expect("invariant: every table has an id");
        if !request.sort.iter().any(|key| key.target == id) {
            request.sort.push(SortKey { target: id, descending: false });
        }
        request.fingerprint = fingerprint(model, &request);
        if let Some((value, fault)) = after.filter(|_| errors.is_empty()) {
            match cursor::decode(&request, value) {
                Ok(values) => request.after = Some(values),
                Err(detail) => errors.push(FieldError { detail: detail.to_owned(), ..fault }),
            }
        }
        if errors.is_empty() { Ok(request) } else { Err(errors) }
    }

    /// The cursor of a row with these sort keys, a JSON array: for the fuzz targets, which can't guess its fingerprint.
    #[doc(hidden)]
    pub fn cursor(&self, values: &str) -> String {
        cursor::encode(self, values)
    }
}

type Problem = (&'static str, String);

fn filter(model: &Model, name: &str, value: &str) -> Result<Filter, Problem> {
    let (field, operator) = match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
        None => (name, "eq"),
        Some(parts) => parts,
    };
    let Some(target) = target(model, field) else {
        return Err(unknown(model, field, "filter by", &RESERVED));
    };
    let Some((_, operator)) = Operator::ALL.iter().find(|(known, _)| *known == operator) else {
        let known = Operator::ALL.map(|(name, _)| name).join(", ");
        return Err((
            "unknown_operator",
            format!("there is no operator `{}`; there are {known}", clip(operator)),
        ));
    };
    if target.kind == Kind::Json {
        let detail = format!(
            "`{field}` is a list, an object or JSON, and these can't be compared; filter by another field"
        );
        return Err(("not_comparable", detail));
    }
    let ordering = matches!(operator, Operator::Lt | Operator::Lte | Operator::Gt | Operator::Gte);
    if ordering && !target.kind.is_ordered() {
        return Err(("not_comparable", format!("`{field}` has no order; compare it with eq, ne or in")));
    }
    let ty = type_of(model, field);
    let read = |text: &str| {
        let value = Value::from_text(&ty, text).map_err(|detail| ("invalid_value", detail))?;
        Ok(self::text(&value).expect("invariant: only scalars are read from text"))
    };
    let values = match operator {
        Operator::In => value.split(',').map(read).collect::<Result<Vec<_>, Problem>>()?,
        _ => vec![read(value)?],
    };
    if values.len() > MAX_VALUES {
        return Err(("too_many", format!("a list has at most {MAX_VALUES} values")));
    }
    Ok(Filter { target, operator: *operator, values })
}

fn sort(model: &Model, text: &str) -> Result<Vec<SortKey>, Problem> {
    let mut keys: Vec<SortKey> = Vec::new();
    for part in text.split(',') {
        let (name, descending) = match part.strip_prefix('-') {
            Some(name) => (name, true),
            None => (part, false),
        };
        let Some(target) = target(model, name) else { return Err(unknown(model, name, "sort by", &[])) };
        if target.kind == Kind::Json {
            return Err((
                "not_comparable",
                format!("`{name}` is a list, an object or JSON, and has no order"),
            ));
        }
        if keys.iter().any(|key| key.target == target) {
            return Err(("repeated", format!("`{name}` stands twice in the order")));
        }
        if keys.len() == MAX_PARTS {
            return Err(("too_many", format!("an order has at most {MAX_PARTS} fields")));
        }
        keys.push(SortKey { target, descending });
    }
    Ok(keys)
}

fn limit(text: &str) -> Result<usize, Problem> {
    match text.parse() {
        Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
        _ => Err(("out_of_range", format!("must be a whole number from 1 to {MAX_LIMIT}"))),
    }
}

/// The column that a name means. The fixed columns come before fields of the same name.
fn target(model: &Model, name: &str) -> Option<Target> {
    let fixed = match name {
        "id" => Some(Kind::Uuid),
        "version" => Some(Kind::Integer),
        "created_at" | "updated_at" => Some(Kind::Timestamp),
        _ => None,
    };
    let (column, kind) = match fixed {
        Some(kind) => (quote(name), kind),
        None => {
            let field = model.fields.get(name)?;
            (quote(&Table::column_name(name)), Kind::of(&field.ty))
        }
    };
    Some(Target { name: name.to_owned(), column, kind })
}

/// The type by which a filter's text is read.
fn type_of(model: &Model, name: &str) -> Type {
    match name {
        "id" => Type::Uuid,
        "version" => Type::Integer { min: None, max: None },
        "created_at" | "updated_at" => Type::Timestamp,
        _ => model.fields.get(name).map_or(Type::Json, |field| field.ty.clone()),
    }
}

/// `others`: what may stand in this place beside a field.
fn unknown(model: &Model, name: &str, verb: &str, others: &[&str]) -> Problem {
    let known = || {
        let fixed = ["id", "version", "created_at", "updated_at"].into_iter();
        let fields = model.fields.values().filter(|field| Kind::of(&field.ty) != Kind::Json);
        fixed.chain(fields.map(|field| field.name.as_str())).chain(others.iter().copied())
    };
    let near = known()
        .map(|candidate| (strsim::damerau_levenshtein(&clip(name), candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance);
    let hint = match near {
        Some((_, candidate)) => format!("did you mean `{candidate}`?"),
        None => format!("there are {}", known().collect::<Vec<_>>().join(", ")),
    };
    ("unknown_parameter", format!("there is no field `{}` to {verb}; {hint}", clip(name)))
}

/// The beginning of a caller's text, for messages.
fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

fn fingerprint(model: &Model, request: &ListRequest) -> u64 {
    let filters = request.filters.iter().map(|filter| {
        serde_json::json!([filter.target.name, format!("{:?}", filter.operator), filter.values])
    });
    let sort = request.sort.iter().map(|key| serde_json::json!([key.target.name, key.descending]));
    let text = serde_json::json!([model.name, filters.collect::<Vec<_>>(), sort.collect::<Vec<_>>()]);
    fnv1a(text.to_string().as_bytes())
}

#[cfg(test)]
mod tests;
