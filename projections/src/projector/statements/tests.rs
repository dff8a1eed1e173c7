use writ_model::Models;
use writ_model::diagnostic::Source;

use super::*;

fn models(text: &str) -> Models {
    let source = Source { name: "a.yaml".into(), text: text.into() };
    Models::check("test", &[source]).unwrap_or_else(|findings| panic!("{findings:#?}"))
}

#[test]
fn parameters_become_typed_places() {
    let models = models(
        "
model: order
fields:
  event: { type: json }
  tags: { type: list, of: text }
  total: { type: decimal, precision: 14, scale: 2 }
  took: duration
commands:
  place: { creates: true, input: [event, tags, total, took], emits: placed }
---
projection: sums
fields: { day: { type: text, key: true }, total: integer }
on:
  order.placed: |
    INSERT INTO sums (day, total) -- :total
    VALUES (:tags->>0 || ':took' || (:event->>'x'), :total * :took)
    ON CONFLICT (day) DO UPDATE SET total = sums.total + :total + :event.version
",
    );
    let statement = &models.projections["sums"].statements[0];
    let rendered = render(statement, &models.get("order").unwrap().events["placed"]);
    assert_eq!(
        rendered.sql.lines().collect::<Vec<_>>(),
        [
            "INSERT INTO sums (day, total) -- :total",
            "VALUES (($1::text::jsonb)->>0 || ':took' || (($2::text::jsonb)->>'x'), \
             ($3::text::numeric(14,2)) * ($4::text::bigint))",
            "ON CONFLICT (day) DO UPDATE SET total = sums.total + ($3::text::numeric(14,2)) + ($5::text::bigint)",
        ]
    );
    let names: Vec<String> = rendered.parameters.iter().map(|parameter| format!("{parameter:?}")).collect();
    assert_eq!(
        names,
        ["Field(\"tags\")", "Field(\"event\")", "Field(\"total\")", "Field(\"took\")", "Event(Version)"]
    );
}

#[test]
fn a_schema_is_quoted() {
    let projection = models(
        "model: a\ncrud: true\nfields: { b: text }\n---\nprojection: c\nfields: { d: { type: text, key: true } }\n\
         on: { a.created: DELETE FROM c }\n",
    );
    let statements =
        Statements::new(projection.projections["c"].clone(), &Schema::new("x\"; DROP SCHEMA y; --"));
    assert!(
        statements.settings.starts_with("SET LOCAL search_path TO \"x\"\"; DROP SCHEMA y; --\", pg_temp; ")
    );
}
