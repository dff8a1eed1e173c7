//! The part of the document on lists: of models, and of SQL projections.

use http::StatusCode;
use indexmap::IndexMap;
use serde_json::{Map, Value as Json, json};
use writ_model::declaration::Projection;
use writ_model::{Field, Model, Models, Type, json_schema};
use writ_projections::query::MAX_LIMIT;

use super::operations::{query, success};
use super::problems::Problems;
use super::security::Security;
use super::{Names, pascal, reference};

/// The list of a model.
pub(super) fn of_model(model: &Model) -> Json {
    let mut parameters = filters_of(model);
    parameters.extend(common(&model.fields, &model.search));
    parameters.push(expand(model));
    parameters.push(reference("parameters", "Position"));
    operation(&model.name, &model.name, &Names(model).list(), &parameters)
}

/// The filters of a model: on its fields, and on what every aggregate has.
pub(super) fn filters_of(model: &Model) -> Vec<Json> {
    let time = || json!({ "type": "string", "format": "date-time" });
    let fixed = [
        ("id", json!({ "type": "string" })),
        ("version", json!({ "type": "integer" })),
        ("created_at", time()),
        ("updated_at", time()),
    ];
    let mut parameters = filters(&model.fields);
    parameters.extend(fixed.map(|(name, schema)| comparison(name, false, false, schema)));
    parameters
}

/// The references of a model that can be expanded, as a parameter.
pub(super) fn expand(model: &Model) -> Json {
    let references: Vec<&str> = model
        .fields
        .values()
        .filter(|field| matches!(field.ty, Type::Ref { .. }))
        .map(|field| field.name.as_str())
        .collect();
    let which = if references.is_empty() { "there are none".to_owned() } else { references.join(", ") };
    parameter(
        "expand",
        &format!(
            "References, separated by commas, whose rows are shown under `expanded`, null if there is none: {which}."
        ),
        json!({ "type": "string" }),
    )
}

/// What of a row is shown, as a parameter.
pub(super) fn fields() -> Json {
    parameter(
        "fields",
        "Fields separated by commas, and parts of them (`ship_to.city`), that are shown instead of all.",
        json!({ "type": "string" }),
    )
}

/// The addresses and schemas of projections.
pub(super) fn add_projections(
    models: &Models,
    paths: &mut Map<String, Json>,
    schemas: &mut Map<String, Json>,
) {
    paths.insert("/v1/projections".to_owned(), json!({ "get": states() }));
    schemas.insert("Count".to_owned(), count());
    schemas.insert("Projection".to_owned(), state());
    for projection in models.projections.values() {
        let (row, all) = (row_of(projection), format!("Projections.{}List", pascal(&projection.name)));
        schemas.insert(row.clone(), row_schema(projection));
        schemas.insert(all.clone(), list(&reference("schemas", &row)));
        paths.insert(
            format!("/v1/projections/{}", projection.name),
            json!({ "get": of_projection(projection, &all) }),
        );
    }
}

/// The name of the schema of a projection's row.
pub(crate) fn row_of(projection: &Projection) -> String {
    // No model's schema has such a name: a point stands only before the name of a command or an event.
    format!("Projections.{}Row", pascal(&projection.name))
}

/// The schema of a projection's row.
pub(crate) fn row_schema(projection: &Projection) -> Json {
    let mut row = json_schema::of_row(projection);
    if let Some(doc) = &projection.doc {
        row["description"] = json!(doc);
    }
    row
}

fn of_projection(projection: &Projection, schema: &str) -> Json {
    let mut parameters = filters(&projection.fields);
    parameters.extend(common(&projection.fields, &[]));
    parameters.push(reference("parameters", "Position"));
    operation(&projection.name, "projections", schema, &parameters)
}

fn operation(name: &str, tag: &str, schema: &str, parameters: &[Json]) -> Json {
    let mut page = success(
        "The page. With `format`, or such an `Accept`: all rows, streamed. A body that breaks off is not complete.",
        &[],
        &reference("schemas", schema),
    );
    page["content"]["text/csv"] = json!({ "schema": { "type": "string" } });
    page["content"]["application/x-ndjson"] = json!({ "schema": { "type": "object" } });
    json!({
        "operationId": format!("list_{name}"),
        "tags": [tag],
        "summary": format!("A page of {name} items"),
        "parameters": parameters,
        "security": Security::ByRules { changes: false }.to_json(),
        "responses": query().responses([("200", page)]),
    })
}

/// The schema of a page.
pub(super) fn list(item: &Json) -> Json {
    json!({
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": { "type": "array", "items": item },
            "next": { "type": ["string", "null"], "description": "Goes into `after` for the next page; null on the last." },
            "count": reference("schemas", "Count")
        }
    })
}

fn count() -> Json {
    json!({
        "type": "object",
        "description": "With `count=true`: how many rows all pages have.",
        "required": ["value", "exact"],
        "properties": {
            "value": { "type": "integer", "format": "int64", "minimum": 0 },
            "exact": { "type": "boolean", "description": "Counted; from 10,000 on it is PostgreSQL's estimate, or 10,000 for who may read only some of the rows." }
        }
    })
}

fn states() -> Json {
    let schema = json!({
        "type": "object",
        "required": ["items"],
        "properties": { "items": { "type": "array", "items": reference("schemas", "Projection") } }
    });
    let problems = Problems::of_query().and(&[StatusCode::BAD_REQUEST]);
    json!({
        "operationId": "list_projections",
        "tags": ["projections"],
        "summary": "What you may read of models, the event log and SQL projections: which follow the events, are being built, or have stopped",
        "security": Security::ByRules { changes: false }.to_json(),
        "responses": problems.responses([("200", success("All of which you may read something.", &[], &schema))]),
    })
}

fn state() -> Json {
    let text = json!({ "type": ["string", "null"] });
    let number = json!({ "type": ["integer", "null"], "format": "int64" });
    json!({
        "type": "object",
        "required": ["name", "kind", "state", "generation"],
        "properties": {
            "name": { "type": "string" },
            "kind": { "type": "string", "enum": ["model", "event_log", "sql"] },
            "state": { "type": "string", "enum": ["live", "stopped", "building"] },
            "generation": { "type": "integer", "description": "Raised by every rebuild." },
            "error": text, "error_at": text, "changed_at": text,
            "building": {
                "type": ["object", "null"],
                "description": "The generation that is being built beside it.",
                "properties": {
                    "generation": { "type": "integer" }, "done": number, "total": number, "started_at": text
                }
            }
        }
    })
}

/// Order, page and form.
fn common(fields_of: &IndexMap<String, Field>, search: &[String]) -> Vec<Json> {
    let text = || json!({ "type": "string" });
    let is_text =
        |field: &&Field| matches!(field.ty, Type::Text { .. } | Type::Email | Type::Url | Type::Enum(_));
    let searched: Vec<&str> = match search {
        [] => fields_of.values().filter(is_text).map(|field| field.name.as_str()).collect(),
        declared => declared.iter().map(String::as_str).collect(),
    };
    let mut parameters = vec![
        parameter("sort", "Field names separated by commas, `-` before a name for descending.", text()),
        parameter(
            "limit",
            "Most items of the page.",
            json!({ "type": "integer", "minimum": 1, "maximum": MAX_LIMIT }),
        ),
        parameter("after", "The `next` of the page before, with the same filters and sort.", text()),
        parameter(
            "count",
            "Whether to say how many rows all pages have.",
            json!({ "type": "boolean", "default": false }),
        ),
        fields(),
        parameter(
            "format",
            "All rows as CSV or NDJSON instead of a page.",
            json!({ "type": "string", "enum": ["csv", "ndjson"] }),
        ),
    ];
    if !searched.is_empty() {
        let what = format!(
            "Words to search in {}: all of them, `or` between two for any, `-` before one for none, quotes for a phrase.",
            searched.join(", ")
        );
        parameters.push(parameter("q", &what, text()));
    }
    parameters
}

/// The filters on fields and their parts.
/// The filters on fields.
pub(super) fn filters(fields: &IndexMap<String, Field>) -> Vec<Json> {
    let mut parameters = Vec::new();
    for field in fields.values() {
        add(&field.name, &field.ty, false, &mut parameters);
    }
    parameters
}

fn add(name: &str, ty: &Type, in_list: bool, parameters: &mut Vec<Json>) {
    let contains = |what: &str| parameter(&format!("{name}[contains]"), what, json!({ "type": "string" }));
    match ty {
        Type::Object(fields) => {
            for field in fields.values() {
                add(&format!("{name}.{}", field.name), &field.ty, in_list, parameters);
            }
        }
        Type::List { of, .. } => match &of.ty {
            Type::Object(_) => add(name, &of.ty, true, parameters),
            _ => parameters.push(contains("The list has this item.")),
        },
        Type::Json => parameters.push(contains("It contains this JSON.")),
        _ if in_list => parameters.push(contains("Some item of the list has this value.")),
        Type::Boolean | Type::Ref { .. } => parameters.push(comparison(name, true, false, value(ty))),
        Type::Text { .. } | Type::Email | Type::Url | Type::Enum(_) => {
            parameters.push(comparison(name, false, true, value(ty)));
        }
        _ => parameters.push(comparison(name, false, false, value(ty))),
    }
}

/// A value that a field is compared with.
fn value(ty: &Type) -> Json {
    match ty {
        Type::Boolean => json!({ "type": "boolean" }),
        Type::Integer { .. } => json!({ "type": "integer", "format": "int64" }),
        Type::Decimal { .. } => json!({ "type": "string", "pattern": "^-?[0-9]{1,9}(\\.[0-9]{1,9})?$" }),
        Type::Timestamp => json!({ "type": "string", "format": "date-time" }),
        Type::Date => json!({ "type": "string", "format": "date" }),
        Type::Duration => json!({ "type": "string", "format": "duration" }),
        Type::Uuid => json!({ "type": "string", "format": "uuid" }),
        Type::Enum(values) => json!({ "type": "string", "enum": values }),
        _ => json!({ "type": "string" }),
    }
}

fn comparison(name: &str, unordered: bool, text: bool, schema: Json) -> Json {
    let order = if unordered { "" } else { ", `[lt]`, `[lte]`, `[gt]`, `[gte]`" };
    let patterns = if text { ", `[like]` and `[ilike]` with `%` and `_`" } else { "" };
    let description = format!(
        "Equal to this value. Also `{name}[ne]`{order}{patterns}, `{name}[is_null]` with `true` or `false`, and `{name}[in]` with a \
         list separated by commas."
    );
    parameter(name, &description, schema)
}

pub(super) fn parameter(name: &str, description: &str, schema: Json) -> Json {
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}
