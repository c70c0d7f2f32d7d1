//! Triggers: writing, sharing, consent and its receipts, the list.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Answer, Caller, Server};

const UPDATE: &str = "mutation ($id: ID!, $input: UpdateTriggerInput!) {
    updateTrigger(id: $id, input: $input) { trigger { id name description isPublic content revision } }
}";
const ACTIVATE: &str = "mutation ($id: ID!, $revision: Int) {
    activateTrigger(id: $id, revision: $revision) { profile { username triggers { name revision } } }
}";
const DEACTIVATE: &str = "mutation ($id: ID!) { deactivateTrigger(id: $id) { profile { triggers { name } } } }";
const DELETE: &str = "mutation ($id: ID!) { deleteTrigger(id: $id) { trigger { id name creator { username } } } }";
const LIST: &str = "query ($search: String, $creator: String, $first: Int! = 50, $after: String) {
    triggers(search: $search, creator: $creator, first: $first, after: $after) {
        nodes { id name creator { username } } edges { cursor node { id } } pageInfo { hasNextPage endCursor }
    }
}";

fn names(list: &Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|item| item.as_str().or(item["name"].as_str()).unwrap())
        .collect()
}

async fn active(caller: &Caller<'_>) -> Vec<String> {
    let profile = caller.get("/v1/me/profile").await.body;
    names(&profile["triggers"]).into_iter().map(str::to_owned).collect()
}

async fn activate(caller: &Caller<'_>, id: &str) {
    let answer = caller.post(&format!("/v1/triggers/{id}/activation"), json!({})).await;
    assert_eq!(answer.status, 200, "{:#}", answer.body);
}

/// The caller's receipts as `kind name revision`, newest first.
async fn receipts(caller: &Caller<'_>) -> Vec<String> {
    let consents = caller.get("/v1/consents").await.body["consents"].take();
    let consents = consents.as_array().unwrap();
    consents
        .iter()
        .map(|receipt| {
            let name = receipt["trigger"]["name"].as_str().unwrap_or("-");
            let revision = receipt["revision"]
                .as_i64()
                .map_or("-".into(), |revision| revision.to_string());
            format!("{} {name} {revision}", receipt["kind"].as_str().unwrap())
        })
        .collect()
}

fn is(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.code()),
        (status, code),
        "{:#}",
        answer.body
    );
}

#[tokio::test]
async fn a_trigger_is_written_read_changed_and_deleted_over_both_dialects() {
    let server = Server::start().await;
    let alice = server.member("Alice").await;
    let body = json!({ "name": "Custom Trigger", "description": "Custom Trigger Description", "isPublic": false,
                       "content": "Trigger activation text", "creator": "Mallory", "id": "x" });
    let made = alice.post("/v1/triggers", body).await;
    assert_eq!(made.status, 200);
    let id = made.body["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("trigger_"));
    let expected = json!({ "id": id, "name": "Custom Trigger", "description": "Custom Trigger Description",
                           "isPublic": false, "creator": "Alice", "content": "Trigger activation text" });
    assert_eq!(made.body, expected);

    // Description and isPublic have defaults.
    let made = alice
        .post("/v1/triggers", json!({ "name": "Short", "content": "now" }))
        .await;
    assert_eq!(
        (&made.body["description"], &made.body["isPublic"]),
        (&json!(""), &json!(false))
    );
    let document =
        "mutation { createTrigger(input: { name: \"Null\", content: \"c\", description: null, isPublic: null })
                    { trigger { description isPublic revision creator { username } } } }";
    let made = alice.data(document, json!({})).await;
    assert_eq!(
        made["createTrigger"]["trigger"],
        json!({ "description": "", "isPublic": false, "revision": 1, "creator": { "username": "Alice" } })
    );

    let path = format!("/v1/triggers/{id}");
    let got = alice.get(&path).await;
    assert_eq!(got.status, 200);
    assert_eq!(got.body["revision"], 1);
    assert_eq!(got.body["content"], "Trigger activation text");
    // What was got can be put back, and changes nothing.
    let put = alice.put(&path, got.body.clone()).await;
    assert_eq!((put.status, &put.body), (StatusCode::OK, &got.body));
    let put = alice.put(&path, json!({ "name": "Renamed", "isPublic": null })).await;
    assert_eq!(
        (&put.body["name"], &put.body["revision"]),
        (&json!("Renamed"), &json!(2))
    );
    assert_eq!(put.body["content"], "Trigger activation text");
    let data = alice
        .data(
            UPDATE,
            json!({ "id": id, "input": { "description": "other", "content": "new" } }),
        )
        .await;
    let expected = json!({ "id": id, "name": "Renamed", "description": "other", "isPublic": false, "content": "new",
                           "revision": 3 });
    assert_eq!(data["updateTrigger"]["trigger"], expected);

    let gone = alice.delete(&path).await;
    assert_eq!(gone.status, 200);
    assert_eq!(
        gone.body,
        json!({ "id": id, "name": "Renamed", "description": "other", "isPublic": false, "creator": "Alice" })
    );
    is(&alice.get(&path).await, 404, "NOT_FOUND");
    is(&alice.delete(&path).await, 404, "NOT_FOUND");
    is(&alice.put(&path, json!({ "name": "x" })).await, 404, "NOT_FOUND");
    let listed = alice.get("/v1/triggers").await;
    assert_eq!(names(&listed.body["triggers"]), ["Null", "Short"]);
    for id in ["nonsense", "user_01h455vb4pex5vsknk084sn02q", "trigger_", "trigger_%00"] {
        is(&alice.get(&format!("/v1/triggers/{id}")).await, 404, "NOT_FOUND");
        is(
            &alice.post(&format!("/v1/triggers/{id}/activation"), json!({})).await,
            404,
            "NOT_FOUND",
        );
    }
}

#[tokio::test]
async fn a_trigger_keeps_its_limits() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let good = json!({ "name": "n".repeat(64), "description": "d".repeat(500), "content": "c\t\n".repeat(666) });
    assert_eq!((alice.post("/v1/triggers", good).await).status, 200);
    let id = alice.trigger("calm", true).await;
    let path = format!("/v1/triggers/{id}");
    for (field, value) in [
        ("name", json!("")),
        ("name", json!(" \u{3000}\n")),
        ("name", json!("n".repeat(65))),
        ("name", json!("a\u{0}b")),
        ("name", json!("a\u{202}\u{7f}")),
        ("description", json!("d".repeat(501))),
        ("description", json!("\u{8}")),
        ("content", json!("")),
        ("content", json!("c".repeat(2_001))),
        ("content", json!("a\rb")),
    ] {
        let mut body = json!({ "name": "fine", "content": "fine" });
        body[field] = value.clone();
        let answer = alice.post("/v1/triggers", body).await;
        is(&answer, 400, "VALIDATION_FAILED");
        assert!(
            answer.body["details"]["fields"][field].is_string(),
            "{field} {value}: {:#}",
            answer.body
        );
        let answer = alice.put(&path, json!({ field: value })).await;
        is(&answer, 400, "VALIDATION_FAILED");
        assert!(
            answer.body["details"]["fields"][field].is_string(),
            "{field} {value}: {:#}",
            answer.body
        );
    }
    let answer = alice.post("/v1/triggers", json!({ "name": "", "content": "" })).await;
    assert_eq!(answer.body["details"]["fields"].as_object().unwrap().len(), 2);
    for (body, path) in [
        (json!({ "content": "c" }), "/name"),
        (json!({ "name": "n" }), "/content"),
        (json!({ "name": 1, "content": "c" }), "/name"),
        (json!({ "name": null, "content": "c" }), "/name"),
        (json!({ "name": "n", "content": "c", "isPublic": 1 }), "/isPublic"),
    ] {
        let answer = alice.post("/v1/triggers", body).await;
        is(&answer, 400, "BAD_REQUEST");
        assert_eq!(answer.body["details"]["path"], path);
    }
    // Counted in characters, not bytes, once composed.
    let answer = alice
        .post(
            "/v1/triggers",
            json!({ "name": "e\u{301}".repeat(64), "content": "\u{1f300}".repeat(2_000) }),
        )
        .await;
    assert_eq!(answer.body["name"], "\u{e9}".repeat(64));
    assert_eq!((alice.get(&path).await).body["name"], "calm");
}

#[tokio::test]
async fn a_name_is_unique_among_its_creators_triggers_regardless_of_case() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    alice.trigger("École", true).await;
    let other = alice.trigger("other", false).await;
    for name in ["École", "éCOLE", "E\u{301}cole"] {
        let answer = alice
            .post("/v1/triggers", json!({ "name": name, "content": "c" }))
            .await;
        is(&answer, 409, "CONFLICT");
        is(
            &alice
                .put(&format!("/v1/triggers/{other}"), json!({ "name": name }))
                .await,
            409,
            "CONFLICT",
        );
    }
    // Another member may use it, and one's own may change its case.
    bob.trigger("école", true).await;
    let renamed = alice
        .put(&format!("/v1/triggers/{other}"), json!({ "name": "OTHER" }))
        .await;
    assert_eq!(
        (&renamed.body["name"], &renamed.body["revision"]),
        (&json!("OTHER"), &json!(2))
    );

    let race = (0..12).map(|n| {
        let name = if n % 2 == 0 { "Race" } else { "rACE" };
        alice.post("/v1/triggers", json!({ "name": name, "content": "c" }))
    });
    let answers = futures_util::future::join_all(race).await;
    let made = answers.iter().filter(|answer| answer.status == 200).count();
    let refused = answers.iter().filter(|answer| answer.code() == "CONFLICT").count();
    assert_eq!((made, refused), (1, 11));
    // A name is free again once its trigger is gone.
    let id = answers.iter().find_map(|answer| answer.body["id"].as_str()).unwrap();
    alice.delete(&format!("/v1/triggers/{id}")).await;
    alice.trigger("RACE", false).await;
}

#[tokio::test]
async fn a_private_trigger_is_nobody_elses_to_know_of_and_a_public_one_nobody_elses_to_change() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let moderator = server.member_with_role("root", "admin").await;
    let (private, public) = (alice.trigger("secret", false).await, alice.trigger("open", true).await);
    let node = "query ($id: ID!) { node(id: $id) { id } }";
    let one = "query ($id: ID!) { trigger(id: $id) { content } }";
    for caller in [&bob, &moderator] {
        let path = format!("/v1/triggers/{private}");
        let activation = format!("{path}/activation");
        let unknown = "/v1/triggers/trigger_01h455vb4pex5vsknk084sn02q";
        // It looks like one that does not exist.
        assert_eq!(caller.get(&path).await.body, caller.get(unknown).await.body);
        is(&caller.get(&path).await, 404, "NOT_FOUND");
        is(&caller.put(&path, json!({ "name": "x" })).await, 404, "NOT_FOUND");
        is(&caller.delete(&path).await, 404, "NOT_FOUND");
        is(&caller.post(&activation, json!({})).await, 404, "NOT_FOUND");
        is(
            &caller.post(&activation, json!({ "revision": 99 })).await,
            404,
            "NOT_FOUND",
        );
        is(&caller.delete(&activation).await, 404, "NOT_FOUND");
        for (document, variables) in [
            (node, json!({ "id": private })),
            (one, json!({ "id": private })),
            (UPDATE, json!({ "id": private, "input": { "name": "x" } })),
            (DELETE, json!({ "id": private })),
            (ACTIVATE, json!({ "id": private })),
            (DEACTIVATE, json!({ "id": private })),
        ] {
            let answer = caller.graphql(document, variables).await;
            is(&answer, 200, "NOT_FOUND");
            assert!(answer.body["data"].as_object().unwrap().values().all(Value::is_null));
        }
        let listed = caller.data(LIST, json!({ "creator": "ALICE" })).await;
        assert_eq!(names(&listed["triggers"]["nodes"]), ["open"]);

        let path = format!("/v1/triggers/{public}");
        assert_eq!((caller.get(&path).await).body["content"], "open, now");
        is(&caller.put(&path, json!({ "name": "x" })).await, 403, "FORBIDDEN");
        is(&caller.put(&path, json!({})).await, 403, "FORBIDDEN");
        is(&caller.delete(&path).await, 403, "FORBIDDEN");
    }
    assert_eq!(
        (alice.get(&format!("/v1/triggers/{private}")).await).body["name"],
        "secret"
    );

    // One's own may be activated while it is private; others do not see it on the profile.
    activate(&alice, &private).await;
    activate(&alice, &public).await;
    assert_eq!(active(&alice).await, ["secret", "open"]);
    for caller in [&bob, &moderator] {
        assert_eq!(names(&caller.get("/v1/profile/alice").await.body["triggers"]), ["open"]);
    }
    // A key may do what its scopes say.
    let reads = alice.key(&["triggers:read"]).await;
    let reads = server.bearer(&reads);
    assert_eq!((reads.get("/v1/triggers").await).status, 200);
    for path in ["/v1/me/triggers/pause", "/v1/triggers"] {
        is(
            &reads.post(path, json!({ "name": "n", "content": "c" })).await,
            403,
            "FORBIDDEN",
        );
    }
    is(&reads.get("/v1/profile/alice").await, 403, "FORBIDDEN");
    let others = alice.key(&["profile:read"]).await;
    let others = server.bearer(&others);
    is(&others.get("/v1/triggers").await, 403, "FORBIDDEN");
    // The rule on Profile.triggers stands in for that of Trigger.
    assert_eq!(
        names(&others.get("/v1/profile/alice").await.body["triggers"]),
        ["secret", "open"]
    );
    assert_eq!((server.nobody().get("/v1/triggers").await).code(), "UNAUTHENTICATED");
}

#[tokio::test]
async fn consent_is_to_a_revision_and_an_edit_withdraws_it_for_everybody_else() {
    let server = Server::start().await;
    let (alice, bob, carol) = (
        server.member("alice").await,
        server.member("bob").await,
        server.member("carol").await,
    );
    let calm = alice.trigger("calm", true).await;
    let path = format!("/v1/triggers/{calm}");
    for caller in [&alice, &bob, &carol] {
        activate(caller, &calm).await;
    }
    // Again is no error and no second receipt.
    activate(&bob, &calm).await;
    assert_eq!(receipts(&bob).await, ["activated calm 1"]);

    // Neither a description nor becoming what it is already touches anyone's consent.
    alice.put(&path, json!({ "description": "for the evening" })).await;
    alice
        .put(
            &path,
            json!({ "name": "calm", "content": "calm, now", "isPublic": true }),
        )
        .await;
    assert_eq!((alice.get(&path).await).body["revision"], 1);
    assert_eq!(active(&bob).await, ["calm"]);

    alice.put(&path, json!({ "content": "breathe" })).await;
    assert_eq!((active(&bob).await, active(&carol).await), (vec![], vec![]));
    assert_eq!(active(&alice).await, ["calm"]);
    assert_eq!(receipts(&bob).await, ["withdrawn calm 1", "activated calm 1"]);
    assert_eq!(receipts(&alice).await, ["activated calm 1"]);

    for revision in [1, 3, 0, -1] {
        let answer = bob
            .post(&format!("{path}/activation"), json!({ "revision": revision }))
            .await;
        is(&answer, 409, "CONFLICT");
        let answer = bob.graphql(ACTIVATE, json!({ "id": calm, "revision": revision })).await;
        assert_eq!(answer.code(), "CONFLICT");
    }
    assert!(active(&bob).await.is_empty());
    // Without a revision, and without a body at all, it is the current one.
    let request = bob.request(reqwest::Method::POST, &format!("{path}/activation"));
    assert_eq!((crate::harness::send(request).await).body["triggers"], json!(["calm"]));
    bob.delete(&format!("{path}/activation")).await;
    let data = bob.data(ACTIVATE, json!({ "id": calm, "revision": 2 })).await;
    let profile = json!({ "username": "bob", "triggers": [{ "name": "calm", "revision": 2 }] });
    assert_eq!(data["activateTrigger"]["profile"], profile);
    is(
        &bob.post(&format!("{path}/activation"), json!({ "revision": "2" }))
            .await,
        400,
        "BAD_REQUEST",
    );

    // A name counts like a text; so does making it private, which its creator does not lose it by.
    alice.put(&path, json!({ "name": "Calm" })).await;
    assert!(active(&bob).await.is_empty());
    activate(&bob, &calm).await;
    alice.put(&path, json!({ "isPublic": false })).await;
    assert!(active(&bob).await.is_empty());
    is(&bob.get(&path).await, 404, "NOT_FOUND");
    assert_eq!(active(&alice).await, ["Calm"]);
    // A receipt stays; the trigger that it is about is no longer the member's to see.
    let shown = receipts(&bob).await;
    assert_eq!(&shown[..2], ["withdrawn - 3", "activated - 3"]);
    alice.put(&path, json!({ "isPublic": true })).await;
    assert!(active(&bob).await.is_empty(), "public again is not consent");
    assert_eq!(receipts(&bob).await[0], "withdrawn Calm 3");

    activate(&bob, &calm).await;
    is(&bob.delete(&path).await, 403, "FORBIDDEN");
    alice.delete(&path).await;
    assert_eq!((active(&bob).await, active(&alice).await), (vec![], vec![]));
    assert_eq!(&receipts(&bob).await[..2], ["withdrawn - 3", "activated - 3"]);
    assert_eq!(&receipts(&alice).await, &["withdrawn - 3", "activated - 1"]);
    assert_eq!(receipts(&carol).await.len(), 2);
}

#[tokio::test]
async fn consent_can_be_taken_back_and_paused_without_losing_the_list() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        let id = alice.trigger(name, true).await;
        activate(&bob, &id).await;
        ids.push(id);
    }
    assert_eq!(active(&bob).await, ["one", "two", "three"]);
    assert_eq!(
        names(&alice.get("/v1/profile/bob").await.body["triggers"]),
        ["one", "two", "three"]
    );
    // Taking back what is not active is no error and leaves no receipt.
    let gone = bob.delete(&format!("/v1/triggers/{}/activation", ids[0])).await;
    assert_eq!(names(&gone.body["triggers"]), ["two", "three"]);
    let data = bob.data(DEACTIVATE, json!({ "id": ids[0] })).await;
    assert_eq!(
        names(&data["deactivateTrigger"]["profile"]["triggers"]),
        ["two", "three"]
    );

    let paused = async || -> Value { bob.get("/v1/me/triggers/pause").await.body["paused"].take() };
    assert_eq!(paused().await, false);
    for _ in 0..2 {
        let answer = bob.post("/v1/me/triggers/pause", json!({})).await;
        assert_eq!(
            (answer.status, names(&answer.body["triggers"])),
            (StatusCode::OK, vec!["two", "three"])
        );
    }
    assert_eq!(paused().await, true);
    assert_eq!(
        names(&alice.get("/v1/profile/bob").await.body["triggers"]),
        ["two", "three"]
    );
    // During a pause the list can still be changed.
    activate(&bob, &ids[0]).await;
    assert_eq!(paused().await, true);
    let answer = bob.delete("/v1/me/triggers/pause").await;
    assert_eq!(names(&answer.body["triggers"]), ["two", "three", "one"]);
    let resumed = "mutation { resumeTriggers { profile { triggers { name } } } }";
    bob.data(resumed, json!({})).await;
    assert_eq!(
        bob.data("{ viewer { triggersPaused } }", json!({})).await["viewer"]["triggersPaused"],
        false
    );

    let expected = [
        "resumed - -",
        "activated one 1",
        "paused - -",
        "deactivated one 1",
        "activated three 1",
        "activated two 1",
        "activated one 1",
    ];
    assert_eq!(receipts(&bob).await, expected);

    // Receipts come in pages, newest first, and are their member's alone.
    let page = "query ($after: String) { viewer { consents(first: 3, after: $after) {
        nodes { id kind timestamp trigger { name } } pageInfo { hasNextPage endCursor }
    } } }";
    let (mut kinds, mut after, mut id) = (Vec::new(), Value::Null, Value::Null);
    loop {
        let mut data = bob.data(page, json!({ "after": after })).await;
        let consents = data["viewer"]["consents"].take();
        for node in consents["nodes"].as_array().unwrap() {
            kinds.push(node["kind"].as_str().unwrap().to_lowercase());
            id = node["id"].clone();
        }
        after = consents["pageInfo"]["endCursor"].clone();
        if consents["pageInfo"]["hasNextPage"] == false {
            break;
        }
    }
    let expected: Vec<_> = expected.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(kinds, expected);
    let node = "query ($id: ID!) { node(id: $id) { ... on Consent { kind } } }";
    assert_eq!(bob.data(node, json!({ "id": id })).await["node"]["kind"], "ACTIVATED");
    is(&alice.graphql(node, json!({ "id": id })).await, 200, "NOT_FOUND");
    assert!(receipts(&alice).await.is_empty());
    for query in ["first=0", "first=101", "after=x", "after=bm9uZQ"] {
        is(
            &bob.get(&format!("/v1/consents?{query}")).await,
            400,
            "VALIDATION_FAILED",
        );
    }
}

#[tokio::test]
async fn nobody_consents_to_a_text_that_is_being_changed() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let id = alice.trigger("calm", true).await;
    let path = format!("/v1/triggers/{id}");
    let activation = format!("{path}/activation");
    for round in 1..=10 {
        let (edit, consent) = tokio::join!(
            alice.put(&path, json!({ "content": format!("text {round}") })),
            bob.post(&activation, json!({ "revision": round })),
        );
        assert_eq!(edit.body["revision"], round + 1);
        // Either it was too late, or it came first and was withdrawn.
        assert!(
            consent.status == 200 || consent.code() == "CONFLICT",
            "{:#}",
            consent.body
        );
        assert!(active(&bob).await.is_empty(), "round {round}");
    }
}

#[tokio::test]
async fn triggers_are_searched_and_paged_while_more_are_written() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("Alice").await, server.member("bob").await);
    for (name, description) in [
        ("100% calm", "quiet"),
        ("under_score", ""),
        ("back\\slash", "É_mily's"),
        ("plain", "50 percent"),
    ] {
        let body = json!({ "name": name, "description": description, "content": "c", "isPublic": true });
        assert_eq!((alice.post("/v1/triggers", body).await).status, 200);
    }
    bob.trigger("bob's", true).await;
    bob.trigger("hidden", false).await;
    for (search, found) in [
        ("%", vec!["100% calm"]),
        ("_", vec!["back\\slash", "under_score"]),
        ("\\", vec!["back\\slash"]),
        ("QUIET", vec!["100% calm"]),
        ("é_MILY", vec!["back\\slash"]),
        ("0%", vec!["100% calm"]),
        ("'", vec!["bob's", "back\\slash"]),
        ("hidden", vec![]),
        ("?", vec![]),
        ("a\u{0}b", vec![]),
    ] {
        let data = alice.data(LIST, json!({ "search": search })).await;
        assert_eq!(names(&data["triggers"]["nodes"]), found, "{search:?}");
    }
    let data = alice.data(LIST, json!({ "search": "x".repeat(200_000) })).await;
    assert_eq!(data["triggers"]["nodes"], json!([]));
    let all = ["bob's", "plain", "back\\slash", "under_score", "100% calm"];
    for (creator, found) in [
        ("ALICE", &all[1..]),
        ("bob", &all[..1]),
        ("nobody", &[]),
        ("", &[]),
        ("a\u{0}", &[]),
        ("x".repeat(200_000).as_str(), &[]),
    ] {
        let data = alice.data(LIST, json!({ "creator": creator })).await;
        assert_eq!(names(&data["triggers"]["nodes"]), found);
    }
    let data = alice.data(LIST, json!({ "creator": "alice", "search": "S" })).await;
    assert_eq!(names(&data["triggers"]["nodes"]), ["back\\slash", "under_score"]);
    let listed = alice.get("/v1/triggers").await;
    assert_eq!(names(&listed.body["triggers"]), all);
    let members: Vec<_> = listed.body["triggers"][0].as_object().unwrap().keys().collect();
    assert_eq!(members, ["id", "name", "description", "isPublic", "creator"]);

    // What is written while one pages is newer than every page: no gaps, no repeats.
    let (mut paged, mut path) = (Vec::new(), "/v1/triggers?first=2".to_owned());
    loop {
        let page = alice.get(&path).await;
        paged.extend(names(&page.body["triggers"]).into_iter().map(str::to_owned));
        bob.trigger(&format!("new {}", paged.len()), true).await;
        let Some(link) = page.header("link") else { break };
        let next = link.split(['<', '>']).nth(1).unwrap();
        path = next[next.find("/v1/").unwrap()..].to_owned();
    }
    assert_eq!(paged, all);
    for query in ["first=0", "first=101", "after=x", "after=eA"] {
        is(
            &alice.get(&format!("/v1/triggers?{query}")).await,
            400,
            "VALIDATION_FAILED",
        );
    }
    for first in [0, 101] {
        let answer = alice.graphql(LIST, json!({ "first": first })).await;
        is(&answer, 200, "VALIDATION_FAILED");
    }
}

/// Runs mutations, given as root fields, in batches as large as they may be, and gives how many were refused as one too
/// many.
async fn refused_of(caller: &Caller<'_>, mutations: &[String]) -> usize {
    let mut refused = 0;
    for batch in mutations.chunks(200) {
        let operations: Vec<Value> = batch
            .chunks(20)
            .map(|fields| {
                let fields: Vec<String> = fields
                    .iter()
                    .enumerate()
                    .map(|(n, field)| format!("f{n}: {field}"))
                    .collect();
                json!({ "query": format!("mutation {{ {} }}", fields.join(" ")) })
            })
            .collect();
        let request = caller.request(reqwest::Method::POST, "/graphql").json(&operations);
        let answer = crate::harness::send(request).await;
        for answer in answer.body.as_array().unwrap() {
            for error in answer["errors"].as_array().into_iter().flatten() {
                assert_eq!(error["extensions"]["code"], "CONFLICT", "{error:#}");
                refused += 1;
            }
        }
    }
    refused
}

#[tokio::test]
async fn a_member_may_write_a_thousand_triggers_and_activate_two_hundred() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let creations: Vec<String> = (0..998)
        .map(|n| {
            format!("createTrigger(input: {{ name: \"t{n}\", content: \"c\", isPublic: true }}) {{ trigger {{ id }} }}")
        })
        .collect();
    assert_eq!(refused_of(&alice, &creations).await, 0);
    // The last two, at once with more.
    let names: Vec<String> = (0..8).map(|n| format!("last {n}")).collect();
    let last = names
        .iter()
        .map(|name| alice.post("/v1/triggers", json!({ "name": name, "content": "c" })));
    let answers = futures_util::future::join_all(last).await;
    let made: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(made.len(), 2);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        is(answer, 409, "CONFLICT");
    }
    alice
        .delete(&format!("/v1/triggers/{}", made[0].body["id"].as_str().unwrap()))
        .await;
    alice.trigger("instead", false).await;

    let mut ids = Vec::new();
    let mut path = "/v1/triggers?first=100".to_owned();
    while ids.len() < 206 {
        let page = bob.get(&path).await;
        let triggers = page.body["triggers"].as_array().unwrap();
        ids.extend(
            triggers
                .iter()
                .map(|trigger| trigger["id"].as_str().unwrap().to_owned()),
        );
        let next = page
            .header("link")
            .unwrap()
            .split(['<', '>'])
            .nth(1)
            .unwrap()
            .to_owned();
        path = next[next.find("/v1/").unwrap()..].to_owned();
    }
    let activations: Vec<String> = ids[..198]
        .iter()
        .map(|id| format!("activateTrigger(id: \"{id}\") {{ profile {{ xp }} }}"))
        .collect();
    assert_eq!(refused_of(&bob, &activations).await, 0);
    let paths: Vec<String> = ids[198..206]
        .iter()
        .map(|id| format!("/v1/triggers/{id}/activation"))
        .collect();
    let answers = futures_util::future::join_all(paths.iter().map(|path| bob.post(path, json!({})))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 2);
    assert_eq!(answers.iter().filter(|answer| answer.code() == "CONFLICT").count(), 6);
    // What is active already may be activated; one that is taken back makes room.
    activate(&bob, &ids[0]).await;
    bob.delete(&format!("/v1/triggers/{}/activation", ids[0])).await;
    activate(&bob, &ids[0]).await;
    assert_eq!(active(&bob).await.len(), 200);
}
