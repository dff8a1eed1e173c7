//! Links by mail, through a real mail server.

use serde_json::json;

use super::PARCEL;
use super::accounts::code;
use crate::harness::mailbox::Mailbox;
use crate::harness::people::{Guarded, PASSWORD, Person, refresh, try_sign_in};
use crate::harness::{Answer, World, eventually, unique};

const RESET: &str = "http://127.0.0.1:8080/reset-password#token=";
const VERIFY: &str = "http://127.0.0.1:8080/verify-email#token=";
const NEW: &str = "another long password";
/// Lets an account have as many mails as it asks for.
const OFTEN: (&str, &str) = ("WRIT_HTTP_LIMITS_MAIL_PER_MINUTE", "0");

async fn guarded(mailbox: &Mailbox, more: &[(&str, &str)]) -> Guarded {
    let settings = mailbox.settings();
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Guarded::start_with(&[("parcel.yaml", PARCEL)], &[&settings, more].concat()).await
}

async fn forgot(guarded: &Guarded, email: &str) -> Answer {
    guarded.client.post("/v1/auth/password/forgot", &json!({ "email": email })).await
}

async fn reset(guarded: &Guarded, token: &str) -> Answer {
    guarded.client.post("/v1/auth/password/reset", &json!({ "token": token, "password": NEW })).await
}

async fn verify(guarded: &Guarded, token: &str) -> Answer {
    guarded.client.post("/v1/auth/email/verify", &json!({ "token": token })).await
}

/// What the servers of a world have logged.
fn log(world: &World) -> String {
    let files = std::fs::read_dir(world.folder()).unwrap().map(|file| file.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect()
}

#[tokio::test]
async fn a_link_gives_a_new_password_once() {
    let mailbox = Mailbox::start();
    let guarded = guarded(&mailbox, &[]).await;
    let person = guarded.person(&[]).await;
    forgot(&guarded, &format!(" {} ", person.email.to_uppercase())).await.expect(202);

    let mail = mailbox.mail(0).await;
    assert_eq!(mail.0["tls"], true);
    assert_eq!((&mail.0["from"], &mail.0["to"]), (&json!("no-reply@example.org"), &json!([person.email])));
    assert_eq!(mail.headers("To"), [person.email.as_str()]);
    assert_eq!(mail.headers("From"), ["Shop <no-reply@example.org>"]);
    assert_eq!(mail.headers("Subject"), ["Choose a new password"]);
    assert_eq!(mail.headers("Auto-Submitted"), ["auto-generated"]);
    assert!(mail.text().contains("within 1 hour:"), "{}", mail.text());
    let token = mail.token(RESET);

    verify(&guarded, &token).await.problem(422, "guard-failed");
    reset(&guarded, &token).await.expect(204);
    person.is_refused_by(&guarded.client).await;
    refresh(&guarded.client, &person.refresh).await.problem(401, "unauthenticated");
    try_sign_in(&guarded.client, &person.email, PASSWORD, None).await.problem(401, "sign-in-failed");
    try_sign_in(&guarded.client, &person.email, NEW, None).await.expect(200);
    reset(&guarded, &token).await.problem(422, "guard-failed");

    let world = guarded.stop().await;
    let log = log(&world);
    assert!(log.contains("a mail with a link was sent") && log.contains(&person.id));
    for hidden in [token.as_str(), &person.email, "p@ss/word", "p%40ss"] {
        assert!(!log.contains(hidden), "{hidden} in {log}");
    }
}

#[tokio::test]
async fn nobody_learns_which_accounts_there_are() {
    let mailbox = Mailbox::start();
    let guarded = guarded(&mailbox, &[]).await;
    let disabled = guarded.person(&[]).await;
    guarded.admin.client.post(&format!("/v1/account/{}/disable", disabled.id), &json!({})).await.expect(200);
    disabled.is_refused_by(&guarded.client).await;
    let person = guarded.person(&[]).await;

    let mut answers = Vec::new();
    for email in [
        "nobody@example.org".to_owned(),
        disabled.email.clone(),
        String::new(),
        "no address".to_owned(),
        format!("{}\r\nBcc: eve@example.org", person.email),
        format!("{}\nRCPT TO:<eve@example.org>", person.email),
        format!("{},eve@example.org", person.email),
        format!("eve@example.org <{}>", person.email),
        format!("{}\0", person.email),
        format!("{}@example.org", "x".repeat(5_000)),
        person.email.clone(),
        // Held: a mail was sent just now.
        person.email.clone(),
    ] {
        let answer = forgot(&guarded, &email).await.expect(202);
        let mut headers: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
        headers.sort();
        answers.push((answer.text, headers));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    // What was answered is done before the server ends.
    let world = guarded.stop().await;
    let mails = mailbox.mails();
    assert_eq!(mails.len(), 1, "{mails:?}");
    assert_eq!(mails[0].0["to"], json!([person.email]));
    assert!(!mails[0].0["raw"].as_str().unwrap().contains("eve@"), "{mails:?}");
    drop(world);
}

#[tokio::test]
async fn only_the_newest_link_is_good_and_for_its_time() {
    let mailbox = Mailbox::start();
    let guarded = guarded(&mailbox, &[OFTEN, ("WRIT_MAIL_VERIFY_SECONDS", "1")]).await;
    let person = guarded.person(&[]).await;
    forgot(&guarded, &person.email).await.expect(202);
    let first = mailbox.mail(0).await.token(RESET);
    forgot(&guarded, &person.email).await.expect(202);
    let second = mailbox.mail(1).await.token(RESET);
    reset(&guarded, &first).await.problem(422, "guard-failed");

    // Any link takes the place of the one before it.
    person.client.post("/v1/auth/email/send", &json!({})).await.expect(202);
    let expiring = mailbox.mail(2).await;
    assert!(expiring.text().contains("within 1 second:"), "{}", expiring.text());
    reset(&guarded, &second).await.problem(422, "guard-failed");
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    verify(&guarded, &expiring.token(VERIFY)).await.problem(422, "guard-failed");

    forgot(&guarded, &person.email).await.expect(202);
    let third = mailbox.mail(3).await.token(RESET);
    reset(&guarded, &third).await.expect(204);
    try_sign_in(&guarded.client, &person.email, NEW, None).await.expect(200);
}

#[tokio::test]
async fn who_registers_gets_a_link_that_confirms_the_address() {
    let mailbox = Mailbox::start();
    let guarded = guarded(&mailbox, &[]).await;
    let email = format!("{}@example.org", unique("New"));
    let body = json!({ "email": email, "password": PASSWORD, "name": "Eve\r\nBcc: eve@example.org" });
    guarded.client.post("/v1/auth/register", &body).await.expect(201);
    let mail = mailbox.mail(0).await;
    assert_eq!(mail.0["to"], json!([email]));
    assert!(!mail.0["raw"].as_str().unwrap().contains("Eve"), "no words of somebody else: {mail:?}");
    let token = mail.token(VERIFY);
    let person = guarded.sign_in(&email).await;

    // One mail in a minute. Who is signed in is told so, others aren't.
    person.client.post("/v1/auth/email/send", &json!({})).await.problem(429, "rate-limited");
    forgot(&guarded, &email).await.expect(202);
    eventually("the second mail is held", async || {
        let metrics = guarded.client.get("/metrics").await.text;
        metrics.contains("writ_mails_total{result=\"held\"} 1").then_some(())
    })
    .await;

    reset(&guarded, &token).await.problem(422, "guard-failed");
    verify(&guarded, &token).await.expect(204);
    // It is another account now for whoever has its tokens.
    let person = guarded.sign_in(&email).await;
    let me = person.client.get("/v1/auth/me").await.expect(200);
    assert_eq!(me.body["email_verified"], true);
    verify(&guarded, &token).await.problem(422, "guard-failed");
    person.client.post("/v1/auth/email/send", &json!({})).await.expect(202);
    let metrics = guarded.client.get("/metrics").await.text;
    assert!(metrics.contains("writ_mails_total{result=\"sent\"} 1"), "{metrics}");
    guarded.stop().await;
    assert_eq!(mailbox.mails().len(), 1);
}

#[tokio::test]
async fn who_has_registered_the_address_of_another_loses_the_account_to_its_owner() {
    let mailbox = Mailbox::start();
    let guarded = guarded(&mailbox, &[OFTEN]).await;
    let email = format!("{}@example.org", unique("victim"));
    let body = json!({ "email": email, "password": PASSWORD });
    guarded.client.post("/v1/auth/register", &body).await.expect(201);
    mailbox.mail(0).await;
    let thief = guarded.sign_in(&email).await;
    let key = json!({ "name": "stays", "scopes": ["*"] });
    let key = thief.client.post("/v1/auth/api-keys", &key).await.expect(201);
    let key = guarded.client.with_token(key.body["key"].as_str().unwrap());
    key.get("/v1/auth/me").await.expect(200);
    let offered = thief.client.post("/v1/auth/totp", &json!({ "password": PASSWORD })).await.expect(200);
    let code = code(offered.body["secret"].as_str().unwrap(), 0);
    let activated = thief.client.post("/v1/auth/totp/activate", &json!({ "code": code })).await.expect(200);
    let thief = Person::of(&guarded.client, &email, &activated);
    try_sign_in(&guarded.client, &email, PASSWORD, None).await.problem(401, "second-factor-needed");

    forgot(&guarded, &email).await.expect(202);
    let token = mailbox.mail(1).await.token(RESET);
    reset(&guarded, &token).await.expect(204);
    let answer = try_sign_in(&guarded.client, &email, NEW, None).await.expect(200);
    let owner = Person::of(&guarded.client, &email, &answer);
    thief.is_refused_by(&guarded.client).await;
    refresh(&guarded.client, &thief.refresh).await.problem(401, "unauthenticated");
    key.get("/v1/auth/me").await.problem(401, "unauthenticated");

    // What the owner has is the owner's, also after a password was forgotten.
    let key = json!({ "name": "mine", "scopes": ["*"] });
    let key = owner.client.post("/v1/auth/api-keys", &key).await.expect(201);
    let key = guarded.client.with_token(key.body["key"].as_str().unwrap());
    forgot(&guarded, &email).await.expect(202);
    let token = mailbox.mail(2).await.token(RESET);
    reset(&guarded, &token).await.expect(204);
    owner.is_refused_by(&guarded.client).await;
    key.get("/v1/auth/me").await.expect(200);
}

#[tokio::test]
async fn a_mail_waits_for_a_server_that_is_down() {
    let mut mailbox = Mailbox::down();
    let guarded = guarded(&mailbox, &[]).await;
    let person = guarded.person(&[]).await;
    forgot(&guarded, &person.email).await.expect(202);
    eventually("an attempt has failed", async || {
        log(&guarded.world).contains("the mail server can't be reached").then_some(())
    })
    .await;
    mailbox.up();
    let token = mailbox.mail(0).await.token(RESET);
    reset(&guarded, &token).await.expect(204);
}
