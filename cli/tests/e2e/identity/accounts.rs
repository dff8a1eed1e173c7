//! Accounts: the first one, signing in and up, passwords, second factors.

use serde_json::json;

use super::guarded;
use crate::harness::people::{PASSWORD, Person, try_sign_in};
use crate::harness::{World, tool};

#[tokio::test]
async fn nobody_comes_in_before_somebody_has_made_an_administrator() {
    let world = World::with_models(&[("parcel.yaml", super::PARCEL)]);
    let refused = tool::refused_server(&world, 4).await;
    assert!(refused.complaint().contains("make them with `writ keys init`"), "{refused:#?}");

    let guarded = guarded().await;
    let me = guarded.admin.client.get("/v1/auth/me").await.expect(200);
    assert_eq!((&me.body["roles"], &me.body["permissions"]), (&json!(["admin"]), &json!(["*"])));
    guarded.client.post("/v1/role/create", &json!({ "name": "x" })).await.problem(401, "unauthenticated");
    guarded
        .client
        .post("/v1/auth/accounts", &json!({ "email": "x@example.org" }))
        .await
        .problem(401, "unauthenticated");

    let again = tool::run(&guarded.world, 4, &["admin", "create", "Admin@Example.org"]).await.expect(1);
    assert!(again.complaint().contains("there is an account with the address"), "{again:#?}");
    tool::run(&guarded.world, 4, &["admin", "create", "admin@example.org", "--if-missing"]).await.expect(0);

    let changed = tool::run(&guarded.world, 4, &["admin", "password", "admin@example.org"]).await.expect(0);
    let password =
        changed.stdout.lines().find_map(|line| line.strip_prefix("password: ")).unwrap().to_owned();
    guarded.admin.is_refused_by(&guarded.client).await;
    crate::harness::eventually("the new password is good", async || {
        let answer = try_sign_in(&guarded.client, "admin@example.org", &password, None).await;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn whatever_is_wrong_the_answer_is_the_same() {
    let guarded = guarded().await;
    let ann = guarded.person(&[]).await;
    let disabled = guarded.person(&[]).await;
    guarded.admin.client.post(&format!("/v1/account/{}/disable", disabled.id), &json!({})).await.expect(200);
    disabled.is_refused_by(&guarded.client).await;

    let mut seen = Vec::new();
    for (email, password) in [
        (ann.email.as_str(), "not her password at all"),
        ("nobody@example.org", PASSWORD),
        (disabled.email.as_str(), PASSWORD),
        ("", ""),
        ("no address", "x"),
    ] {
        let answer = try_sign_in(&guarded.client, email, password, None).await.problem(401, "sign-in-failed");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        seen.push(answer.text);
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
    // The address is one, however it is written.
    try_sign_in(&guarded.client, &format!(" {} ", ann.email.to_uppercase()), PASSWORD, None)
        .await
        .expect(200);
    // What the body lacks is said, what it has is not.
    let bad =
        guarded.client.post("/v1/auth/sign-in", &json!({ "email": ann.email, "password": 1234567 })).await;
    assert!(!bad.problem(422, "invalid-input").text.contains("1234567"));
}

#[tokio::test]
async fn anyone_may_register_where_that_is_open() {
    let guarded = guarded().await;
    let body = json!({ "email": "New@example.org", "password": PASSWORD, "name": "New" });
    let made = guarded.client.post("/v1/auth/register", &body).await.expect(201);
    let taken = json!({ "email": "new@Example.org", "password": PASSWORD });
    guarded.client.post("/v1/auth/register", &taken).await.problem(409, "not-unique");
    let short = json!({ "email": "short@example.org", "password": "too short" });
    assert_eq!(
        guarded
            .client
            .post("/v1/auth/register", &short)
            .await
            .problem(422, "invalid-input")
            .code("/password"),
        "unfit_password"
    );
    let none = json!({ "email": "no address", "password": PASSWORD });
    assert_eq!(
        guarded.client.post("/v1/auth/register", &none).await.problem(422, "invalid-input").pointers(),
        ["/email"]
    );

    let new = guarded.sign_in("new@example.org").await;
    assert_eq!(new.id, made.id());
    let me = new.client.get("/v1/auth/me").await.expect(200);
    assert_eq!((&me.body["name"], &me.body["roles"]), (&json!("New"), &json!([])));
    // One's own account can be read, without what is about signing in; nobody else's can.
    let own = new.client.get(&format!("/v1/account/{}", new.id)).await.expect(200);
    for hidden in ["password", "login", "credentials", "totp", "recovery_codes", "proof"] {
        assert_eq!(own.body["state"].get(hidden), None, "{hidden}");
    }
    new.client.get(&format!("/v1/account/{}", guarded.admin.id)).await.problem(404, "not-found");
    new.client.post(&format!("/v1/account/{}/rename", new.id), &json!({ "name": "Newer" })).await.expect(200);
    let other = format!("/v1/account/{}/rename", guarded.admin.id);
    new.client.post(&other, &json!({ "name": "Mine" })).await.problem(403, "forbidden");
}

#[tokio::test]
async fn a_new_password_ends_all_other_sessions() {
    let guarded = guarded().await;
    let here = guarded.person(&[]).await;
    let elsewhere = guarded.sign_in(&here.email).await;
    let change = |current: &str, new: &str| json!({ "current": current, "password": new });
    let path = "/v1/auth/password";
    here.client.post(path, &change("wrong", "another long password")).await.problem(401, "sign-in-failed");
    here.client.post(path, &change(PASSWORD, "short")).await.problem(422, "invalid-input");
    let answer = here.client.post(path, &change(PASSWORD, "another long password")).await.expect(200);
    let anew = Person::of(&guarded.client, &here.email, &answer);

    for old in [&here, &elsewhere] {
        old.is_refused_by(&guarded.client).await;
        crate::harness::people::refresh(&guarded.client, &old.refresh).await.problem(401, "unauthenticated");
    }
    anew.client.get("/v1/auth/me").await.expect(200);
    anew.refreshed(&guarded.client).await;
    try_sign_in(&guarded.client, &here.email, PASSWORD, None).await.problem(401, "sign-in-failed");
    try_sign_in(&guarded.client, &here.email, "another long password", None).await.expect(200);
}

#[tokio::test]
async fn a_second_factor_is_asked_for_once_it_works() {
    let guarded = guarded().await;
    let person = guarded.person(&[]).await;
    let owner = json!({ "password": PASSWORD });
    person
        .client
        .post("/v1/auth/totp", &json!({ "password": "not mine at all" }))
        .await
        .problem(401, "sign-in-failed");
    let offered = person.client.post("/v1/auth/totp", &owner).await.expect(200);
    assert!(offered.body["uri"].as_str().unwrap().starts_with("otpauth://totp/"), "{}", offered.text);
    let secret = offered.body["secret"].as_str().unwrap().to_owned();
    // It doesn't count before a code of it was seen.
    guarded.sign_in(&person.email).await;
    let activate = "/v1/auth/totp/activate";
    person.client.post(activate, &json!({ "code": "000000" })).await.problem(401, "sign-in-failed");
    let (first, next) = (code(&secret, 0), code(&secret, 1));
    let answer = person.client.post(activate, &json!({ "code": first })).await.expect(200);
    let recovery: Vec<String> = serde_json::from_value(answer.body["recovery_codes"].clone()).unwrap();
    let person = Person::of(&guarded.client, &person.email, &answer);
    assert_eq!(recovery.len(), 10);

    let sign_in =
        async |code: Option<&str>| try_sign_in(&guarded.client, &person.email, PASSWORD, code).await;
    sign_in(None).await.problem(401, "second-factor-needed");
    try_sign_in(&guarded.client, &person.email, "not the password", None)
        .await
        .problem(401, "sign-in-failed");
    sign_in(Some("000000")).await.problem(401, "sign-in-failed");
    // The code that activated it is used up; the next one is good before its time, once.
    sign_in(Some(&first)).await.problem(401, "sign-in-failed");
    sign_in(Some(&next)).await.expect(200);
    sign_in(Some(&next)).await.problem(401, "sign-in-failed");
    sign_in(Some(&recovery[0])).await.expect(200);
    sign_in(Some(&recovery[0])).await.problem(401, "sign-in-failed");

    // A recovery code has changed the credentials, so the sessions from before are over; a new one removes the factor.
    let answer = sign_in(Some(&recovery[1])).await.expect(200);
    let person = Person::of(&guarded.client, &person.email, &answer);
    let remove = json!({ "password": PASSWORD, "code": recovery[2] });
    person.client.post("/v1/auth/totp/remove", &owner).await.problem(401, "second-factor-needed");
    person.client.post("/v1/auth/totp/remove", &remove).await.expect(200);
    guarded.sign_in(&person.email).await;
}

/// The code of the present step of time, or of a later one.
pub(super) fn code(secret: &str, steps: u64) -> String {
    let secret = totp_rs::Secret::try_from_base32(secret).unwrap();
    let totp = totp_rs::Builder::new().with_secret(secret).build().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    totp.generate(now + 30 * steps).to_string()
}
