use indexmap::IndexMap;
use proptest::prelude::*;

use super::*;
use crate::testing::{field, fields, integer, text};

fn columns() -> IndexMap<String, Field> {
    fields([field("day", text()), field("orders", integer())])
}

fn read_for_sums(sql: &str) -> Result<Cut, Vec<Fault>> {
    let (columns, key) = (columns(), ["day".to_owned()]);
    read(sql, &Target { table: Some("sums"), columns: &columns, key: &key, broken: false })
}

/// The pieces with the parameters between them.
fn cut_of(sql: &str) -> String {
    let cut = read_for_sums(sql).unwrap_or_else(|faults| panic!("{sql}: {}", faults[0].message));
    let mut text = String::new();
    let mut pieces = cut.pieces.iter();
    text.push_str(pieces.next().unwrap());
    for (piece, parameter) in pieces.zip(&cut.parameters) {
        let of_event = if parameter.of_event { "event " } else { "" };
        text.push_str(&format!("<{of_event}{}>{piece}", parameter.name));
    }
    text
}

#[test]
fn parameters_are_found_where_they_are() {
    for (sql, cut) in [
        ("DELETE FROM sums WHERE day = :day", "DELETE FROM sums WHERE day = <day>"),
        ("UPDATE sums SET orders=:a+:b,day=(:c)", "UPDATE sums SET orders=<a>+<b>,day=(<c>)"),
        ("UPDATE sums SET day=:event.time::text", "UPDATE sums SET day=<event time>::text"),
        ("UPDATE sums SET day=:event", "UPDATE sums SET day=<event>"),
        ("UPDATE sums SET day=:event->>'x'", "UPDATE sums SET day=<event>->>'x'"),
        ("UPDATE sums SET day=:a::date::text", "UPDATE sums SET day=<a>::date::text"),
        ("UPDATE sums SET day=lower(:é) /* :x */", "UPDATE sums SET day=lower(<é>)"),
        (
            "UPDATE sums SET day=':a' || \":b\" || $$:c$$ || $q$:d$q$",
            "UPDATE sums SET day=':a' || \":b\" || $$:c$$ || $q$:d$q$",
        ),
        ("UPDATE sums SET day=E'\\':a' || 'x'':b' || :c", "UPDATE sums SET day=E'\\':a' || 'x'':b' || <c>"),
        ("UPDATE sums SET /* :a /* :b */ :c */ day=:d", "UPDATE sums SET /* :a /* :b */ :c */ day=<d>"),
        ("UPDATE sums -- :a\nSET day=:b", "UPDATE sums -- :a\nSET day=<b>"),
        ("UPDATE sums SET orders=(ARRAY[1])[:a]", "UPDATE sums SET orders=(ARRAY[1])[<a>]"),
        ("UPDATE sums\r\nSET day=:a ;\n", "UPDATE sums\r\nSET day=<a>"),
        (
            "UPDATE sums SET day = make_interval(secs => :a)::text",
            "UPDATE sums SET day = make_interval(secs => <a>)::text",
        ),
    ] {
        assert_eq!(cut_of(sql), cut);
    }
}

/// What PostgreSQL takes and the check doesn't. When the library learns one of them, take it out of `docs/models.md`.
#[test]
fn what_cannot_be_read_says_the_way_out() {
    for sql in [
        "INSERT INTO sums SELECT * FROM ROWS FROM (generate_series(1, 2), generate_series(1, 3)) AS x (a, b)",
        "UPDATE sums SET tags[1] = 'a'",
        "INSERT INTO sums (day) VALUES (xmlelement(name foo)::text)",
        "INSERT INTO sums (day) VALUES ('a'\n'b')",
        "INSERT INTO sums SELECT (jsonb_each(:a)).*",
    ] {
        let faults = read_for_sums(sql).err().expect("the check can't read it");
        assert!(faults[0].message.starts_with("the SQL can't be read here: "), "{}", faults[0].message);
        assert!(sql.get(faults[0].span.clone()).is_some());
    }
}

#[test]
fn a_deep_statement_exhausts_nothing() {
    let chain =
        |part: &str| format!("UPDATE sums SET orders = 1{}", part.repeat((LONGEST - 30) / part.len()));
    for part in ["+1", "::int", " IS NULL", " ISNULL", "||1", "[1]", ".a"] {
        let _ = read_for_sums(&chain(part));
    }
    for open in ["(", "-", "NOT ", "CASE WHEN ", "(SELECT ", "ARRAY[", "f(", "/*"] {
        let sql = format!("UPDATE sums SET orders = {}", open.repeat((LONGEST - 30) / open.len()));
        assert!(read_for_sums(&sql).is_err(), "{open}");
    }
    let unions = format!("INSERT INTO sums (day) SELECT 'a'{}", " UNION SELECT 'a'".repeat(1000));
    assert!(read_for_sums(&unions).is_ok());
    assert!(read_for_sums(&"x".repeat(LONGEST + 1)).is_err());
}

fn sql() -> impl Strategy<Value = String> {
    let word = proptest::sample::select(vec![
        "INSERT",
        "INTO",
        "sums",
        "(",
        ")",
        "day",
        "orders",
        ",",
        "VALUES",
        "SELECT",
        "FROM",
        "WHERE",
        "UPDATE",
        "SET",
        "=",
        "DELETE",
        "MERGE",
        "USING",
        "ON",
        "CONFLICT",
        "DO",
        "NOTHING",
        "excluded",
        ".",
        "WITH",
        "x",
        "AS",
        "UNION",
        "ALL",
        "RETURNING",
        "*",
        ":day",
        ":event",
        ":event.time",
        "::",
        "text",
        "'a'",
        "'",
        "\"",
        "$$",
        "$1",
        "--",
        "/*",
        "*/",
        "\n",
        ";",
        "[",
        "]",
        ":",
        "now()",
        "E'\\'",
        "INTERVAL",
        "CAST",
        "é",
        "1.5e",
        "WHEN",
        "MATCHED",
        "THEN",
        "TABLE",
        "LATERAL",
        "jsonb_array_elements",
        "ROWS",
        "#>>",
        "@>",
        "?|",
        "->",
        "U&'",
        "\\",
        "{",
        "}",
        "%",
        "ARRAY",
        "OVER",
        "GROUP BY",
    ]);
    let parts = proptest::collection::vec((word, proptest::bool::weighted(0.8)), 0..40);
    parts.prop_map(|parts| {
        parts.into_iter().map(|(word, space)| format!("{word}{}", if space { " " } else { "" })).collect()
    })
}

fn judge(text: &str) -> Result<(), TestCaseError> {
    match read_for_sums(text) {
        Ok(cut) => {
            prop_assert_eq!(cut.pieces.len(), cut.parameters.len() + 1);
            // Nothing is lost but what stands behind the statement.
            let mut rest = text;
            for (index, piece) in cut.pieces.iter().enumerate() {
                prop_assert!(rest.starts_with(piece.as_str()));
                rest = &rest[piece.len()..];
                if let Some(parameter) = cut.parameters.get(index) {
                    let length = parameter.span.len();
                    prop_assert!(rest[..length].starts_with(':'));
                    rest = &rest[length..];
                }
            }
        }
        Err(faults) => {
            prop_assert!(!faults.is_empty());
            for fault in faults {
                prop_assert!(text.get(fault.span.clone()).is_some(), "{:?} {}", fault.span, fault.message);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_sql_makes_the_check_panic(text in sql()) {
        judge(&text)?;
    }

    #[test]
    fn no_text_makes_the_check_panic(text in any::<String>()) {
        judge(&text)?;
    }
}
