//! People who sign in: servers that ask who sends a request, their administrator, and others with roles of their own.

use reqwest::Method;
use serde_json::{Value, json};

use super::client::{send, with};
use super::{Answer, Client, Server, World, eventually, tool, unique};

/// By what everyone here signs in.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// What somebody gets for signing in.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) session: String,
    pub(crate) access: String,
    pub(crate) refresh: String,
    /// Sends the access token.
    pub(crate) client: Client,
}

/// A server that isn't open, in a world with keys, and its administrator.
#[derive(Debug)]
pub(crate) struct Guarded {
    pub(crate) admin: Person,
    admin_password: String,
    pub(crate) client: Client,
    /// Ends before the world that it lives in, and shows its log if the test fails.
    _server: Server,
    pub(crate) world: World,
}

/// What makes a server ask who sends a request, and not slow the tests down that sign in all the time.
pub(crate) const SETTINGS: [(&str, &str); 4] = [
    ("WRIT_HTTP_OPEN", "false"),
    ("WRIT_HTTP_LIMITS_SIGN_IN_ADDRESS_PER_MINUTE", "0"),
    ("WRIT_HTTP_LIMITS_SIGN_IN_ACCOUNT_PER_MINUTE", "0"),
    ("WRIT_IDENTITY_REGISTRATION", "true"),
];

impl Guarded {
    pub(crate) async fn start(models: &[(&str, &str)]) -> Guarded {
        Guarded::start_with(models, &[]).await
    }

    /// With more `WRIT_*` variables.
    pub(crate) async fn start_with(models: &[(&str, &str)], more: &[(&str, &str)]) -> Guarded {
        let world = World::with_models(models);
        tool::run(&world, 4, &["keys", "init"]).await.expect(0);
        let server = world.start(&[&SETTINGS, more].concat()).await;
        let client = server.client();
        let email = "admin@example.org";
        let made = tool::run(&world, 4, &["admin", "create", email]).await.expect(0).stdout;
        let password = made.lines().find_map(|line| line.strip_prefix("password: ")).unwrap();
        let admin = eventually("the administrator can sign in", async || {
            let answer = try_sign_in(&client, email, password, None).await;
            (answer.status == 200).then(|| Person::of(&client, email, &answer))
        })
        .await;
        Guarded { admin, admin_password: password.to_owned(), client, _server: server, world }
    }

    /// Stops the server and waits for its end.
    pub(crate) async fn stop(self) -> World {
        assert!(self._server.terminate().await.success());
        self.world
    }

    /// Another api instance of the same application.
    pub(crate) async fn second(&self) -> Server {
        self.second_with(&[]).await
    }

    /// The same with more `WRIT_*` variables.
    pub(crate) async fn second_with(&self, more: &[(&str, &str)]) -> Server {
        let mut settings = [&SETTINGS, more].concat();
        settings.push(("WRIT_ROLES", "api"));
        let server = self.world.spawn("second", &settings).await;
        server.ready().await;
        server
    }

    /// Somebody new with these roles, which are made if there are none.
    pub(crate) async fn person(&self, roles: &[&str]) -> Person {
        for role in roles {
            self.role(role, &[]).await;
        }
        let email = format!("{}@example.org", unique("p"));
        let body = json!({ "email": email, "password": PASSWORD, "roles": roles });
        self.admin.client.post("/v1/auth/accounts", &body).await.expect(201);
        self.sign_in(&email).await
    }

    pub(crate) async fn sign_in(&self, email: &str) -> Person {
        let answer = try_sign_in(&self.client, email, PASSWORD, None).await.expect(200);
        Person::of(&self.client, email, &answer)
    }

    /// The administrator, in a session of its own.
    pub(crate) async fn admin_again(&self) -> Person {
        let (email, password) = (&self.admin.email, &self.admin_password);
        let answer = try_sign_in(&self.client, email, password, None).await.expect(200);
        Person::of(&self.client, email, &answer)
    }

    /// Makes the role if there is none, and waits until this server knows it.
    pub(crate) async fn role(&self, name: &str, permissions: &[&str]) {
        let body = json!({ "name": name, "permissions": permissions });
        let answer = self.admin.client.post("/v1/role/create", &body).await;
        assert!(matches!(answer.status, 201 | 409), "{}", answer.text);
        eventually("the role can be given", async || {
            let body = json!({ "email": "no address", "roles": [name] });
            let answer = self.admin.client.post("/v1/auth/accounts", &body).await;
            (answer.body["type"] == "urn:writ:problem:invalid-input").then_some(())
        })
        .await;
    }
}

impl Person {
    pub(crate) fn of(client: &Client, email: &str, answer: &Answer) -> Person {
        let text = |member: &str| answer.body[member].as_str().unwrap_or_else(|| panic!("{}", answer.text));
        Person {
            id: text("account").to_owned(),
            email: email.to_owned(),
            session: text("session").to_owned(),
            access: text("access_token").to_owned(),
            refresh: text("refresh_token").to_owned(),
            client: client.with_token(text("access_token")),
        }
    }

    /// The same person with the next tokens.
    pub(crate) async fn refreshed(&self, client: &Client) -> Person {
        let answer = refresh(client, &self.refresh).await.expect(200);
        Person::of(client, &self.email, &answer)
    }

    /// Waits until an instance refuses the access token.
    pub(crate) async fn is_refused_by(&self, client: &Client) {
        let client = client.with_token(&self.access);
        eventually("the access token is refused", async || {
            (client.get("/v1/auth/me").await.status == 401).then_some(())
        })
        .await;
    }
}

pub(crate) async fn try_sign_in(client: &Client, email: &str, password: &str, code: Option<&str>) -> Answer {
    let mut body = json!({ "email": email, "password": password });
    if let Some(code) = code {
        body["code"] = code.into();
    }
    client.post("/v1/auth/sign-in", &body).await
}

pub(crate) async fn refresh(client: &Client, token: &str) -> Answer {
    client.post("/v1/auth/refresh", &json!({ "refresh_token": token })).await
}

/// A request with the cookies of `answer` and these headers.
pub(crate) async fn with_cookies(
    client: &Client,
    method: Method,
    path: &str,
    body: &Value,
    cookies: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let request = client.request(method, path).json(body).header("Cookie", cookies);
    send(with(request, headers)).await
}
