use serde_json::{Value as Json, json};
use writ_model::value::object_from_json;

use super::*;
use crate::models;

const MINUTE: i64 = 60_000;

struct World {
    models: Arc<Models>,
    directory: Directory,
}

fn world() -> World {
    let models = Arc::new(models::check("shop", &[]).unwrap());
    World { directory: Directory::new(models.clone()), models }
}

impl World {
    fn happen(&self, model: &str, aggregate: Uuid, version: u64, event: &str, fields: Json, at: i64) {
        let event = &self.models.get(model).unwrap().events[event];
        let fields = object_from_json(&event.fields, &fields, true).unwrap();
        let decoded = Some((event, &fields));
        self.directory.apply(&Happened { model, aggregate, version, at: Timestamp(at), decoded });
    }

    fn role(&self, name: &str, version: u64, event: &str, permissions: &[&str]) {
        let id = self.models.get(ROLE).unwrap().id_of_key(name).unwrap();
        let fields = match event {
            "created" => json!({ "name": name, "permissions": permissions }),
            "updated" => json!({ "permissions": permissions }),
            _ => json!({}),
        };
        self.happen(ROLE, id, version, event, fields, 0);
    }

    fn resolve(&self, names: &[&str]) -> (Vec<String>, Vec<String>) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let (names, permissions) = self.directory.resolve(&names);
        (names, permissions.iter().map(ToString::to_string).collect())
    }
}

fn claims(account: Uuid, session: Uuid, version: u64) -> Claims {
    let grant = Grant { account, session, version, roles: Vec::new() };
    Claims { grant, id: Uuid::nil(), issued_at: Timestamp(0), expires_at: Timestamp(0) }
}

#[test]
fn roles_are_what_their_events_made_of_them() {
    let world = world();
    world.role("staff", 1, "created", &["order.ship", "order.read"]);
    world.role("admin", 1, "created", &["*"]);
    assert_eq!(
        world.resolve(&["staff"]),
        (vec!["staff".into()], vec!["order.read".into(), "order.ship".into()])
    );
    assert_eq!(world.resolve(&["admin", "staff"]).1, ["*", "order.read", "order.ship"]);
    assert_eq!(world.resolve(&["nobody", "system"]), (vec![], vec![]));

    world.role("staff", 2, "updated", &["order.read"]);
    assert_eq!(world.resolve(&["staff"]).1, ["order.read"]);
    world.role("staff", 1, "created", &["order.ship", "order.read"]);
    assert_eq!(world.resolve(&["staff"]).1, ["order.read"], "a repeat changes nothing");
    world.role("admin", 2, "deleted", &[]);
    assert_eq!(world.resolve(&["admin"]), (vec![], vec![]), "nobody has a role that is gone");
    world.role("admin", 3, "created", &["*.read"]);
    assert_eq!(world.resolve(&["admin"]).1, ["*.read"]);
}

#[test]
fn a_session_that_ended_is_void() {
    let world = world();
    let [account, kept, ended, closed, reused] = [0; 5].map(|_| Uuid::now_v7());
    world.happen(SESSION, kept, 2, "refreshed", json!({ "ended_by": null, "ended_at": null }), 0);
    world.happen(SESSION, ended, 2, "ended", json!({ "ended_by": "owner" }), 0);
    world.happen(SESSION, closed, 2, "closed", json!({ "ended_by": "account" }), 0);
    world.happen(SESSION, reused, 2, "refreshed", json!({ "ended_by": "reuse" }), 0);
    let check = |session| world.directory.check(&claims(account, session, 1));
    assert_eq!(check(kept), Ok(()));
    assert_eq!([ended, closed, reused].map(check), [Err(Void::Ended); 3]);
}

#[test]
fn tokens_from_before_a_change_of_the_account_are_void() {
    let world = world();
    let (account, session) = (Uuid::now_v7(), Uuid::now_v7());
    let check = |version| world.directory.check(&claims(account, session, version));
    world.happen(ACCOUNT, account, 4, "roles_assigned", json!({ "roles": [] }), 0);
    assert_eq!((check(3), check(4)), (Err(Void::Changed), Ok(())));
    world.happen(ACCOUNT, account, 5, "renamed", json!({ "name": "x" }), 0);
    assert_eq!(check(4), Ok(()), "a name is no grant");
    world.happen(ACCOUNT, account, 6, "disabled", json!({ "status": "disabled" }), 0);
    assert_eq!((check(5), check(6)), (Err(Void::Changed), Ok(())));
    world.happen(ACCOUNT, account, 4, "roles_assigned", json!({ "roles": [] }), 0);
    assert_eq!(check(5), Err(Void::Changed), "a repeat makes nothing good again");
}

#[test]
fn what_cannot_be_decoded_counts_as_the_worst() {
    let world = world();
    world.role("admin", 1, "created", &["*"]);
    let admin = world.models.get(ROLE).unwrap().id_of_key("admin").unwrap();
    let (account, session) = (Uuid::now_v7(), Uuid::now_v7());
    for (model, aggregate) in [(ROLE, admin), (SESSION, session)] {
        let happened = Happened { model, aggregate, version: 2, at: Timestamp(0), decoded: None };
        world.directory.apply(&happened);
    }
    assert_eq!(world.resolve(&["admin"]).1, [""; 0]);
    assert_eq!(world.directory.check(&claims(account, session, 1)), Err(Void::Ended));
}

#[test]
fn only_what_no_token_can_be_of_is_forgotten() {
    let world = world();
    let sessions: Vec<Uuid> = (0..3 * MANY).map(|_| Uuid::now_v7()).collect();
    for (index, session) in sessions.iter().enumerate() {
        // Over three hours.
        let at = index as i64 * 180 * MINUTE / sessions.len() as i64;
        world.happen(SESSION, *session, 2, "ended", json!({ "ended_by": "owner" }), at);
    }
    let known = world.directory.known.read().ended.len();
    assert!((sessions.len() / 6..=2 * MANY).contains(&known), "{known}");
    for session in &sessions[sessions.len() - sessions.len() / 6..] {
        assert_eq!(world.directory.check(&claims(Uuid::nil(), *session, 1)), Err(Void::Ended));
    }
}

#[test]
fn who_listens_hears_what_became_void_and_nothing_else() {
    let world = world();
    let mut changes = world.directory.changes();
    let [account, session, key] = [0; 3].map(|_| Uuid::now_v7());
    world.happen(ACCOUNT, account, 2, "renamed", json!({ "name": "x" }), 0);
    world.happen(SESSION, session, 2, "refreshed", json!({ "ended_by": null, "ended_at": null }), 0);
    assert!(changes.try_recv().is_err(), "nobody loses anything by these");

    world.happen(SESSION, session, 3, "ended", json!({ "ended_by": "owner" }), 0);
    world.happen(ACCOUNT, account, 3, "disabled", json!({ "status": "disabled" }), 0);
    world.happen(API_KEY, key, 2, "revoked", json!({}), 0);
    world.role("staff", 1, "created", &["order.ship"]);
    world.role("staff", 1, "created", &["order.ship"]);
    let heard: Vec<Change> = std::iter::from_fn(|| changes.try_recv().ok()).collect();
    let expected = [Change::Session(session), Change::Account(account), Change::Key(key), Change::Roles];
    assert_eq!(heard, expected, "a repeat of a role's event changes nothing");
}
