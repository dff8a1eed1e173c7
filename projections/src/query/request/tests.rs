use std::sync::LazyLock;

use writ_model::access::Permission;
use writ_model::decide::Actor;
use writ_model::diagnostic::Source;
use writ_model::{Model, Models, Timestamp};

use super::*;
use crate::query::filter::Operator;
use crate::reader::Reader;

const ORDER: &str = "
model: order
fields:
  number: { type: text, key: true }
  status: { type: enum, values: [placed, shipped] }
  total: { type: decimal, precision: 14, scale: 2 }
  paid: { type: boolean }
  parent: { type: ref, to: order, optional: true }
  lines: { type: list, of: { n: { type: integer }, of: { type: ref, to: order } } }
  ship_to:
    type: object
    fields: { city: { type: text }, days: { type: integer }, within: { type: duration }, tags: { type: list, of: { type: text } } }
  extra: { type: json }
crud: true
";

static MODELS: LazyLock<Models> = LazyLock::new(|| {
    let source = Source { name: "a.yaml".into(), text: ORDER.into() };
    Models::check("test", &[source]).unwrap()
});
static EVERYTHING: LazyLock<Actor> = LazyLock::new(|| Actor {
    permissions: [Permission::Everything].into_iter().collect(),
    ..Actor::default()
});

fn parse(params: &[(&str, &str)]) -> Result<ListRequest<'static>, Vec<FieldError>> {
    let order: &Model = MODELS.get("order").unwrap();
    let params: Vec<(String, String)> =
        params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let reader = Reader { actor: &EVERYTHING, now: Timestamp(0) };
    ListRequest::parse(reader.asks((&*MODELS, order)), &params)
}

fn fault(name: &str, value: &str) -> (String, String) {
    let mut errors = parse(&[(name, value)]).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    let error = errors.remove(0);
    (error.pointer, format!("{}: {}", error.code, error.detail))
}

#[test]
fn only_what_has_an_order_is_offered_for_sorting() {
    let (_, said) = fault("sort", "zzzz");
    assert_eq!(
        said,
        "unknown_parameter: there is no field `zzzz` to sort by; there are id, version, created_at, updated_at, number, \
         status, total, paid, parent"
    );
}

#[test]
fn filters_are_typed() {
    let request =
        parse(&[("total[gte]", "100"), ("status", "placed"), ("status[in]", "placed,shipped")]).unwrap();
    let filters: Vec<(&str, Operator, Vec<&str>)> = request
        .filters
        .iter()
        .map(|filter| {
            (filter.target.name.as_str(), filter.operator, filter.values.iter().map(String::as_str).collect())
        })
        .collect();
    assert_eq!(
        filters,
        [
            ("total", Operator::Gte, vec!["100.00"]),
            ("status", Operator::Eq, vec!["placed"]),
            ("status", Operator::In, vec!["placed", "shipped"]),
        ]
    );
}

#[test]
fn a_reference_takes_the_natural_key() {
    let request = parse(&[("parent", "A-1")]).unwrap();
    assert_eq!(request.filters[0].values[0].len(), 36);
}

#[test]
fn the_order_ends_with_the_id() {
    let order = |text: &str| -> Vec<(String, bool)> {
        let request = parse(&[("sort", text)]).unwrap();
        request.sort.iter().map(|key| (key.target.name.clone(), key.descending)).collect()
    };
    assert_eq!(
        order("-total,number"),
        [("total".into(), true), ("number".into(), false), ("id".into(), false)]
    );
    assert_eq!(order("-total"), [("total".into(), true), ("id".into(), true)], "one index serves both");
    assert_eq!(order("ship_to.city")[0].0, "ship_to.city");
    assert_eq!(order("-id"), [("id".into(), true)]);
}

#[test]
fn mistakes_are_told_with_what_would_be_right() {
    let (pointer, detail) = fault("totl[gte]", "1");
    assert_eq!(pointer, "/totl[gte]");
    assert!(detail.contains("did you mean `total`?"), "{detail}");
    for (name, value, part) in [
        ("limt", "1", "did you mean `limit`?"),
        ("total[over]", "1", "there are eq, ne, lt"),
        ("total", "cheap", "invalid_value"),
        ("lines", "1", "ask for an item with `lines[contains]`"),
        ("lines.n", "1", "ask with `lines.n[contains]`"),
        ("lines[contains]", "1", "`lines.n[contains]=…`"),
        ("lines.n[contains]", "x", "no whole number"),
        ("lines.n[is_null]", "true", "there may be several"),
        ("lines.m[contains]", "1", "did you mean `n`?"),
        ("ship_to", "1", "such as `ship_to.city`"),
        ("ship_to.town", "1", "there are city, days, within, tags"),
        ("ship_to.city.x", "1", "of type text and has no parts"),
        ("ship_to.within[lt]", "PT1H", "has no order"),
        ("ship_to.days", "x", "no whole number"),
        ("extra", "1", "`extra[contains]`"),
        ("extra.a", "1", "`extra[contains]`"),
        ("extra[contains]", "{", "not JSON"),
        ("extra[contains]", "\"\\u0000\"", "U+0000"),
        ("number[contains]", "x", "`number[like]"),
        ("total[contains]", "1", "is no list"),
        ("total[like]", "1%", "patterns are for texts"),
        ("number[like]", "a\\", "write `\\\\` for itself"),
        ("number[is_null]", "yes", "neither `true` nor `false`"),
        ("count", "5", "neither `true` nor `false`"),
        ("fields", "number,nothing", "there is no field `nothing` to show"),
        ("fields", "number,number", "stands twice"),
        ("expand", "total", "no reference at the top; there are parent"),
        ("expand", "lines.of", "no reference at the top"),
        ("expand", "parent,parent", "stands twice"),
        ("format", "xml", "there are csv, ndjson"),
        ("sort", "lines.n", "is in a list"),
        ("sort", "ship_to.within", "a duration within an object"),
        ("paid[gt]", "true", "has no order"),
        ("parent[lt]", "A-1", "has no order"),
        ("sort", "lines", "has no order"),
        ("sort", "", "there is no field"),
        ("sort", "total,-total", "stands twice"),
        ("limit", "0", "from 1 to 1000"),
        ("limit", "1001", "from 1 to 1000"),
        ("after", "%%%", "no cursor"),
        ("number", "a\0b", "nul_character"),
    ] {
        let (_, detail) = fault(name, value);
        assert!(detail.contains(part), "{name}={value}: {detail}");
    }
    assert_eq!(parse(&[("a", "1"), ("b", "2"), ("limit", "x")]).unwrap_err().len(), 3, "all at once");
}

#[test]
fn parts_are_found_and_typed() {
    let request = parse(&[
        ("ship_to.days[gte]", "3"),
        ("lines.of[contains]", "A-1"),
        ("ship_to.tags[contains]", "red"),
        ("extra[contains]", "{\"a\": [1]}"),
    ])
    .unwrap();
    let id = parse(&[("parent", "A-1")]).unwrap().filters[0].values[0].clone();
    let values: Vec<&str> = request.filters.iter().map(|filter| filter.values[0].as_str()).collect();
    let of = format!("[{{\"of\":\"{id}\"}}]");
    assert_eq!(values, ["3", &of, "{\"tags\":[\"red\"]}", "{\"a\":[1]}"]);
}

#[test]
fn an_export_has_no_pages() {
    let errors = parse(&[("format", "csv"), ("limit", "5"), ("count", "true")]).unwrap_err();
    let pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(pointers, ["/limit", "/count"]);
    assert_eq!(parse(&[("format", "ndjson")]).unwrap().format, Some(Format::Ndjson));
    assert!(parse(&[("limit", "5"), ("limit", "6")]).unwrap_err()[0].detail.contains("given twice"));
}

#[test]
fn a_cursor_is_of_one_query() {
    let request = parse(&[("sort", "-total")]).unwrap();
    let id = "018f4e5e-7a3c-7cc0-9d5a-3a3b6a0f7c11";
    let cursor = cursor::encode(&request, &format!("[\"12.50\",\"{id}\"]"));
    let next = parse(&[("sort", "-total"), ("after", &cursor), ("limit", "3")]).unwrap();
    assert_eq!(next.after, Some(vec![Some("12.50".into()), Some(id.into())]));
    for other in [vec![("sort", "total")], vec![("sort", "-total"), ("paid", "true")]] {
        let params: Vec<(&str, &str)> = other.into_iter().chain([("after", cursor.as_str())]).collect();
        assert!(parse(&params).unwrap_err()[0].detail.contains("another query"));
    }
    let forged = cursor::encode(&request, &format!("[\"1; DROP\",\"{id}\"]"));
    assert!(parse(&[("sort", "-total"), ("after", &forged)]).unwrap_err()[0].detail.contains("no cursor"));
}
