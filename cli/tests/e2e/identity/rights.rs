//! Roles and rules: who may do what, from the api to the decider, and that nobody hands out more than they have.

use serde_json::json;

use super::guarded;
use crate::harness::eventually;
use crate::harness::people::Guarded;

#[tokio::test]
async fn rules_hold_for_commands_and_their_answers() {
    let guarded = guarded().await;
    let [owner, other, staff] =
        [guarded.person(&[]).await, guarded.person(&[]).await, guarded.person(&["staff"]).await];
    let body = json!({ "owner": owner.id, "label": "books", "cost": 7 });
    guarded.client.post("/v1/parcel/pack", &body).await.problem(401, "unauthenticated");
    other.client.post("/v1/parcel/pack", &body).await.problem(403, "forbidden");
    let packed = owner.client.post("/v1/parcel/pack", &body).await.expect(201);
    // The owner doesn't see what it costs, not even in the answer to the own command.
    assert_eq!(packed.body["state"].get("cost"), None);
    assert_eq!(packed.body["events"][0]["data"].get("cost"), None);
    let path = format!("/v1/parcel/{}", packed.id());
    let seen = staff.client.get_at(&path, packed.position()).await.expect(200);
    assert_eq!(seen.body["state"]["cost"], 7);

    // A rule over the state, decided with the state: who may not read it learns nothing, and who may learns that they may not.
    let relabel = json!({ "label": "more books" });
    other.client.post(&format!("{path}/relabel"), &relabel).await.problem(404, "not-found");
    guarded.client.post(&format!("{path}/relabel"), &relabel).await.problem(404, "not-found");
    owner.client.post(&format!("{path}/relabel"), &relabel).await.expect(200);
    owner.client.post(&format!("{path}/send"), &json!({})).await.problem(403, "forbidden");
    staff.client.post(&format!("{path}/send"), &json!({})).await.expect(200);
    owner.client.post(&format!("{path}/relabel"), &relabel).await.problem(403, "forbidden");
    staff.client.post(&format!("{path}/relabel"), &relabel).await.expect(200);
    // No rule: nobody, whatever the role; a permission gives it.
    staff.client.post(&format!("{path}/lose"), &json!({})).await.problem(403, "forbidden");
    guarded.admin.client.post(&format!("{path}/lose"), &json!({})).await.expect(200);

    // A batch asks for each line.
    let lines = [&owner.id, &other.id].map(|id| {
        json!({ "model": "parcel", "command": "pack", "input": { "owner": id, "label": "x" } }).to_string()
            + "\n"
    });
    let answer =
        owner.client.post_bytes("/v1/commands", "application/x-ndjson", lines.concat()).await.expect(200);
    let statuses: Vec<serde_json::Value> = answer
        .text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["status"].clone())
        .collect();
    assert_eq!(statuses, [201, 403]);
}

#[tokio::test]
async fn a_role_that_is_given_or_changed_counts_at_once() {
    let guarded = guarded().await;
    let second = guarded.second().await;
    guarded.role("packer", &["parcel.pack"]).await;
    let person = guarded.person(&[]).await;
    let body = json!({ "owner": guarded.admin.id, "label": "for the boss" });
    person.client.post("/v1/parcel/pack", &body).await.problem(403, "forbidden");

    let assign = format!("/v1/account/{}/assign_roles", person.id);
    guarded.admin.client.post(&assign, &json!({ "roles": ["packer"] })).await.expect(200);
    // The token says what held when it was issued, so it is void everywhere, and the next one says what holds.
    for client in [&guarded.client, &second.client()] {
        person.is_refused_by(client).await;
    }
    let person = person.refreshed(&guarded.client).await;
    // Who may pack it may not read it: the answer has nothing of it.
    let packed = person.client.post("/v1/parcel/pack", &body).await.expect(201);
    assert_eq!((&packed.body["state"], &packed.body["events"][0]["data"]), (&json!({}), &json!({})));

    // What a role allows is looked up for each request: no token has to change.
    let role = "/v1/role/packer/update";
    guarded.admin.client.post(role, &json!({ "permissions": [] })).await.expect(200);
    for client in [guarded.client.with_token(&person.access), second.client().with_token(&person.access)] {
        eventually("the permission is gone", async || {
            (client.post("/v1/parcel/pack", &body).await.status == 403).then_some(())
        })
        .await;
    }
    guarded.admin.client.post("/v1/role/packer/delete", &json!({})).await.expect(200);
    eventually("the role is gone", async || {
        let me = person.client.get("/v1/auth/me").await.expect(200);
        (me.body["roles"] == json!([])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nobody_hands_out_more_than_they_have() {
    let guarded: Guarded = guarded().await;
    guarded
        .role(
            "clerk",
            &["account.assign_roles", "account.create", "role.create", "role.update", "parcel.read"],
        )
        .await;
    guarded.role("reader", &["parcel.read"]).await;
    let clerk = guarded.person(&["clerk"]).await;
    let assign = format!("/v1/account/{}/assign_roles", clerk.id);
    clerk.client.post(&assign, &json!({ "roles": ["admin"] })).await.problem(403, "forbidden");
    clerk
        .client
        .post("/v1/role/create", &json!({ "name": "boss", "permissions": ["*"] }))
        .await
        .problem(403, "forbidden");
    clerk
        .client
        .post("/v1/role/clerk/update", &json!({ "permissions": ["parcel.*"] }))
        .await
        .problem(403, "forbidden");
    let account = json!({ "email": "boss@example.org", "roles": ["admin"] });
    clerk.client.post("/v1/auth/accounts", &account).await.problem(403, "forbidden");
    clerk
        .client
        .post("/v1/role/create", &json!({ "name": "second_reader", "permissions": ["parcel.read"] }))
        .await
        .expect(201);
    clerk.client.post(&assign, &json!({ "roles": ["clerk", "reader"] })).await.expect(200);

    // Not even an administrator is the server.
    let admin = &guarded.admin.client;
    admin.post("/v1/role/create", &json!({ "name": "system" })).await.problem(422, "guard-failed");
    let path = format!("/v1/account/{}/change_password", clerk.id);
    admin.post(&path, &json!({ "password": "as it was typed" })).await.problem(403, "forbidden");
    admin
        .post("/v1/account/create", &json!({ "login": "x@y.z", "email": "x@y.z" }))
        .await
        .problem(403, "forbidden");
    admin
        .post("/v1/role/create", &json!({ "name": "odd", "permissions": ["*.pack"] }))
        .await
        .problem(422, "invalid-input");
}
