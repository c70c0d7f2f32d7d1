//! Members defend themselves, moderators defend the room.

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::harness::{Answer, Caller, PASSWORD, Server, clustered, eventually};

fn is(answer: &Answer, status: u16, code: &str) {
    let found = (answer.body["errors"][0]["extensions"]["status"].as_u64()).unwrap_or(answer.status.as_u16().into());
    assert_eq!((found, answer.code()), (u64::from(status), code), "{:#}", answer.body);
}

async fn act(caller: &Caller<'_>, field: &str, username: &str, reason: &str, until: Option<&str>) -> Answer {
    let document = format!(
        "mutation ($username: String!, $input: ModerateInput!) {{ {field}(username: $username, input: $input) {{
             user {{ username }} }} }}"
    );
    let input = json!({ "reason": reason, "until": until });
    caller
        .graphql(&document, json!({ "username": username, "input": input }))
        .await
}

async fn say(caller: &Caller<'_>, content: &str) -> String {
    let answer = caller.post("/v1/chat/messages", json!({ "content": content })).await;
    is(&answer, 200, "");
    answer.body["id"].as_str().unwrap().to_owned()
}

async fn report(caller: &Caller<'_>, message: &str, reason: &str) -> Answer {
    let path = format!("/v1/chat/messages/{message}/report");
    caller.post(&path, json!({ "reason": reason })).await
}

async fn node(caller: &Caller<'_>, id: &str) -> Answer {
    caller
        .graphql("query ($id: ID!) { node(id: $id) { id } }", json!({ "id": id }))
        .await
}

const REPORTS: &str = "query ($open: Boolean! = true) { reports(open: $open) { nodes {
    id content reason closedAt reporter { username } message { id content author { username profile { id } } } } } }";
const AUDIT: &str =
    "{ auditLog { nodes { id action reason until actor { username } subject { username profile { id } } } } }";

async fn reports(caller: &Caller<'_>, open: bool) -> Vec<Value> {
    let mut data = caller.data(REPORTS, json!({ "open": open })).await;
    data["reports"]["nodes"].as_array_mut().unwrap().drain(..).collect()
}

async fn audit(caller: &Caller<'_>) -> Vec<Value> {
    let mut data = caller.data(AUDIT, Value::Null).await;
    data["auditLog"]["nodes"].as_array_mut().unwrap().drain(..).collect()
}

#[tokio::test]
async fn nothing_is_seen_of_who_is_blocked() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("Bob").await);
    let carol = server.member("carol").await;
    let trigger = bob.trigger("calm", true).await;
    let own = alice.trigger("own", true).await;
    let activation = format!("/v1/triggers/{trigger}/activation");
    for caller in [&alice, &carol] {
        is(&caller.post(&activation, json!({})).await, 200, "");
    }
    is(
        &alice.post(&format!("/v1/triggers/{own}/activation"), json!({})).await,
        200,
        "",
    );
    bob.put("/v1/profile/bob", json!({ "displayName": "Bobby" })).await;
    let message = say(&bob, "hello").await;
    let ids = "{ viewer { user { id } profile { id } } }";
    let ids = bob.data(ids, Value::Null).await["viewer"].take();
    let (user, profile) = (
        ids["user"]["id"].as_str().unwrap(),
        ids["profile"]["id"].as_str().unwrap(),
    );
    let mut events: Vec<Value> = Vec::new();
    eventually("what bob did is in the log", async || {
        events = alice.get("/v1/events").await.body["events"].as_array().unwrap().clone();
        events.iter().filter(|event| event.to_string().contains("ob\"")).count() >= 3
    })
    .await;

    let blocked = alice.put("/v1/blocked/BOB", json!({})).await;
    is(&blocked, 200, "");
    assert_eq!(blocked.body, json!({ "id": user, "username": "Bob" }));
    is(&alice.put("/v1/blocked/bob", json!({})).await, 200, "");
    assert_eq!(
        alice.get("/v1/blocked").await.body,
        json!({ "blocked": [blocked.body] })
    );

    is(&alice.get("/v1/profile/bob").await, 404, "NOT_FOUND");
    for id in [user, profile, &trigger, &message] {
        is(&node(&alice, id).await, 404, "NOT_FOUND");
    }
    for event in &events {
        let hidden = event.to_string().contains("ob\"");
        let found = node(&alice, event["id"].as_str().unwrap()).await;
        assert_eq!(found.code() == "NOT_FOUND", hidden, "{event}");
    }
    is(&alice.get(&format!("/v1/triggers/{trigger}")).await, 404, "NOT_FOUND");
    for path in [
        "/v1/profiles",
        "/v1/profiles?search=bob",
        "/v1/profiles?orderBy=XP",
        "/v1/triggers",
        "/v1/triggers?creator=bob",
        "/v1/triggers?search=calm",
        "/v1/events",
        "/v1/chat/messages",
        "/v1/profile/carol",
    ] {
        let body = alice.get(path).await.body.to_string();
        for sign in ["ob\"", "Bobby", "calm", "hello"] {
            assert!(!body.contains(sign), "{path}: {body}");
        }
    }
    is(&alice.post(&activation, json!({})).await, 404, "NOT_FOUND");
    is(&alice.delete(&activation).await, 404, "NOT_FOUND");
    is(
        &alice.delete(&format!("/v1/triggers/{trigger}")).await,
        404,
        "NOT_FOUND",
    );
    let change = json!({ "displayName": "x" });
    is(&alice.put("/v1/profile/bob", change.clone()).await, 404, "NOT_FOUND");
    is(&alice.put("/v1/profile/carol", change).await, 403, "FORBIDDEN");
    is(&report(&alice, &message, "rude").await, 404, "NOT_FOUND");

    // Consent to what bob wrote has ended, with a receipt; what others wrote is as it was.
    assert_eq!(alice.get("/v1/me/profile").await.body["triggers"], json!(["own"]));
    let consents = alice.get("/v1/consents").await.body["consents"].take();
    assert_eq!(consents[0]["kind"], "deactivated");
    assert_eq!(
        (&consents[0]["revision"], &consents[0]["trigger"]),
        (&json!(1), &Value::Null)
    );

    // Bob is not told, and sees alice as before; so do others.
    is(&bob.get("/v1/profile/alice").await, 200, "");
    is(&bob.get(&format!("/v1/triggers/{own}")).await, 200, "");
    assert_eq!(bob.get("/v1/blocked").await.body, json!({ "blocked": [] }));
    assert_eq!(carol.get("/v1/profile/carol").await.body["triggers"], json!(["calm"]));
    is(&carol.get("/v1/profile/bob").await, 200, "");

    let list = "{ viewer { blocked { username role createdAt profile { id } } } }";
    let shown = alice.data(list, Value::Null).await["viewer"]["blocked"].take();
    assert_eq!(
        (&shown[0]["username"], &shown[0]["role"], &shown[0]["profile"]),
        (&json!("Bob"), &json!("MEMBER"), &Value::Null)
    );

    for _ in 0..2 {
        let unblocked = alice.delete("/v1/blocked/bob").await;
        assert_eq!(
            (unblocked.status.as_u16(), &unblocked.body["username"]),
            (200, &json!("Bob"))
        );
    }
    is(&alice.get("/v1/profile/bob").await, 200, "");
    assert_eq!(alice.get("/v1/me/profile").await.body["triggers"], json!(["own"]));
    is(&alice.post(&activation, json!({})).await, 200, "");
    assert_eq!(
        alice.get("/v1/me/profile").await.body["triggers"],
        json!(["own", "calm"])
    );
}

#[tokio::test]
async fn a_block_counts_on_every_node_and_on_open_logins_at_once() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let others = match clustered() {
        true => vec![Server::options().place(&server.place).start().await],
        false => Vec::new(),
    };
    let key = alice.key(&["profile:read"]).await;
    let mut everywhere = vec![alice.clone(), server.bearer(&key)];
    for other in &others {
        everywhere.extend([other.bearer(alice.token()), other.bearer(&key)]);
    }
    for caller in &everywhere {
        is(&caller.get("/v1/profile/bob").await, 200, "");
    }
    is(&alice.put("/v1/blocked/bob", json!({})).await, 200, "");
    is(&alice.get("/v1/profile/bob").await, 404, "NOT_FOUND");
    is(&server.bearer(&key).get("/v1/profile/bob").await, 404, "NOT_FOUND");
    for caller in &everywhere {
        eventually("the block counts", async || {
            caller.get("/v1/profile/bob").await.code() == "NOT_FOUND"
        })
        .await;
    }
    is(&bob.get("/v1/profile/alice").await, 200, "");
}

#[tokio::test]
async fn blocks_have_bounds() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let database = server.place.database().await;
    let oneself = alice.put("/v1/blocked/Alice", json!({})).await;
    is(&oneself, 400, "VALIDATION_FAILED");
    assert!(oneself.body["details"]["fields"]["username"].is_string());
    for nobody in ["nobody", "deleted", "a%00b", "x"] {
        for answer in [
            alice.put(&format!("/v1/blocked/{nobody}"), json!({})).await,
            alice.delete(&format!("/v1/blocked/{nobody}")).await,
        ] {
            is(&answer, 404, "NOT_FOUND");
        }
    }
    // 999 members, whom nobody needs to be, and two more.
    let (id, hex) = match clustered() {
        true => ("lpad(to_hex(n), 32, '0')::uuid", "generate_series(1, 1001) AS s(n)"),
        false => (
            "unhex(printf('%032x', n))",
            "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 1001) SELECT n FROM s) s",
        ),
    };
    let (no, me) = ("1 = 0", "(SELECT id FROM members WHERE username = 'alice')");
    for statement in [
        format!(
            "INSERT INTO members (id, username, username_key, display_name, is_public, xp, role, triggers_paused,
                 search_key, created_at)
             SELECT {id}, 'm' || (n + 100), 'm' || (n + 100), 'm', {no}, 0, 'member', {no}, '', 0 FROM {hex}"
        ),
        format!("INSERT INTO blocks SELECT {me}, {id}, n FROM {hex} WHERE n < 1000"),
    ] {
        database.execute_unprepared(&statement).await.unwrap();
    }
    is(&alice.put("/v1/blocked/m1100", json!({})).await, 200, "");
    is(&alice.put("/v1/blocked/m1101", json!({})).await, 409, "CONFLICT");
    is(&alice.put("/v1/blocked/m1100", json!({})).await, 200, "");
    let blocked = alice.get("/v1/blocked").await.body["blocked"].take();
    let blocked = blocked.as_array().unwrap();
    assert_eq!(blocked.len(), 1_000);
    assert_eq!(
        (&blocked[0]["username"], &blocked[999]["username"]),
        (&json!("m101"), &json!("m1100"))
    );
    is(&alice.delete("/v1/blocked/m101").await, 200, "");
    is(&alice.put("/v1/blocked/m1101", json!({})).await, 200, "");
    // A set of a thousand is no burden.
    is(&alice.get("/v1/profiles").await, 200, "");
    is(&alice.get("/v1/triggers").await, 200, "");
}

#[tokio::test]
async fn a_block_is_made_once_for_its_key() {
    let server = Server::start().await;
    let (alice, _) = (server.member("alice").await, server.member("bob").await);
    let block = async || {
        let document = "mutation { blockMember(username: \"bob\") { user { username role } } }";
        let request = alice
            .request(reqwest::Method::POST, "/graphql")
            .header("idempotency-key", "k");
        crate::harness::send(request.json(&json!({ "query": document }))).await
    };
    let first = block().await;
    assert_eq!(first.body["data"]["blockMember"]["user"]["username"], "bob");
    is(&alice.delete("/v1/blocked/bob").await, 200, "");
    assert_eq!(block().await.body, first.body);
    is(&alice.get("/v1/profile/bob").await, 200, "");
}

#[tokio::test]
async fn a_report_keeps_what_was_said() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let carol = server.member("carol").await;
    let moderator = server.member_with_role("mona", "moderator").await;
    let message = say(&bob, "rude words").await;
    let other = say(&bob, "more of it").await;

    for (reason, expected) in [("", 400), (" ", 400), (&*"x".repeat(501), 400), ("a\u{0}b", 400)] {
        is(&report(&alice, &message, reason).await, expected, "VALIDATION_FAILED");
    }
    let own = report(&bob, &message, "mine").await;
    is(&own, 400, "VALIDATION_FAILED");
    assert!(own.body["details"]["fields"]["id"].is_string());
    for nothing in ["msg_00000000000000000000000000", "bob", "lobby"] {
        is(&report(&alice, nothing, "rude").await, 404, "NOT_FOUND");
    }
    let made = report(&alice, &message, "rude").await;
    is(&made, 200, "");
    let id = made.body["id"].as_str().unwrap().to_owned();
    is(&report(&alice, &message, "rude").await, 409, "CONFLICT");
    is(&report(&carol, &message, &"x".repeat(500)).await, 200, "");
    is(&report(&alice, &other, "this too").await, 200, "");

    // What became of the message changes nothing of the report.
    let path = format!("/v1/chat/messages/{message}");
    is(&bob.put(&path, json!({ "content": "kind words" })).await, 200, "");
    let open = reports(&moderator, true).await;
    assert_eq!(open.len(), 3);
    let first = &open[2];
    assert_eq!(
        (
            &first["id"],
            &first["content"],
            &first["reason"],
            &first["reporter"]["username"]
        ),
        (&json!(id), &json!("rude words"), &json!("rude"), &json!("alice"))
    );
    assert_eq!(
        (&first["message"]["id"], &first["message"]["content"]),
        (&json!(message), &json!("kind words"))
    );
    is(&bob.delete(&path).await, 200, "");
    let first = reports(&moderator, true).await.remove(2);
    assert_eq!(
        (&first["content"], &first["message"]["content"]),
        (&json!("rude words"), &json!(""))
    );
    is(
        &report(&server.member("dave").await, &message, "rude").await,
        404,
        "NOT_FOUND",
    );

    // A moderator sees what it is about whomever they have blocked.
    for username in ["alice", "bob"] {
        is(
            &moderator.put(&format!("/v1/blocked/{username}"), json!({})).await,
            200,
            "",
        );
    }
    let first = reports(&moderator, true).await.remove(2);
    assert_eq!(
        first["message"]["author"],
        json!({ "username": "bob", "profile": null })
    );
    assert_eq!(first["reporter"]["username"], "alice");
    assert_eq!(node(&moderator, &id).await.body["data"]["node"]["id"], json!(id));
    for caller in [&alice, &bob] {
        is(&node(caller, &id).await, 403, "FORBIDDEN");
        is(&caller.graphql(REPORTS, Value::Null).await, 403, "FORBIDDEN");
    }

    let close = "mutation ($id: ID!, $input: ModerateInput!) { closeReport(id: $id, input: $input) {
        report { id closedAt } } }";
    let closing = async |id: &str, until: Option<&str>| {
        let input = json!({ "reason": "seen", "until": until });
        moderator.graphql(close, json!({ "id": id, "input": input })).await
    };
    is(
        &closing(&id, Some("2999-01-01T00:00:00Z")).await,
        400,
        "VALIDATION_FAILED",
    );
    is(
        &closing("report_00000000000000000000000000", None).await,
        404,
        "NOT_FOUND",
    );
    is(&closing(&message, None).await, 404, "NOT_FOUND");
    let closed = closing(&id, None).await;
    assert!(
        closed.body["data"]["closeReport"]["report"]["closedAt"].is_string(),
        "{:#}",
        closed.body
    );
    is(&closing(&id, None).await, 409, "CONFLICT");
    assert_eq!(reports(&moderator, true).await.len(), 2);
    let closed = reports(&moderator, false).await;
    assert_eq!((closed.len(), &closed[0]["id"]), (1, &json!(id)));
    is(&report(&alice, &other, "again").await, 409, "CONFLICT");

    let admin = server.member_with_role("ada", "admin").await;
    let acts = audit(&admin).await;
    assert_eq!(acts.len(), 1);
    assert_eq!(
        (
            &acts[0]["action"],
            &acts[0]["reason"],
            &acts[0]["subject"]["username"],
            &acts[0]["actor"]["username"]
        ),
        (&json!("closeReport"), &json!("seen"), &json!("bob"), &json!("mona"))
    );
}

#[tokio::test]
async fn a_member_has_a_hundred_open_reports_at_most() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let moderator = server.member_with_role("mona", "moderator").await;
    let mut last = String::new();
    for n in 0..=100 {
        last = say(&bob, &format!("message {n}")).await;
        let code = if n == 100 { "CONFLICT" } else { "" };
        assert_eq!(report(&alice, &last, "rude").await.code(), code, "{n}");
    }
    let page = "query ($after: String) { reports(first: 60, after: $after) { nodes { id message { content } }
        pageInfo { hasNextPage endCursor } } }";
    let first = moderator.data(page, json!({})).await["reports"].take();
    assert_eq!(first["nodes"][0]["message"]["content"], "message 99");
    let after = json!({ "after": first["pageInfo"]["endCursor"] });
    let second = moderator.data(page, after).await["reports"].take();
    let count = |page: &Value| page["nodes"].as_array().unwrap().len();
    assert_eq!((count(&first), count(&second)), (60, 40));
    assert_eq!(second["pageInfo"]["hasNextPage"], false);
    is(
        &moderator.graphql(page, json!({ "after": "nonsense" })).await,
        400,
        "VALIDATION_FAILED",
    );

    let close = "mutation ($id: ID!) { closeReport(id: $id, input: { reason: \"seen\" }) { report { id } } }";
    moderator.data(close, json!({ "id": first["nodes"][0]["id"] })).await;
    is(&report(&alice, &last, "rude").await, 200, "");
}

#[tokio::test]
async fn moderators_mute_ban_and_reinstate() {
    let server = Server::start().await;
    let bob = server.member("bob").await;
    let moderator = server.member_with_role("mona", "moderator").await;
    let admin = server.member_with_role("ada", "admin").await;
    server.member_with_role("max", "moderator").await;
    const LATER: &str = "2999-01-01T00:00:00Z";

    is(&act(&bob, "muteMember", "mona", "no", None).await, 403, "FORBIDDEN");
    for (caller, username, code) in [
        (&moderator, "max", "FORBIDDEN"),
        (&moderator, "mona", "FORBIDDEN"),
        (&moderator, "ada", "FORBIDDEN"),
        (&admin, "ada", "FORBIDDEN"),
        (&admin, "deleted", "NOT_FOUND"),
        (&moderator, "nobody", "NOT_FOUND"),
    ] {
        for field in ["muteMember", "banMember", "reinstateMember"] {
            let answer = act(caller, field, username, "r", None).await;
            assert_eq!(answer.code(), code, "{field} {username}: {:#}", answer.body);
        }
    }
    for (reason, until) in [
        ("", None),
        ("r", Some("2001-01-01T00:00:00Z")),
        ("r", Some("soon")),
        (&*"x".repeat(501), None),
    ] {
        for field in ["muteMember", "banMember"] {
            is(
                &act(&moderator, field, "bob", reason, until).await,
                400,
                "VALIDATION_FAILED",
            );
        }
    }
    is(
        &act(&moderator, "reinstateMember", "bob", "r", None).await,
        409,
        "CONFLICT",
    );
    is(
        &act(&moderator, "reinstateMember", "bob", "r", Some(LATER)).await,
        400,
        "VALIDATION_FAILED",
    );
    assert_eq!(audit(&admin).await, [] as [Value; 0], "what is refused is no act");

    is(
        &act(&moderator, "muteMember", "BOB", "too loud", Some(LATER)).await,
        200,
        "",
    );
    let refused = bob.post("/v1/chat/messages", json!({ "content": "hi" })).await;
    is(&refused, 403, "MUTED");
    assert_eq!(refused.body["details"], json!({ "reason": "too loud", "until": LATER }));
    is(&bob.get("/v1/chat/messages").await, 200, "");
    // A new act takes the place of the one before.
    is(&act(&moderator, "muteMember", "bob", "still", None).await, 200, "");
    let refused = bob.post("/v1/chat/messages", json!({ "content": "hi" })).await;
    assert_eq!(refused.body["details"], json!({ "reason": "still" }));

    is(&act(&moderator, "banMember", "bob", "spam", Some(LATER)).await, 200, "");
    let refused = bob.get("/v1/me").await;
    is(&refused, 403, "BANNED");
    assert_eq!(refused.body["details"], json!({ "reason": "spam", "until": LATER }));
    let login = json!({ "username": "bob", "password": PASSWORD });
    is(&server.nobody().post("/v1/auth/login", login).await, 403, "BANNED");

    // What the moderator has blocked is no obstacle; both end together.
    is(&moderator.put("/v1/blocked/bob", json!({})).await, 200, "");
    is(
        &act(&moderator, "reinstateMember", "bob", "enough", None).await,
        200,
        "",
    );
    is(
        &act(&moderator, "reinstateMember", "bob", "enough", None).await,
        409,
        "CONFLICT",
    );
    say(&bob, "hello again").await;

    is(&act(&admin, "banMember", "max", "left", None).await, 200, "");
    let acts: Vec<String> = audit(&admin)
        .await
        .iter()
        .map(|act| {
            let text = |pointer: &str| act.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
            ["/actor/username", "/action", "/subject/username", "/reason", "/until"]
                .map(text)
                .join(" ")
        })
        .collect();
    assert_eq!(
        acts,
        [
            "ada ban max left -",
            "mona reinstate bob enough -",
            "mona ban bob spam 2999-01-01T00:00:00Z",
            "mona mute bob still -",
            "mona mute bob too loud 2999-01-01T00:00:00Z",
        ]
    );
    is(&moderator.graphql(AUDIT, Value::Null).await, 403, "FORBIDDEN");
    let entry = audit(&admin).await[0]["id"].as_str().unwrap().to_owned();
    is(&node(&moderator, &entry).await, 403, "FORBIDDEN");
    assert_eq!(node(&admin, &entry).await.body["data"]["node"]["id"], json!(entry));
    // A key needs the scope.
    let key = admin.key(&["chat:write", "profile:read"]).await;
    is(
        &act(&server.bearer(&key), "muteMember", "bob", "r", None).await,
        403,
        "FORBIDDEN",
    );
    let key = admin.key(&["moderate"]).await;
    is(
        &act(&server.bearer(&key), "muteMember", "bob", "r", None).await,
        200,
        "",
    );
}

#[tokio::test]
async fn a_mute_ends_when_it_is_said_to() {
    let server = Server::start().await;
    let bob = server.member("bob").await;
    let moderator = server.member_with_role("mona", "moderator").await;
    is(
        &act(&moderator, "muteMember", "bob", "r", Some("2999-01-01T00:00:00Z")).await,
        200,
        "",
    );
    is(
        &bob.post("/v1/chat/messages", json!({ "content": "hi" })).await,
        403,
        "MUTED",
    );
    let database = server.place.database().await;
    let over = "UPDATE members SET muted_until = 1 WHERE username = 'bob'";
    database.execute_unprepared(over).await.unwrap();
    say(&bob, "hi").await;
    is(
        &act(&moderator, "reinstateMember", "bob", "r", None).await,
        409,
        "CONFLICT",
    );
}

#[tokio::test]
async fn the_member_deleted_is_nobody() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let admin = server.member_with_role("ada", "admin").await;
    let profile = "profile_0000000000e008000000000000";
    for caller in [&alice, &admin] {
        is(&caller.get("/v1/profile/deleted").await, 404, "NOT_FOUND");
        is(&caller.put("/v1/profile/deleted", json!({})).await, 404, "NOT_FOUND");
        is(&node(caller, profile).await, 404, "NOT_FOUND");
        for path in ["/v1/profiles", "/v1/profiles?orderBy=XP"] {
            let listed = caller.get(path).await.body;
            assert!(!listed.to_string().contains("\"deleted\""), "{listed}");
            assert_eq!(listed["profiles"].as_array().unwrap().len(), 2);
        }
    }
}

#[tokio::test]
async fn a_deleted_account_leaves_no_words_with_the_moderators() {
    let server = Server::start().await;
    let admin = server.member_with_role("ada", "admin").await;
    let mona = server.member_with_role("mona", "moderator").await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let carol = server.member("carol").await;
    let message = say(&bob, "rude words").await;
    let kept = say(&carol, "other words").await;
    for (caller, message, reason) in [
        (&alice, &message, "alice says"),
        (&carol, &message, "carol says"),
        (&alice, &kept, "alice too"),
    ] {
        is(&report(caller, message, reason).await, 200, "");
    }
    is(&act(&mona, "muteMember", "bob", "too loud", None).await, 200, "");
    is(&alice.put("/v1/blocked/bob", json!({})).await, 200, "");
    let delete = async |caller: &Caller<'_>| {
        is(
            &caller.post("/v1/me/delete", json!({ "password": PASSWORD })).await,
            200,
            "",
        );
    };

    delete(&alice).await;
    let open = reports(&admin, true).await;
    assert_eq!(open.len(), 3);
    for (index, content) in [(0, "other words"), (2, "rude words")] {
        assert_eq!(
            (
                &open[index]["reporter"]["username"],
                &open[index]["reason"],
                &open[index]["content"]
            ),
            (&json!("deleted"), &json!(""), &json!(content))
        );
    }
    // Who reported the same: one report of a message stays.
    delete(&carol).await;
    let open = reports(&admin, true).await;
    assert_eq!(open.len(), 2);
    assert_eq!(
        (&open[0]["content"], &open[0]["message"]["author"]["username"]),
        (&json!(""), &json!("deleted"))
    );
    assert_eq!(open[1]["content"], "rude words");
    delete(&bob).await;
    delete(&mona).await;
    let open = reports(&admin, true).await;
    assert!(open.iter().all(|report| report["content"] == ""), "{open:#?}");
    let acts = audit(&admin).await;
    assert_eq!(
        (&acts[0]["actor"]["username"], &acts[0]["subject"], &acts[0]["reason"]),
        (
            &json!("deleted"),
            &json!({ "username": "deleted", "profile": null }),
            &json!("too loud")
        )
    );
    // Nothing else is left of what they wrote.
    let database = server.place.database().await;
    for (table, count) in [("blocks", 0), ("reports", 2), ("audit_entries", 1)] {
        let statement =
            sea_orm::Statement::from_string(database.get_database_backend(), format!("SELECT count(*) FROM {table}"));
        let row = database.query_one_raw(statement).await.unwrap().unwrap();
        let found: i64 = row.try_get_by_index(0).unwrap();
        assert_eq!(found, count, "{table}");
    }
}

#[tokio::test]
async fn words_of_the_list_are_refused_where_members_name_things() {
    let place = crate::harness::Place::new().await;
    let list = place.folder().join("words.txt");
    std::fs::write(&list, "# what nobody wants\nspam\nbuy now\n").unwrap();
    let server = Server::options()
        .place(&place)
        .set("BAMBISLEEP_WORD_FILTER", list.to_str().unwrap())
        .start()
        .await;
    let why = "has a word that is not allowed here";
    let register = async |username: &str| {
        let input = json!({ "username": username, "password": PASSWORD, "ofAge": true });
        server.nobody().post("/v1/auth/register", input).await
    };
    for username in ["spam", "5PAM", "the_spam-bot"] {
        let refused = register(username).await;
        is(&refused, 400, "VALIDATION_FAILED");
        assert_eq!(refused.body["details"]["fields"], json!({ "username": why }));
    }
    is(&register("spammer").await, 200, "");
    // Not the operator's own.
    let output = place.run(&["user", "create", "spam"], &format!("{PASSWORD}\n"));
    assert!(output.status.success());

    let alice = server.member("alice").await;
    let refused = alice.put("/v1/profile/alice", json!({ "displayName": "Ѕрам!" })).await;
    assert_eq!(refused.status, 200, "м does not look like m: {:#}", refused.body);
    let refused = alice.put("/v1/profile/alice", json!({ "displayName": "Ѕраm!" })).await;
    assert_eq!(refused.body["details"]["fields"], json!({ "displayName": why }));
    let good = json!({ "name": "calm", "description": "d", "content": "c" });
    for field in ["name", "description", "content"] {
        let mut bad = good.clone();
        bad[field] = json!("Please, bu\u{200b}y\tN0W");
        let refused = alice.post("/v1/triggers", bad).await;
        assert_eq!(refused.body["details"]["fields"], json!({ field: why }));
    }
    let made = alice.post("/v1/triggers", good).await;
    is(&made, 200, "");
    let path = format!("/v1/triggers/{}", made.body["id"].as_str().unwrap());
    for field in ["name", "description", "content"] {
        let refused = alice.put(&path, json!({ field: "spam" })).await;
        assert_eq!(refused.body["details"]["fields"], json!({ field: why }));
    }
    is(&alice.put(&path, json!({ "name": "antispam" })).await, 200, "");
}
