//! Signing in by an OpenID provider, and bearer tokens of a trusted issuer. The provider is a real one.

mod browser;
mod provider;
mod tokens;

use std::sync::{Arc, Weak};

use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::harness::{Answer, Client, Server, World, eventually, unique};
use browser::{Browser, parameter, with_parameter};
use provider::Provider;

/// How browsers know the server.
const PUBLIC: &str = "http://writ.test:8080";
/// The provider under several names, with the settings of each. That a name knows nothing of another is tested too.
const NAMES: [(&str, &[(&str, &str)]); 5] = [
    ("local", &[("CREATE_ACCOUNTS", "true")]),
    ("linking", &[("LINK_BY_EMAIL", "true"), ("CREATE_ACCOUNTS", "true")]),
    ("closed", &[]),
    ("domains", &[("CREATE_ACCOUNTS", "true"), ("ALLOWED_DOMAINS", "good.example")]),
    // Says that it is another one.
    ("impostor", &[("CREATE_ACCOUNTS", "true")]),
];

/// Two servers of one application, and a provider.
#[derive(Debug)]
struct Setup {
    /// Asks who someone is.
    server: Server,
    /// Lets everybody do everything: the administrator of these tests. It also has the other roles.
    open: Server,
    provider: Provider,
    _world: World,
}

/// All tests share one, as long as one of them runs.
async fn setup() -> Arc<Setup> {
    static RUNNING: Mutex<Weak<Setup>> = Mutex::const_new(Weak::new());
    let mut running = RUNNING.lock().await;
    match running.upgrade() {
        Some(setup) => setup,
        None => {
            let setup = Arc::new(Setup::start().await);
            *running = Arc::downgrade(&setup);
            setup
        }
    }
}

impl Setup {
    async fn start() -> Setup {
        let redirects = NAMES.map(|(name, _)| format!("{PUBLIC}/v1/auth/oidc/{name}/callback"));
        let provider = Provider::start(&redirects).await;
        let issuer = provider.issuer.as_str();
        let mut settings = vec![
            ("WRIT_IDENTITY_URL".to_owned(), PUBLIC.to_owned()),
            // All sign-ins of these tests come from one address.
            ("WRIT_HTTP_LIMITS_SIGN_IN_ADDRESS_PER_MINUTE".to_owned(), "0".to_owned()),
        ];
        for (name, options) in NAMES {
            let issuer =
                if name == "impostor" { issuer.replace("127.0.0.1", "localhost") } else { issuer.into() };
            let mut set = |key: &str, value: &str| {
                settings
                    .push((format!("WRIT_IDENTITY_OIDC_{}_{key}", name.to_uppercase()), value.to_owned()));
            };
            set("ISSUER", &issuer);
            set("CLIENT_ID", "writ");
            set("CLIENT_SECRET", "a secret: of%the client");
            options.iter().for_each(|(key, value)| set(key, value));
        }
        for (key, value) in [
            ("ISSUER", issuer),
            ("AUDIENCE", "shop"),
            ("ALGORITHMS", "RS256,EdDSA"),
            ("ROLES_CLAIM", "/realm/groups"),
            ("ROLES", "Shop Staff=clerk,ops=nobody"),
        ] {
            settings.push((format!("WRIT_IDENTITY_TRUSTED_CORP_{key}"), value.to_owned()));
        }
        let settings: Vec<(&str, &str)> =
            settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();

        let world = World::with_models(&[("parcel.yaml", PARCEL)]);
        let open = world.start(&settings).await;
        let closed = [&settings[..], &[("WRIT_HTTP_OPEN", "false"), ("WRIT_ROLES", "api")]].concat();
        let server = world.spawn("closed", &closed).await;
        server.ready().await;
        let role = json!({ "name": "clerk", "permissions": ["parcel.create"] });
        open.client().post("/v1/role/create?wait=projected", &role).await.expect(201);
        Setup { server, open, provider, _world: world }
    }

    fn browser(&self, user: &Value) -> Browser {
        Browser::new(&self.server, &self.provider, user.clone())
    }

    /// The administrator.
    fn admin(&self) -> Client {
        self.open.client()
    }

    /// An account made by the administrator. Its id.
    async fn account(&self, email: &str, password: Option<&str>) -> String {
        let body = json!({ "email": email, "password": password });
        self.admin().post("/v1/auth/accounts", &body).await.expect(201).id().to_owned()
    }
}

const PARCEL: &str = "\
model: parcel
crud: true
fields:
  label: { type: text, max_length: 40 }
allow:
  create, read: role('inspector')
";

/// Someone whom nobody has seen before.
fn somebody() -> Value {
    let name = unique("u");
    json!({ "sub": name, "email": format!("{name}@Good.example"), "email_verified": true, "name": "Ada" })
}

fn email(user: &Value) -> &str {
    user["email"].as_str().unwrap()
}

fn set_cookies(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_sign_in_makes_an_account_and_the_next_ones_find_it() {
    let setup = setup().await;
    let user = somebody();
    let mut browser = setup.browser(&user);
    let address = browser.depart("/v1/auth/oidc/local?return=/app/orders%3Fopen%3D1").await;
    assert_eq!(parameter(&address, "code_challenge_method"), "S256");
    assert_eq!(parameter(&address, "response_type"), "code");
    assert_eq!(parameter(&address, "scope"), "openid profile email");
    let back = browser.pass(address).await;
    let answer = browser.get(&back).await.expect(303);
    assert_eq!(answer.header("location"), "/app/orders?open=1");
    assert_eq!(answer.header("cache-control"), "no-store");
    let cookies = set_cookies(&answer);
    assert_eq!(cookies.len(), 3, "two tokens, and the one of the sign-in goes: {cookies:?}");
    assert!(cookies.iter().all(|cookie| cookie.contains("; HttpOnly; SameSite=")), "{cookies:?}");

    let me = browser.me().await;
    assert_eq!(me["email"], user["email"]);
    assert_eq!((&me["email_verified"], &me["name"]), (&json!(true), &json!("Ada")));
    assert_eq!((&me["roles"], &me["permissions"]), (&json!([]), &json!([])));
    let session = format!("/v1/session/{}", me["session"].as_str().unwrap());
    let session = eventually("the session is shown", async || {
        let answer = setup.admin().get(&session).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(session.body["state"]["by"], "oidc");

    // Another browser, and the address has changed at the provider.
    let mut later = user.clone();
    later["email"] = json!(format!("{}@else.example", unique("x")));
    let mut browser = setup.browser(&later);
    browser.sign_in("local").await.expect(303);
    assert_eq!(browser.me().await["account"], me["account"]);
    // It is the issuer and the subject that count, not by which of its names the provider was asked.
    let mut browser = setup.browser(&later);
    browser.sign_in("closed").await.expect(303);
    assert_eq!(browser.me().await["account"], me["account"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookie_of_a_sign_in_is_sealed_short_lived_and_for_this_browser() {
    let setup = setup().await;
    let mut browser = setup.browser(&somebody());
    let answer = browser.get("/v1/auth/oidc/local").await.expect(303);
    let [cookie] = set_cookies(&answer)[..] else { panic!("{answer:?}") };
    assert!(cookie.starts_with("writ_oidc=sealed:1:"), "{cookie}");
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=600"), "{cookie}");
    let state = parameter(answer.header("location"), "state");
    assert!(!cookie.contains(&state));
}

#[tokio::test(flavor = "multi_thread")]
async fn any_server_of_the_application_finishes_a_sign_in() {
    let setup = setup().await;
    let user = somebody();
    let mut browser = setup.browser(&user);
    let back = browser.arrive("/v1/auth/oidc/local").await;
    browser.moves_to(&setup.open);
    browser.get(&back).await.expect(303);
    browser.moves_to(&setup.server);
    assert_eq!(browser.me().await["email"], user["email"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_found_by_its_address_only_where_that_is_configured() {
    let setup = setup().await;
    let user = somebody();
    let account = setup.account(&email(&user).to_lowercase(), None).await;
    for name in ["closed", "local"] {
        setup.browser(&user).sign_in(name).await.problem(403, "no-account");
    }
    let mut browser = setup.browser(&user);
    browser.sign_in("linking").await.expect(303);
    assert_eq!(browser.me().await["account"], account);
    // Once linked, it is linked.
    let mut browser = setup.browser(&user);
    browser.sign_in("closed").await.expect(303);
    assert_eq!(browser.me().await["account"], account);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_taken_the_address_of_another_does_not_get_to_share_the_account() {
    let setup = setup().await;
    let user = somebody();
    // With a password, and nobody has shown to read that address.
    setup.account(email(&user), Some("a password that somebody chose")).await;
    setup.browser(&user).sign_in("linking").await.problem(403, "no-account");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_the_provider_has_not_verified_is_worth_nothing() {
    let setup = setup().await;
    let known = somebody();
    setup.account(email(&known), None).await;
    let mut answers = Vec::new();
    for mut user in [known, somebody()] {
        for verified in [json!(false), json!(null)] {
            user["email_verified"] = verified;
            answers.push(setup.browser(&user).sign_in("linking").await.problem(403, "no-account").text);
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "whether there is such an account doesn't show: {answers:?}");
    let without = json!({ "sub": unique("u") });
    setup.browser(&without).sign_in("linking").await.problem(403, "no-account");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_addresses_of_the_allowed_domains_sign_in() {
    let setup = setup().await;
    let mut user = somebody();
    setup.browser(&user).sign_in("domains").await.expect(303);
    // Also those who have an account already.
    for domain in ["evil.example", "notgood.example", "good.example.evil.example"] {
        user["email"] = json!(format!("{}@{domain}", unique("u")));
        setup.browser(&user).sign_in("domains").await.problem(403, "no-account");
    }
    user["email"] = json!("someone@good.example");
    user["email_verified"] = json!(false);
    setup.browser(&user).sign_in("domains").await.problem(403, "no-account");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_account_stays_out() {
    let setup = setup().await;
    let user = somebody();
    let mut browser = setup.browser(&user);
    browser.sign_in("local").await.expect(303);
    let account = browser.me().await["account"].as_str().unwrap().to_owned();
    let path = format!("/v1/account/{account}/disable?wait=projected");
    setup.admin().post(&path, &json!({})).await.expect(200);
    let answer = setup.browser(&user).sign_in("local").await.problem(401, "sign-in-failed");
    assert!(set_cookies(&answer).iter().all(|cookie| cookie.contains("Max-Age=0")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_tampered_with_signs_nobody_in() {
    let setup = setup().await;
    let begin = "/v1/auth/oidc/local";
    let fresh = async || {
        let mut browser = setup.browser(&somebody());
        let back = browser.arrive(begin).await;
        (browser, back)
    };
    let refused = async |browser: &mut Browser, address: &str| {
        browser.get(address).await.problem(401, "oidc-refused");
        browser.get("/v1/auth/me").await.expect(200).body["account"].is_null()
    };

    let (mut browser, back) = fresh().await;
    assert!(refused(&mut browser, &with_parameter(&back, "state", Some("x"))).await);
    let (mut browser, back) = fresh().await;
    assert!(refused(&mut browser, &with_parameter(&back, "state", None)).await);
    let (mut browser, back) = fresh().await;
    assert!(refused(&mut browser, &with_parameter(&back, "code", Some("x"))).await);
    let (mut browser, back) = fresh().await;
    assert!(refused(&mut browser, &with_parameter(&back, "code", None)).await);
    // RFC 9207: this provider promises to name itself.
    let (mut browser, back) = fresh().await;
    assert!(refused(&mut browser, &with_parameter(&back, "iss", Some("https://evil.example"))).await);
    let (mut browser, back) = fresh().await;
    assert!(refused(&mut browser, &with_parameter(&back, "iss", None)).await);

    // Another browser, with or without a sign-in of its own under way.
    let (_, back) = fresh().await;
    let mut other = setup.browser(&somebody());
    assert!(refused(&mut other, &back).await);
    let (mut other, _) = fresh().await;
    assert!(refused(&mut other, &back).await);
    // The state of one with the code of another: what an attacker could inject into a victim's browser.
    let (mut victim, own) = fresh().await;
    let (_, foreign) = fresh().await;
    let injected = with_parameter(&own, "code", Some(&parameter(&foreign, "code")));
    assert!(refused(&mut victim, &injected).await);
    // Begun with one provider, finished with another.
    let (mut browser, back) = fresh().await;
    assert!(refused(&mut browser, &back.replace("/oidc/local/", "/oidc/linking/")).await);
    // What the provider says is shown only if it is harmless.
    let (mut browser, back) = fresh().await;
    let denied = with_parameter(&with_parameter(&back, "code", None), "error", Some("access_denied"));
    let answer = browser.get(&denied).await.problem(401, "oidc-refused");
    assert!(answer.body["detail"].as_str().unwrap().contains("`access_denied`"), "{}", answer.text);
    let (mut browser, back) = fresh().await;
    let scripted = with_parameter(&with_parameter(&back, "code", None), "error", Some("<script>"));
    assert!(!browser.get(&scripted).await.problem(401, "oidc-refused").text.contains("script"));
    let (mut browser, back) = fresh().await;
    browser.get(&format!("{back}&state=twice")).await.problem(400, "invalid-query");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_for_another_request_signs_nobody_in() {
    let setup = setup().await;
    for nonce in [Some("another"), None] {
        let mut browser = setup.browser(&somebody());
        let address = browser.depart("/v1/auth/oidc/local").await;
        let back = browser.pass(with_parameter(&address, "nonce", nonce)).await;
        browser.get(&back).await.problem(401, "oidc-refused");
    }
    // The same for the code: it was issued for another challenge.
    let mut browser = setup.browser(&somebody());
    let address = browser.depart("/v1/auth/oidc/local").await;
    let other = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let back = browser.pass(with_parameter(&address, "code_challenge", Some(other))).await;
    browser.get(&back).await.problem(401, "oidc-refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_used_once() {
    let setup = setup().await;
    let mut browser = setup.browser(&somebody());
    let back = browser.arrive("/v1/auth/oidc/local").await;
    let mut copy = browser.clone();
    browser.get(&back).await.expect(303);
    browser.get(&back).await.problem(401, "oidc-refused");
    copy.get(&back).await.problem(401, "oidc-refused");
    assert!(copy.me().await["account"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_ends_on_this_server() {
    let setup = setup().await;
    let mut browser = setup.browser(&somebody());
    for evil in [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "/.//evil.example",
        "%2F%09/evil.example",
    ] {
        let answer =
            browser.get(&format!("/v1/auth/oidc/local?return={evil}")).await.problem(400, "invalid-query");
        assert_eq!(answer.pointers(), ["/return"]);
    }
    browser.get("/v1/auth/oidc/local?redirect=/").await.problem(400, "invalid-query");
    browser.get("/v1/auth/oidc/nobody").await.problem(404, "unknown-route");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_signed_in_links_a_provider_to_the_own_account() {
    let setup = setup().await;
    let (user, other) = (somebody(), somebody());
    let link = "/v1/auth/oidc/closed?link=true&return=/settings";
    let mut browser = setup.browser(&user);
    browser.get(link).await.problem(401, "unauthenticated");
    browser.sign_in("local").await.expect(303);
    let account = browser.me().await["account"].clone();
    for site in ["cross-site", "same-site"] {
        browser.get_with(link, &[("Sec-Fetch-Site", site)]).await.problem(403, "cross-site");
    }

    // The provider knows the same person by another name, or another person: that is its owner's business.
    setup.browser(&other).sign_in("closed").await.problem(403, "no-account");
    let mut linking = setup.browser(&other);
    let of_server = browser.cookies.iter().filter(|((origin, _), _)| origin == PUBLIC);
    linking.cookies.extend(of_server.map(|(key, value)| (key.clone(), value.clone())));
    let back = linking.arrive(link).await;
    // It comes from another site, so the browser keeps the `Strict` cookies back.
    linking.cookies.retain(|(_, name), _| !name.starts_with("writ_access"));
    let answer = linking.get(&back).await.expect(303);
    assert_eq!(answer.header("location"), "/settings");
    let mut browser = setup.browser(&other);
    browser.sign_in("closed").await.expect(303);
    assert_eq!(browser.me().await["account"], account);

    // Nobody takes the identity of another.
    let mut third = setup.browser(&somebody());
    third.sign_in("local").await.expect(303);
    let mut taking = setup.browser(&other);
    let of_server = third.cookies.iter().filter(|((origin, _), _)| origin == PUBLIC);
    taking.cookies.extend(of_server.map(|(key, value)| (key.clone(), value.clone())));
    let back = taking.arrive(link).await;
    taking.get(&back).await.problem(409, "already-exists");

    // Taken away, and linked to another account.
    let (owner, subject) = (account.as_str().unwrap(), other["sub"].as_str().unwrap());
    let links = setup.admin().get(&format!("/v1/oidc_identity?account={owner}")).await.expect(200);
    let mut links = links.body["items"].as_array().unwrap().iter();
    let link_of_other = links.find(|link| link["state"]["subject"].as_str().unwrap().ends_with(subject));
    let unlink = format!("/v1/oidc_identity/{}/unlink", link_of_other.unwrap()["id"].as_str().unwrap());
    setup.admin().post(&format!("{unlink}?wait=projected"), &json!({})).await.expect(200);
    setup.browser(&other).sign_in("closed").await.problem(403, "no-account");
    let back = taking.arrive(link).await;
    taking.get(&back).await.expect(303);
    let mut browser = setup.browser(&other);
    browser.sign_in("closed").await.expect(303);
    assert_eq!(browser.me().await["account"], third.me().await["account"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_needs_a_session_that_still_lives() {
    let setup = setup().await;
    let mut browser = setup.browser(&somebody());
    browser.sign_in("local").await.expect(303);
    let me = browser.me().await;
    let back = browser.arrive("/v1/auth/oidc/closed?link=true").await;
    let path = format!("/v1/session/{}/end", me["session"].as_str().unwrap());
    setup.admin().post(&path, &json!({})).await.expect(200);
    eventually("the session has ended", async || {
        let path = format!("/v1/session/{}", me["session"].as_str().unwrap());
        let session = setup.admin().get(&path).await;
        session.body["state"]["ended_at"].is_string().then_some(())
    })
    .await;
    browser.get(&back).await.problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_needs_a_session_whose_credentials_are_still_good() {
    let setup = setup().await;
    let user = somebody();
    let (mut stolen, mut owners) = (setup.browser(&user), setup.browser(&user));
    stolen.sign_in("local").await.expect(303);
    let back = stolen.arrive("/v1/auth/oidc/closed?link=true").await;
    owners.sign_in("local").await.expect(303);
    let access = |browser: &Browser| {
        let mut cookies = browser.cookies.iter();
        let found = cookies.find(|((_, name), _)| name.starts_with("writ_access"));
        setup.open.client().with_token(found.unwrap().1)
    };
    let (stolen_client, owners_client) = (access(&stolen), access(&owners));
    owners_client.post("/v1/auth/password", &json!({ "password": "a long new password" })).await.expect(200);
    eventually("the other session is refused", async || {
        (stolen_client.get("/v1/auth/me").await.status == 401).then_some(())
    })
    .await;
    stolen.get(&back).await.problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_another_one_is_not_asked() {
    let setup = setup().await;
    setup.browser(&somebody()).get("/v1/auth/oidc/impostor").await.problem(503, "provider-unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_of_a_provider_are_fetched_and_a_provider_that_is_away_is_waited_for() {
    let redirect = format!("{PUBLIC}/v1/auth/oidc/own/callback");
    let mut provider = Provider::start(&[redirect]).await;
    let world = World::with_models(&[("parcel.yaml", PARCEL)]);
    let settings = [
        ("WRIT_IDENTITY_URL", PUBLIC),
        ("WRIT_IDENTITY_OIDC_OWN_ISSUER", provider.issuer.as_str()),
        ("WRIT_IDENTITY_OIDC_OWN_CLIENT_ID", "writ"),
        ("WRIT_IDENTITY_OIDC_OWN_CLIENT_SECRET", "a secret: of%the client"),
        ("WRIT_IDENTITY_OIDC_OWN_CREATE_ACCOUNTS", "true"),
        ("WRIT_IDENTITY_OIDC_NOBODY_ISSUER", "http://127.0.0.1:9"),
        ("WRIT_IDENTITY_OIDC_NOBODY_CLIENT_ID", "writ"),
        ("WRIT_IDENTITY_TRUSTED_CORP_ISSUER", provider.issuer.as_str()),
        ("WRIT_IDENTITY_TRUSTED_CORP_AUDIENCE", "shop"),
    ];
    let server = world.start(&settings).await;
    let user = somebody();
    let browser = || Browser::new(&server, &provider, user.clone());
    browser().sign_in("own").await.expect(303);
    let (mut waiting, mut late) = (browser(), browser());
    provider.turn_keys().await;
    browser().sign_in("own").await.expect(303);
    let token = tokens::good(&provider, &unique("s")).await;
    tokens::me(&server, &token).await.expect(200);
    provider.turn_keys().await;
    let newer = tokens::good(&provider, &unique("s")).await;
    tokens::me(&server, &newer).await.expect(200);
    tokens::me(&server, &token).await.problem(401, "unauthenticated");

    waiting.get("/v1/auth/oidc/nobody").await.problem(503, "provider-unavailable");
    let back = waiting.arrive("/v1/auth/oidc/own").await;
    provider.kill().await;
    let answer = waiting.get(&back).await.problem(503, "provider-unavailable");
    assert!(set_cookies(&answer).is_empty(), "the browser may try again");
    // Everything that is known goes on.
    late.get("/v1/auth/oidc/own").await.expect(303);
    tokens::me(&server, &newer).await.expect(200);
}
