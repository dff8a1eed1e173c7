use std::path::PathBuf;

use super::*;
use crate::config::{LogFormat, Role};

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

#[test]
fn each_layer_covers_the_one_before() {
    let (folder, path) = file(
        "app = 'shop'\n[kafka]\nbrokers = 'file:1'\ntopic_prefix = 'file'\npartitions = 3\n[log]\nformat = 'json'\n",
    );
    let loaded = from_layers(
        Some(&path),
        variables(&[("WRIT_KAFKA_TOPIC_PREFIX", "1234"), ("WRIT_ROLES", "api, decider"), ("WRIT_DATA", "d")]),
        vec![Override { key: "roles", flag: "--roles", value: list(["projector"].into_iter()) }],
    )
    .unwrap();
    let config = &loaded.config;
    assert_eq!(config.app, "shop");
    assert_eq!(config.kafka.brokers, "file:1");
    assert_eq!(config.kafka.topic_prefix, "1234", "text stays text");
    assert_eq!(config.kafka.partitions, 3);
    assert_eq!(config.kafka.replication, 1);
    assert_eq!(config.roles, [Role::Projector]);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.models, folder.path().join("models"), "relative to writ.toml");
    assert_eq!(config.data, PathBuf::from("d"), "relative to the current folder");

    assert_eq!(loaded.origin("roles"), "--roles");
    assert_eq!(loaded.origin("kafka.topic_prefix"), "WRIT_KAFKA_TOPIC_PREFIX");
    assert_eq!(loaded.origin("kafka.partitions"), path.display().to_string());
    assert_eq!(loaded.origin("kafka.replication"), "default");
}

#[test]
fn a_variable_reaches_the_keys_of_a_table_within_a_section() {
    let pairs =
        [("WRIT_HTTP_LIMITS_ADDRESS_PER_MINUTE", "7"), ("WRIT_HTTP_LIMITS_SIGN_IN_ACCOUNT_BURST", "8")];
    let config = from_layers(None, variables(&pairs), vec![]).unwrap().config;
    assert_eq!(config.http.limits.address.per_minute, 7);
    assert_eq!(config.http.limits.sign_in_account.burst, 8);
}

#[test]
fn every_key_has_a_line() {
    let loaded =
        from_layers(None, variables(&[("WRIT_POSTGRES_URL", "postgres://u:hunter2@db/x")]), vec![]).unwrap();
    let lines = crate::config::show::lines(&loaded.settings);
    assert!(lines.contains("postgres.url = \"postgres://u:***@db/x\""), "{lines}");
    assert!(lines.contains("# WRIT_POSTGRES_URL\n"), "{lines}");
    assert!(!lines.contains("hunter2"), "{lines}");
    for key in ["app", "roles", "http.listen", "kafka.brokers", "registry.url", "redis.url", "log.level"] {
        assert!(lines.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key} in {lines}");
    }
    assert!(lines.contains("roles = [\"api\", \"decider\", \"projector\", \"reactions\"]"), "{lines}");
    // Signed and unsigned.
    assert!(lines.contains("kafka.partitions = 24 "), "{lines}");
    assert!(lines.contains("postgres.max_connections = 8 "), "{lines}");
}

#[test]
fn an_unknown_key_is_refused_with_its_place() {
    let (_folder, path) = file("[kafka]\nbroker = 'x:1'\n");
    let Err(Error::UnknownKey { key, origin, hint }) = from_layers(Some(&path), vec![], vec![]) else {
        panic!()
    };
    assert_eq!(key, "kafka.broker");
    assert_eq!(origin, path.display().to_string());
    assert!(hint.contains("kafka.brokers"), "{hint}");

    let result = from_layers(None, variables(&[("WRIT_KAFKA_TOPIC_PREFX", "x")]), vec![]);
    let Err(Error::UnknownKey { origin, hint, .. }) = result else { panic!() };
    assert_eq!(origin, "the variable WRIT_KAFKA_TOPIC_PREFX");
    assert!(hint.contains("WRIT_KAFKA_TOPIC_PREFIX"), "{hint}");
}

#[test]
fn a_wrong_value_is_refused_with_its_place() {
    let invalid = |text: &str, pairs: &[(&str, &str)]| {
        let (_folder, path) = file(text);
        match from_layers(Some(&path), variables(pairs), vec![]) {
            Err(Error::Invalid { key, origin, .. }) => (key, origin.rsplit('/').next().unwrap().to_owned()),
            other => panic!("{other:?}"),
        }
    };
    let from_file = |key: &str| (key.to_owned(), FILE_NAME.to_owned());
    assert_eq!(invalid("[kafka]\npartitions = 'many'", &[]), from_file("kafka.partitions"));
    assert_eq!(invalid("[kafka]\npartitions = 0", &[]), from_file("kafka.partitions"));
    assert_eq!(invalid("kafka = 1", &[]), from_file("kafka"));
    assert_eq!(invalid("roles = ['apii']", &[]).1, FILE_NAME);
    assert_eq!(invalid("app = 'my-shop'", &[]), from_file("app"));
    assert_eq!(invalid("[postgres]\nurl = 'mysql://x'", &[]), from_file("postgres.url"));
    let (key, origin) = invalid("", &[("WRIT_KAFKA_PARTITIONS", "many")]);
    assert_eq!((key.as_str(), origin.as_str()), ("kafka.partitions", "the variable WRIT_KAFKA_PARTITIONS"));
}

#[test]
fn a_file_that_is_no_toml_is_refused() {
    let (_folder, path) = file("app = ");
    assert!(matches!(from_layers(Some(&path), vec![], vec![]), Err(Error::Malformed { .. })));
}

#[test]
fn a_table_with_a_free_name_takes_keys_from_the_file_and_from_variables() {
    let (_folder, path) =
        file("[identity.oidc.corp]\nissuer = 'https://id.example'\nclient_id = 'writ'\nscopes = ['email']\n");
    let pairs = [
        ("WRIT_IDENTITY_OIDC_CORP_CLIENT_SECRET", "hunter2"),
        ("WRIT_IDENTITY_OIDC_MY_IDP_ISSUER", "https://my.example"),
        ("WRIT_IDENTITY_OIDC_MY_IDP_CLIENT_ID", "w"),
        ("WRIT_IDENTITY_OIDC_MY_IDP_CREATE_ACCOUNTS", "true"),
        ("WRIT_IDENTITY_TRUSTED_CORP_ISSUER", "https://id.example"),
        ("WRIT_IDENTITY_TRUSTED_CORP_AUDIENCE", "shop"),
        ("WRIT_IDENTITY_TRUSTED_CORP_ALGORITHMS", "RS256, EdDSA"),
    ];
    let loaded = from_layers(Some(&path), variables(&pairs), vec![]).unwrap();
    let identity = &loaded.config.identity;
    let corp = &identity.oidc["corp"];
    assert_eq!((corp.client_id.as_str(), corp.client_secret.as_str()), ("writ", "hunter2"));
    assert_eq!(corp.scopes, ["email"]);
    assert!(!corp.create_accounts);
    assert!(identity.oidc["my_idp"].create_accounts);
    assert_eq!(identity.oidc["my_idp"].scopes, ["profile", "email"]);
    assert_eq!(identity.trusted["corp"].algorithms.len(), 2);

    let lines = crate::config::show::lines(&loaded.settings);
    assert!(lines.contains("identity.oidc.corp.client_secret = \"***\""), "{lines}");
    assert!(!lines.contains("hunter2"), "{lines}");
    assert!(lines.contains("identity.oidc.my_idp.link_by_email = false"), "{lines}");
    assert_eq!(loaded.origin("identity.oidc.my_idp.link_by_email"), "default");
    assert_eq!(loaded.origin("identity.oidc.corp.client_secret"), "WRIT_IDENTITY_OIDC_CORP_CLIENT_SECRET");
}

#[test]
fn a_table_with_a_free_name_is_checked() {
    let oidc = "issuer = 'https://id.example'\nclient_id = 'writ'\n";
    let trusted = "issuer = 'https://id.example'\naudience = 'shop'\n";
    let cases = [
        (format!("[identity.oidc.a]\n{oidc}colour = 1\n"), "identity.oidc.a.colour"),
        (format!("[identity.oidc.A]\n{oidc}"), "identity.oidc.A"),
        (
            "[identity.oidc.a]\nissuer = 'http://id.example'\nclient_id = 'x'\n".into(),
            "identity.oidc.a.issuer",
        ),
        ("[identity.oidc.a]\nissuer = 'https://id.example'\n".into(), "identity.oidc.a.client_id"),
        (
            format!("[identity.trusted.a]\n{trusted}algorithms = ['HS256']\n"),
            "identity.trusted.a.algorithms.0",
        ),
        (
            format!("[identity.trusted.a]\n{trusted}algorithms = ['none']\n"),
            "identity.trusted.a.algorithms.0",
        ),
        (format!("[identity.trusted.a]\n{trusted}algorithms = []\n"), "identity.trusted.a.algorithms"),
        ("[identity.trusted.a]\nissuer = 'https://id.example'\n".into(), "identity.trusted.a.audience"),
        (format!("[identity.trusted.a]\n{trusted}roles = ['staff']\n"), "identity.trusted.a.roles"),
        (
            format!("[identity.trusted.a]\n{trusted}roles_claim = 'groups'\n"),
            "identity.trusted.a.roles_claim",
        ),
        (
            format!("[identity.trusted.a]\n{trusted}leeway_seconds = 900\n"),
            "identity.trusted.a.leeway_seconds",
        ),
        (
            format!("[identity]\nurl = 'https://id.example'\n[identity.trusted.a]\n{trusted}"),
            "identity.trusted.a.issuer",
        ),
        (
            format!("[identity.trusted.a]\n{trusted}[identity.trusted.b]\n{trusted}"),
            "identity.trusted.a.issuer",
        ),
        (
            format!("[identity.oidc.a]\n{}[identity.trusted.a]\n{trusted}", oidc.replace("'writ'", "'shop'")),
            "identity.trusted.a.audience",
        ),
    ];
    for (text, wanted) in cases {
        let (_folder, path) = file(&text);
        match from_layers(Some(&path), vec![], vec![]) {
            Err(Error::Invalid { key, .. } | Error::UnknownKey { key, .. }) => {
                assert_eq!(key, wanted, "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    let stray = variables(&[("WRIT_IDENTITY_OIDC_CORP_COLOUR", "red")]);
    assert!(matches!(from_layers(None, stray, vec![]), Err(Error::UnknownKey { .. })));
}
