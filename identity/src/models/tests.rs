use proptest::prelude::*;
use serde_json::{Value as Json, json};
use uuid::Uuid;
use writ_model::access::{Early, Known, early};
use writ_model::decide::{Actor, Request};
use writ_model::{Rejection, State, Timestamp, decide, evolve};

use super::*;
use crate::proof::Purpose;
use crate::refresh_token::RefreshToken;

fn built_in() -> Models {
    check("shop", &[]).unwrap_or_else(|found| {
        let sources: Vec<Source> = sources().collect();
        let named = |file: &str| sources.iter().find(|source| source.name == file).unwrap();
        let lines: Vec<_> = found.iter().map(|fault| fault.one_line(named(&fault.file))).collect();
        panic!("{}", lines.join("\n"))
    })
}

#[test]
fn they_are_models_like_others() {
    let models = built_in();
    let names: Vec<_> = models.models.keys().map(String::as_str).collect();
    assert_eq!(names, [ACCOUNT, SESSION, ROLE, API_KEY, OIDC_IDENTITY]);
    assert_eq!(models.warnings, []);
}

#[test]
fn a_file_may_not_declare_them_again() {
    let source = Source { name: "account.yaml".into(), text: "model: account\nfields: { a: text }\n".into() };
    let found = check("shop", &[source]).unwrap_err();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].file, "account.yaml");
    assert!(found[0].message.contains("account"), "{found:?}");
}

const DAY: i64 = 24 * 60 * 60 * 1000;

/// One aggregate of a built-in model, with commands sent by the server.
struct Aggregate {
    models: Models,
    model: &'static str,
    id: Uuid,
    state: Option<State>,
}

impl Aggregate {
    fn new(model: &'static str) -> Aggregate {
        Aggregate { models: built_in(), model, id: Uuid::now_v7(), state: None }
    }

    fn send(&mut self, command: &str, input: Json, now: i64) -> Result<(), Rejection> {
        let model = self.models.get(self.model).unwrap();
        let actor = Actor { roles: vec![SYSTEM.into()], ..Actor::unrestricted() };
        let now = Timestamp(now);
        let request =
            Request { id: self.id, command, input: &input, expected_version: None, now, actor: &actor };
        let decision = decide(model, self.state.as_ref(), &request)?;
        let event = &model.events[&decision.event];
        self.state = Some(evolve(model, self.state.take(), event, &decision.fields, now));
        Ok(())
    }

    fn refused(&mut self, command: &str, input: Json, now: i64) -> String {
        match self.send(command, input, now) {
            Err(Rejection::GuardFailed { detail }) => detail,
            other => panic!("{other:?}"),
        }
    }

    fn field(&self, name: &str) -> Json {
        self.state.as_ref().unwrap().public_json()[name].clone()
    }
}

/// A session with its limits, and the token that it begins with.
fn session() -> (Aggregate, RefreshToken) {
    let mut session = Aggregate::new(SESSION);
    let token = RefreshToken::first(session.id);
    let start = json!({
        "account": Uuid::nil(), "credentials": 0, "by": "password", "family": token.family(), "token": token.own(),
        "idle_until": Timestamp(14 * DAY).to_string(), "expires_at": Timestamp(90 * DAY).to_string(),
    });
    session.send("start", start, 0).unwrap();
    (session, token)
}

fn refresh(token: &RefreshToken, next: &RefreshToken, now: i64) -> Json {
    let idle_until = Timestamp(now + 14 * DAY).to_string();
    json!({ "of_family": token.family(), "presented": token.own(), "next": next.own(), "idle_until": idle_until })
}

/// What became of a token that was presented.
#[derive(Debug, PartialEq)]
enum Outcome {
    Renewed,
    Ended,
    Refused,
}

impl Aggregate {
    fn present(&mut self, token: &RefreshToken, next: &RefreshToken, now: i64) -> Outcome {
        match self.send("refresh", refresh(token, next, now), now) {
            Ok(()) if self.field("ended_by").is_null() => Outcome::Renewed,
            Ok(()) => Outcome::Ended,
            Err(Rejection::GuardFailed { .. }) => Outcome::Refused,
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_refresh_token_is_good_once_and_an_older_one_ends_the_session() {
    let (mut session, first) = session();
    let second = first.next();
    assert_eq!(session.present(&first, &second, 1), Outcome::Renewed);
    // There is no grace for the last one.
    assert_eq!(session.present(&first, &first.next(), 1), Outcome::Ended);
    assert_eq!(session.field("ended_by"), "reuse");
    for token in [&first, &second] {
        assert_eq!(session.present(token, &token.next(), 2), Outcome::Refused);
    }
    assert_eq!(session.refused("end", json!({}), 2), "The session has ended.");
}

#[test]
fn a_made_up_refresh_token_ends_nothing() {
    let (mut session, token) = session();
    // Who has seen an access token knows the session's id, and nothing else.
    let made_up = RefreshToken::first(session.id);
    assert_eq!(session.present(&made_up, &made_up.next(), 1), Outcome::Refused);
    assert_eq!(session.present(&token, &token.next(), 1), Outcome::Renewed);
}

#[test]
fn a_session_expires_when_it_is_not_used_and_when_it_is() {
    let (mut session, mut token) = session();
    let expired = "The session has expired.";
    assert_eq!(session.refused("refresh", refresh(&token, &token, 14 * DAY), 14 * DAY), expired);
    for day in 1..90 {
        let next = token.next();
        assert_eq!(session.present(&token, &next, day * DAY), Outcome::Renewed);
        token = next;
    }
    assert_eq!(session.refused("refresh", refresh(&token, &token, 90 * DAY), 90 * DAY), expired);
}

#[test]
fn a_session_that_was_ended_stays_so() {
    let (mut session, token) = session();
    session.send("end", json!({}), 1).unwrap();
    assert_eq!(session.field("ended_by"), "administrator");
    assert_eq!(session.present(&token, &token.next(), 2), Outcome::Refused);
}

fn account() -> Aggregate {
    let mut account = Aggregate::new(ACCOUNT);
    account.send("create", json!({ "login": "ann@example.org", "email": "Ann@example.org" }), 0).unwrap();
    account
}

fn sign_in(seen: i64, other: Json) -> Json {
    let mut input = json!({ "session": Uuid::nil(), "by": "password", "seen": seen });
    input.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
    input
}

#[test]
fn a_sign_in_counts_only_with_the_credentials_that_there_are() {
    let mut account = account();
    account.send("sign_in", sign_in(0, json!({})), 1).unwrap();
    account.send("change_password", json!({ "seen": 0, "password": "sealed:1:a:b" }), 2).unwrap();
    let changed = "How the account signs in was changed meanwhile.";
    assert_eq!(account.refused("sign_in", sign_in(0, json!({})), 3), changed);
    account.send("sign_in", sign_in(1, json!({})), 3).unwrap();

    let activate = json!({ "seen": 1, "totp_step": 7, "recovery_codes": ["a", "b"] });
    account.send("activate_totp", activate.clone(), 4).unwrap();
    assert_eq!(account.refused("activate_totp", activate, 4), changed, "by who was asked before");
    assert_eq!(
        account.refused("sign_in", sign_in(2, json!({ "totp_step": 7 })), 5),
        "The code was used already."
    );
    account.send("sign_in", sign_in(2, json!({ "totp_step": 8 })), 5).unwrap();
    account.send("sign_in", sign_in(2, json!({ "recovery_codes": ["b"] })), 6).unwrap();
    assert_eq!(account.refused("sign_in", sign_in(2, json!({ "recovery_codes": ["b"] })), 6), changed);

    account.send("disable", json!({}), 7).unwrap();
    assert!(matches!(account.send("sign_in", sign_in(3, json!({})), 8), Err(Rejection::WrongState { .. })));
}

#[test]
fn a_link_is_good_once_and_for_its_time() {
    let mut account = account();
    let reset = json!({ "password": "sealed:1:a:b", "token": "t" });
    let refused = "The link is used up or too old.";
    assert_eq!(account.refused("reset_password", reset.clone(), 1), refused);
    let proof = json!({ "proof": "t", "proof_until": Timestamp(10).to_string(), "proof_for": "password" });
    account.send("send_proof", proof, 2).unwrap();
    assert_eq!(
        account.refused("reset_password", json!({ "password": "sealed:1:a:b", "token": "u" }), 3),
        refused
    );
    assert_eq!(account.refused("reset_password", reset.clone(), 10), refused);
    account.send("reset_password", reset.clone(), 9).unwrap();
    assert_eq!(account.refused("reset_password", reset, 9), refused);
    assert_eq!((account.field("email_verified"), account.field("credentials")), (true.into(), 1.into()));
}

#[test]
fn who_first_reads_the_address_has_the_account_alone() {
    let reset = json!({ "password": "sealed:1:a:b", "token": "t" });
    let proof = json!({ "proof": "t", "proof_until": Timestamp(100).to_string(), "proof_for": "password" });
    let mut account = account();
    let activate = json!({ "seen": 0, "totp_step": 7, "recovery_codes": ["a"] });
    account.send("activate_totp", activate, 1).unwrap();
    account.send("send_proof", proof.clone(), 2).unwrap();
    account.send("reset_password", reset.clone(), 3).unwrap();
    assert_eq!((account.field("owner"), account.field("totp_active")), (1.into(), false.into()));

    // The owner's own second factor is not a thief's of the mailbox.
    let activate = json!({ "seen": 2, "totp_step": 9, "recovery_codes": ["a"] });
    account.send("activate_totp", activate, 4).unwrap();
    account.send("send_proof", proof, 5).unwrap();
    account.send("reset_password", reset, 6).unwrap();
    assert_eq!((account.field("owner"), account.field("totp_active")), (1.into(), true.into()));
}

#[test]
fn a_link_is_good_for_what_it_was_sent_for() {
    let refused = "The link is used up or too old.";
    let reset = json!({ "password": "sealed:1:a:b", "token": "t" });
    let verify = json!({ "token": "t" });
    let proof = |purpose: Option<Purpose>| json!({ "proof": "t", "proof_until": Timestamp(10).to_string(), "proof_for": purpose.map(Purpose::name) });
    let mut account = account();
    account.send("send_proof", proof(Some(Purpose::Email)), 1).unwrap();
    assert_eq!(account.refused("reset_password", reset.clone(), 2), refused);
    account.send("verify_email", verify.clone(), 3).unwrap();
    assert_eq!(account.field("email_verified"), json!(true));
    assert_eq!(account.refused("verify_email", verify.clone(), 4), refused, "used up");
    account.send("send_proof", proof(Some(Purpose::Password)), 5).unwrap();
    assert_eq!(account.refused("verify_email", verify.clone(), 6), refused);
    account.send("send_proof", proof(None), 7).unwrap();
    assert_eq!(account.refused("verify_email", verify, 8), refused);
    assert_eq!(account.refused("reset_password", reset, 8), refused);
}

#[test]
fn nobody_but_the_server_sends_what_has_to_do_with_passwords_and_tokens() {
    let models = built_in();
    let anyone = Actor { id: Some(Uuid::now_v7()), roles: vec!["staff".into()], ..Actor::default() };
    let known = Known { actor: &anyone, id: None, input: None, now: None };
    let possible: Vec<String> = models
        .models
        .values()
        .flat_map(|model| model.commands.keys().map(move |command| (model, command)))
        .filter(|(model, command)| early(model, command, &known) != Early::No)
        .map(|(model, command)| format!("{}.{command}", model.name))
        .collect();
    assert_eq!(
        possible,
        ["account.rename", "session.end", "api_key.revoke", "oidc_identity.unlink"],
        "of one's own"
    );
}

/// What someone does with the tokens that a session has had: use the newest, or the one with this index.
#[derive(Debug, Clone)]
enum Use {
    Newest,
    Any(prop::sample::Index),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever is presented in whatever order: only the newest token is good, any other one ends the session, and after
    /// its end nothing is good.
    #[test]
    fn one_refresh_token_at_a_time(uses in prop::collection::vec(
        prop_oneof![4 => Just(Use::Newest), 1 => any::<prop::sample::Index>().prop_map(Use::Any)], 1..30))
    {
        let (mut session, first) = session();
        let mut tokens = vec![first];
        let mut ended = false;
        for (now, used) in uses.iter().enumerate() {
            let index = match used {
                Use::Newest => tokens.len() - 1,
                Use::Any(index) => index.index(tokens.len()),
            };
            let next = tokens[index].next();
            let expected = match (ended, index == tokens.len() - 1) {
                (true, _) => Outcome::Refused,
                (false, true) => Outcome::Renewed,
                (false, false) => Outcome::Ended,
            };
            let outcome = session.present(&tokens[index], &next, now as i64);
            prop_assert_eq!(&outcome, &expected);
            ended |= outcome == Outcome::Ended;
            if outcome == Outcome::Renewed {
                tokens.push(next);
            }
        }
    }
}
