use super::*;

fn refused(text: &str) -> (About, String) {
    let (about, message) = parse(text);
    (about, message.unwrap_err().detail)
}

#[test]
fn a_message_says_what_is_wanted() {
    let FromClient::Subscribe(wanted) = parse(
        r#"{"type":"subscribe","sub":"a","model":"order","filter":{"status":"paid","total[gte]":100,"open":true}}"#,
    )
    .1
    .unwrap() else {
        panic!()
    };
    assert_eq!(
        (wanted.sub.as_str(), wanted.model.as_deref(), wanted.from.as_str()),
        ("a", Some("order"), "now")
    );
    let filter: Vec<(String, String)> =
        wanted.filter.into_iter().map(|(name, given)| (name, given.into())).collect();
    let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(filter, [text("open", "true"), text("status", "paid"), text("total[gte]", "100")]);

    let FromClient::Command(command) =
        parse(r#"{"type":"command","ref":"c","model":"order","command":"pay","id":"1","if_match":3}"#)
            .1
            .unwrap()
    else {
        panic!()
    };
    assert_eq!((command.reference.as_str(), command.if_match), ("c", Some(3)));
    assert_eq!(command.input, serde_json::json!({}));
    assert!(matches!(parse(r#"{"type":"ping"}"#).1, Ok(FromClient::Ping(_))));
}

#[test]
fn what_is_no_message_says_why_and_whom_it_is_for() {
    let (about, detail) = refused(r#"{"type":"subscribe","sub":"a","mode":"order"}"#);
    assert_eq!(about.sub.as_deref(), Some("a"));
    assert!(detail.contains("unknown field `mode`"), "{detail}");
    let (about, detail) = refused(r#"{"type":"command","ref":"c","model":"order"}"#);
    assert_eq!((about.reference.as_deref(), detail.contains("missing field `command`")), (Some("c"), true));
    assert!(refused(r#"{"type":"shout"}"#).1.contains("unknown variant `shout`"));
    assert!(refused(r#"{"sub":"a"}"#).1.contains("`type`"));
    assert!(refused("[]").1.contains("can't be used"));
    assert!(refused("{").1.contains("JSON"));
    assert!(refused(r#"{"type":"unsubscribe","sub":""}"#).1.contains("bytes"));
    let secret = refused(r#"{"type":"authenticate","token":{"a":"secret"}}"#).1;
    assert!(!secret.contains("secret"), "{secret}");
    let secret = refused(r#"{"type":"authenticate","token":7,"secret` `":1}"#).1;
    assert!(secret.len() < 200, "{secret}");
}

#[test]
fn messages_are_what_the_protocol_says() {
    let text = |message: ToClient<'_>| message.text().to_string();
    assert_eq!(text(ToClient::Pong {}), r#"{"type":"pong"}"#);
    let renewed = ToClient::Authenticated { reference: None, expires_at: None };
    assert_eq!(text(renewed), r#"{"type":"authenticated","expires_at":null}"#);
    let ended = ToClient::Ended { sub: "a", reason: Ending::Lagged, resume: Some("order:AQ".into()) };
    assert_eq!(text(ended), r#"{"type":"ended","sub":"a","reason":"lagged","resume":"order:AQ"}"#);
    let problem = Kind::NotFound.because("None.");
    let error = ToClient::Error { sub: None, reference: Some("c"), problem: &problem };
    assert!(
        text(error)
            .starts_with(r#"{"type":"error","ref":"c","problem":{"type":"urn:writ:problem:not-found","#)
    );
}

#[test]
fn a_model_or_a_projection_is_followed() {
    let named = |members: &str| {
        let text = format!(r#"{{"type":"subscribe","sub":"a"{members}}}"#);
        let Ok(FromClient::Subscribe(wanted)) = parse(&text).1 else { panic!("{text}") };
        wanted.followed().map_err(|problem| problem.errors[0].pointer.clone())
    };
    assert_eq!(named(r#","model":"order""#), Ok(("order".into(), Of::Model)));
    assert_eq!(named(r#","projection":"sales""#), Ok(("sales".into(), Of::Projection)));
    assert_eq!(named(""), Err("/model".into()));
    assert_eq!(named(r#","model":"order","projection":"sales""#), Err("/projection".into()));
}
