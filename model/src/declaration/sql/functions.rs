//! Functions whose outcome depends on more than their arguments. A rebuild runs at another time, in another session.

/// What the hint says.
const TIME: &str = "take the event's own time, `:event.time`: a rebuild must give the same rows";
const RANDOM: &str = "derive it from the event, such as `:event.id`: a rebuild must give the same rows";
const SESSION: &str = "take who sent the command, `:event.actor`: a rebuild must give the same rows";
const SERVER: &str = "use the event and the projection's table only: a rebuild must give the same rows";

const BY_NAME: &[(&[&str], &str)] = &[
    (
        &[
            "now",
            "transaction_timestamp",
            "statement_timestamp",
            "clock_timestamp",
            "timeofday",
            "current_timestamp",
            "current_date",
            "current_time",
            "localtime",
            "localtimestamp",
        ],
        TIME,
    ),
    (
        &["random", "random_normal", "setseed", "gen_random_uuid", "gen_random_bytes", "uuidv4", "uuidv7"],
        RANDOM,
    ),
    (&["nextval", "currval", "lastval", "setval"], RANDOM),
    (&["current_user", "session_user", "system_user", "user", "current_role", "current_catalog"], SESSION),
    (
        &[
            "current_schema",
            "current_schemas",
            "current_database",
            "current_query",
            "current_setting",
            "set_config",
            "version",
            "row_security_active",
            "ts_stat",
            "icu_unicode_version",
            "unicode_version",
        ],
        SERVER,
    ),
];

/// What the names of whole families begin with.
const FAMILIES: &[(&str, &str)] = &[
    ("uuid_generate_", RANDOM),
    ("pg_", SERVER),
    ("lo_", SERVER),
    ("txid_", SERVER),
    ("inet_", SERVER),
    ("dblink", SERVER),
    ("has_", SERVER),
    ("table_to_xml", SERVER),
    ("query_to_xml", SERVER),
    ("cursor_to_xml", SERVER),
    ("schema_to_xml", SERVER),
    ("database_to_xml", SERVER),
];

/// `pg_…` that only look at their arguments.
const PURE: &[&str] =
    &["pg_typeof", "pg_column_size", "pg_size_pretty", "pg_size_bytes", "pg_input_is_valid"];

/// Why the function called `name` (in lower case) with so many arguments can't be used: what would be right.
pub(super) fn refused(name: &str, arguments: usize) -> Option<&'static str> {
    if PURE.contains(&name) {
        return None;
    }
    // With one argument it counts to today.
    if name == "age" && arguments == 1 {
        return Some(TIME);
    }
    let by_name = BY_NAME.iter().find(|(names, _)| names.contains(&name)).map(|(_, hint)| *hint);
    by_name.or_else(|| FAMILIES.iter().find(|(family, _)| name.starts_with(family)).map(|(_, hint)| *hint))
}

/// Why a text can't be cast to a type: these words stand for the time at which it happens.
pub(super) fn refused_text(text: &str) -> Option<&'static str> {
    let text = text.trim().to_ascii_lowercase();
    ["now", "today", "tomorrow", "yesterday"].contains(&text.as_str()).then_some(TIME)
}
