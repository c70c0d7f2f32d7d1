//! The event log: what is written into it, who sees what of it, and that nobody misses anything.

use std::{cell::Cell, collections::HashMap};

use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::{Value, json};

use crate::harness::{Answer, Caller, Server, clustered, eventually};

const EVENTS: &str = "query ($kinds: [EventKind!], $first: Int! = 100, $after: String) {
    events(kinds: $kinds, first: $first, after: $after) {
        nodes { id kind timestamp data } edges { cursor } pageInfo { hasNextPage hasPreviousPage endCursor }
    }
}";

/// What a caller sees of the log once it holds `count` events. On Postgres that takes until every transaction of the
/// cluster that was running when the last was written has ended.
async fn events(caller: &Caller<'_>, count: usize) -> Vec<Value> {
    let mut events = Vec::new();
    eventually(&format!("a log of {count} events"), async || {
        let mut page = caller.get("/v1/events?first=100").await;
        assert_eq!(page.status, 200, "{:#}", page.body);
        events = match page.body["events"].take() {
            Value::Array(events) => events,
            other => panic!("{other}"),
        };
        events.len() >= count
    })
    .await;
    assert_eq!(events.len(), count, "{events:#?}");
    events
}

/// Events as `kind name`.
fn told(events: &[Value]) -> Vec<String> {
    events
        .iter()
        .map(|event| {
            let data = &event["data"];
            let name = data["name"].as_str().or(data["displayName"].as_str()).unwrap();
            format!("{} {name}", event["kind"].as_str().unwrap())
        })
        .collect()
}

fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["id"].as_str().unwrap()).collect()
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
async fn the_log_holds_what_happened_and_nothing_else() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    assert!(events(&bob, 0).await.is_empty(), "registering is no event");

    let avatar = "https://example.org/a.png";
    alice
        .put("/v1/profile/alice", json!({ "displayName": "Al", "avatarUrl": avatar }))
        .await;
    // What changes nothing, or fails, is no event.
    let same = alice.get("/v1/profile/alice").await.body;
    alice.put("/v1/profile/alice", same).await;
    alice.put("/v1/profile/alice", json!({})).await;
    alice.put("/v1/profile/alice", json!({ "displayName": "" })).await;
    bob.put("/v1/profile/alice", json!({ "displayName": "x" })).await;

    let private = alice.trigger("private", false).await;
    let public = alice.trigger("public", true).await;
    alice
        .post(
            "/v1/triggers",
            json!({ "name": "PUBLIC", "content": "c", "isPublic": true }),
        )
        .await;
    let path = format!("/v1/triggers/{public}");
    alice.put(&path, json!({ "content": "edited", "isPublic": true })).await;
    bob.post(&format!("{path}/activation"), json!({})).await;
    bob.post("/v1/me/triggers/pause", json!({})).await;
    bob.delete(&format!("{path}/activation")).await;
    let seen = events(&bob, 2).await;
    assert_eq!(told(&seen), ["profile.update Al", "trigger.shared public"]);

    // Data is spelled as REST spells that thing, as it is now.
    for (event, path) in seen.iter().zip(["/v1/profile/alice", &path]) {
        let members: Vec<_> = event.as_object().unwrap().keys().collect();
        assert_eq!(members, ["id", "kind", "timestamp", "data"]);
        assert!(event["id"].as_str().unwrap().starts_with("evt_"));
        assert_eq!(event["timestamp"].as_str().unwrap().len(), 20);
        let thing = bob.get(path).await.body;
        let data = event["data"].as_object().unwrap();
        assert!(
            !data.is_empty() && data.iter().all(|(name, value)| thing[name] == *value),
            "{event:#}"
        );
    }
    let profile = bob.get("/v1/profile/alice").await.body;
    assert_eq!(seen[0]["data"], profile);
    let mut listed = bob.get("/v1/triggers").await.body["triggers"].take();
    assert_eq!(seen[1]["data"], listed[0].take());
    let over_graphql = bob.data(EVENTS, json!({})).await["events"]["nodes"].take();
    assert_eq!(over_graphql[1]["kind"], "TRIGGER_SHARED");
    for (event, other) in seen.iter().zip(over_graphql.as_array().unwrap()) {
        assert_eq!((&event["id"], &event["data"]), (&other["id"], &other["data"]));
    }

    // Becoming public is sharing, each time.
    let path = format!("/v1/triggers/{private}");
    alice
        .put(&path, json!({ "isPublic": true, "name": "was private" }))
        .await;
    let seen = events(&bob, 3).await;
    assert_eq!(told(&seen)[2], "trigger.shared was private");
    alice.put(&path, json!({ "isPublic": false })).await;
    alice.put(&path, json!({ "isPublic": true })).await;
    assert_eq!(told(&events(&bob, 4).await)[3], "trigger.shared was private");
}

#[tokio::test]
async fn a_reader_sees_what_it_may_see_when_it_reads() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let moderator = server.member_with_role("mod", "moderator").await;
    let (one, two) = (alice.trigger("one", true).await, alice.trigger("two", true).await);
    alice.put("/v1/profile/alice", json!({ "displayName": "Al" })).await;
    let all = events(&bob, 3).await;
    let node = "query ($id: ID!) { node(id: $id) { ... on Event { kind data } } }";
    let mut data = bob.data(node, json!({ "id": all[0]["id"] })).await;
    assert_eq!(data["node"]["data"].take(), all[0]["data"]);

    alice
        .put(&format!("/v1/triggers/{one}"), json!({ "isPublic": false }))
        .await;
    for caller in [&bob, &moderator] {
        let seen = events(caller, 2).await;
        assert_eq!(told(&seen), ["trigger.shared two", "profile.update Al"]);
        is(
            &caller.graphql(node, json!({ "id": all[0]["id"] })).await,
            200,
            "NOT_FOUND",
        );
    }
    // An event that is hidden by now is still a place to go on from.
    let after = bob
        .get(&format!("/v1/events?after={}", all[0]["id"].as_str().unwrap()))
        .await;
    assert_eq!(ids(after.body["events"].as_array().unwrap()), ids(&all[1..]));

    alice.delete(&format!("/v1/triggers/{two}")).await;
    alice.put("/v1/profile/alice", json!({ "isPublic": false })).await;
    assert!(events(&bob, 0).await.is_empty());
    assert_eq!(
        told(&events(&moderator, 2).await),
        ["profile.update Al", "profile.update Al"]
    );
    let own = events(&alice, 3).await;
    assert_eq!(own[1]["data"]["isPublic"], false);
    assert!(ids(&own).contains(&all[2]["id"].as_str().unwrap()));
}

#[tokio::test]
async fn the_log_is_read_by_kind_from_a_place_and_in_pages() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    for n in 0..4 {
        alice.trigger(&format!("t{n}"), true).await;
        alice
            .put("/v1/profile/alice", json!({ "displayName": format!("Al {n}") }))
            .await;
    }
    let all = events(&bob, 8).await;
    let some = async |query: &str| -> Vec<Value> {
        let answer = bob.get(&format!("/v1/events?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {:#}", answer.body);
        answer.body["events"].as_array().unwrap().clone()
    };
    let of = |kind: &str| -> Vec<Value> { all.iter().filter(|event| event["kind"] == kind).cloned().collect() };
    assert_eq!(some("kinds=trigger.shared").await, of("trigger.shared"));
    assert_eq!(
        some("kinds=profile.update&kinds=profile.update").await,
        of("profile.update")
    );
    assert_eq!(some("kinds=profile.update&kinds=trigger.shared").await, all);
    assert!(some("kinds=message.new").await.is_empty());
    let kinds = json!({ "kinds": ["TRIGGER_SHARED"], "first": 2 });
    let page = bob.data(EVENTS, kinds).await["events"].take();
    assert_eq!(page["nodes"][1]["id"], all[2]["id"]);
    assert_eq!(page["edges"][1]["cursor"], all[2]["id"]);
    let info = json!({ "hasNextPage": true, "hasPreviousPage": false, "endCursor": all[2]["id"] });
    assert_eq!(page["pageInfo"], info);

    let id = |n: usize| all[n]["id"].as_str().unwrap();
    assert_eq!(some(&format!("after={}", id(2))).await, all[3..]);
    assert_eq!(
        some(&format!("after={}&kinds=trigger.shared", id(1))).await,
        [all[2].clone(), all[4].clone(), all[6].clone()]
    );
    assert!(some(&format!("after={}", id(7))).await.is_empty());

    let (mut paged, mut path) = (
        Vec::new(),
        "/v1/events?first=3&kinds=profile.update&kinds=trigger.shared".to_owned(),
    );
    loop {
        let page = bob.get(&path).await;
        let members: Vec<_> = page.body.as_object().unwrap().keys().collect();
        assert_eq!(members, ["events"]);
        paged.extend(page.body["events"].as_array().unwrap().clone());
        let Some(link) = page.header("link") else { break };
        assert!(link.contains("rel=\"next\"") && !link.contains("prev"), "{link}");
        let next = link.split(['<', '>']).nth(1).unwrap();
        assert!(next.contains("first=3"), "{next}");
        path = next[next.find("/v1/").unwrap()..].to_owned();
    }
    assert_eq!(paged, all);

    is(
        &bob.get("/v1/events?after=evt_01h455vb4pex5vsknk084sn02q").await,
        404,
        "NOT_FOUND",
    );
    let unknown = json!({ "after": "evt_01h455vb4pex5vsknk084sn02q" });
    is(&bob.graphql(EVENTS, unknown).await, 200, "NOT_FOUND");
    for query in [
        "after=nonsense",
        "after=",
        "after=evt_",
        "after=trigger_01h455vb4pex5vsknk084sn02q",
        "first=0",
        "first=101",
    ] {
        is(&bob.get(&format!("/v1/events?{query}")).await, 400, "VALIDATION_FAILED");
    }
    for query in ["kinds=nonsense", "first=many", "kinds="] {
        is(&bob.get(&format!("/v1/events?{query}")).await, 400, "BAD_REQUEST");
    }
    let answer = bob.graphql(EVENTS, json!({ "kinds": [] })).await;
    is(&answer, 200, "VALIDATION_FAILED");
    assert!(answer.body["errors"][0]["extensions"]["details"]["fields"]["kinds"].is_string());

    // A key for events needs no other scope to read what happened, and one without it reads nothing.
    let key = bob.key(&["events:read"]).await;
    let reader = server.bearer(&key);
    assert_eq!(events(&reader, 8).await, all);
    is(&reader.get("/v1/profile/alice").await, 403, "FORBIDDEN");
    is(&reader.get("/v1/triggers").await, 403, "FORBIDDEN");
    let document = "{ events { nodes { data } } profile(username: \"alice\") { xp } }";
    let answer = reader.graphql(document, json!({})).await;
    assert_eq!((answer.code(), answer.body["data"].is_null()), ("FORBIDDEN", true));
    let other = bob.key(&["profile:write", "triggers:write"]).await;
    is(&server.bearer(&other).get("/v1/events").await, 403, "FORBIDDEN");
    is(&server.nobody().get("/v1/events").await, 401, "UNAUTHENTICATED");
}

#[tokio::test]
async fn what_goes_away_while_it_is_read_does_not_fail_the_rest() {
    let server = Server::start().await;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    alice.trigger("stays", true).await;
    events(&bob, 1).await;
    let writing = async {
        for n in 0..25 {
            let ids = futures_util::future::join_all((0..4).map(|m| {
                let (alice, name) = (&alice, format!("t{n} {m}"));
                async move { alice.trigger(&name, true).await }
            }))
            .await;
            for id in ids {
                alice.delete(&format!("/v1/triggers/{id}")).await;
            }
        }
    };
    let reading = async |done: &Cell<bool>| {
        while !done.get() {
            let answer = bob.get("/v1/events?first=100").await;
            assert_eq!(answer.status, 200, "{:#}", answer.body);
            assert_eq!(answer.body["events"][0]["data"]["name"], "stays");
        }
    };
    let finished = Cell::new(false);
    tokio::join!(
        async {
            writing.await;
            finished.set(true);
        },
        reading(&finished),
        reading(&finished),
    );
}

/// Everything that a reader sees from a place on, page by page.
async fn read_on(reader: &Caller<'_>, after: &mut Option<String>, seen: &mut Vec<Value>) {
    loop {
        let place = after.as_ref().map(|id| format!("&after={id}")).unwrap_or_default();
        let page = reader.get(&format!("/v1/events?first=7{place}")).await;
        assert_eq!(page.status, 200, "{:#}", page.body);
        let events = page.body["events"].as_array().unwrap();
        if let Some(last) = events.last() {
            *after = Some(last["id"].as_str().unwrap().to_owned());
        }
        seen.extend(events.iter().cloned());
        if page.header("link").is_none() {
            return;
        }
    }
}

/// Only on Postgres, where transactions run side by side: SQLite has one writer.
#[tokio::test]
async fn no_reader_passes_over_an_event_that_was_written_first_and_committed_last() {
    if !clustered() {
        return;
    }
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let slow_one = alice.trigger("slow", false).await;
    let database = server.place.database().await;

    // As a server would, in a transaction of the test's own: the trigger becomes public, which is an event.
    let slow = database.begin().await.unwrap();
    let id = uuid_of(&slow_one);
    let event = uuid::Uuid::now_v7();
    for sql in [
        format!("INSERT INTO subjects (id, last_seq) VALUES ('{id}', 1)"),
        format!(
            "INSERT INTO events (id, subject_id, seq, kind, actor_id, object_id, created_at)
             VALUES ('{event}', '{id}', 1, 'trigger.shared', NULL, '{id}', 0)"
        ),
        format!("UPDATE triggers SET is_public = true WHERE id = '{id}'"),
    ] {
        slow.execute_unprepared(&sql).await.unwrap();
    }
    // Meanwhile another member shares a trigger, and that is committed.
    let bob = server.member("bob").await;
    bob.trigger("fast", true).await;
    let visible = "SELECT count(*) FROM events WHERE kind = 'trigger.shared'";
    let row = database
        .query_one_raw(sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, visible))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.try_get_by_index::<i64>(0).unwrap(), 1, "the fast one is on disk");

    let (mut after, mut seen) = (None, Vec::new());
    for _ in 0..5 {
        read_on(&bob, &mut after, &mut seen).await;
        assert!(seen.is_empty(), "passed over what is still being written: {seen:#?}");
    }
    slow.commit().await.unwrap();
    eventually("both are seen", async || {
        read_on(&bob, &mut after, &mut seen).await;
        seen.len() >= 2
    })
    .await;
    assert_eq!(told(&seen), ["trigger.shared slow", "trigger.shared fast"]);
}

/// The UUID in a TypeID.
fn uuid_of(id: &str) -> uuid::Uuid {
    bambisleep_chat::id::parse(id).unwrap().1
}

#[tokio::test]
async fn a_reader_among_many_writers_sees_each_event_once_and_each_subjects_in_order() {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 12;
    let server = Server::start().await;
    // On SQLite the same node twice: a file has one server.
    let second = match clustered() {
        true => Some(Server::options().place(&server.place).start().await),
        false => None,
    };
    let nodes = [&server, second.as_ref().unwrap_or(&server)];
    let reader = server.member("reader").await;
    let mut tokens = Vec::new();
    for n in 0..WRITERS {
        tokens.push(server.member(&format!("writer{n}")).await.token().to_owned());
    }
    let writing = futures_util::future::join_all(tokens.iter().enumerate().map(|(n, token)| async move {
        let writer = nodes[n % 2].bearer(token);
        let profile = format!("/v1/profile/writer{n}");
        for round in 0..ROUNDS {
            if round % 3 == 0 {
                writer.trigger(&format!("w{n} r{round}"), true).await;
            } else {
                let answer = writer
                    .put(&profile, json!({ "displayName": format!("w{n} r{round}") }))
                    .await;
                assert_eq!(answer.status, 200, "{:#}", answer.body);
            }
        }
    }));
    let reading = async {
        let others = [nodes[0].bearer(reader.token()), nodes[1].bearer(reader.token())];
        let (mut after, mut seen) = (None, Vec::new());
        let mut turn = 0;
        eventually("the reader sees everything", async || {
            // Its place holds on either node.
            turn += 1;
            read_on(&others[turn % 2], &mut after, &mut seen).await;
            seen.len() >= WRITERS * ROUNDS
        })
        .await;
        (seen, after)
    };
    let (_, (mut seen, mut after)) = tokio::join!(writing, reading);
    read_on(&reader, &mut after, &mut seen).await;
    let mut distinct = ids(&seen);
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!((seen.len(), distinct.len()), (WRITERS * ROUNDS, WRITERS * ROUNDS));

    // What the database says of the order of each subject.
    let database = server.place.database().await;
    let sql = "SELECT id, subject_id, seq FROM events WHERE kind <> 'caller.changed'";
    let rows = database
        .query_all_raw(sea_orm::Statement::from_string(database.get_database_backend(), sql))
        .await
        .unwrap();
    let numbered: HashMap<uuid::Uuid, (uuid::Uuid, i64)> = rows
        .iter()
        .map(|row| {
            let subject = row.try_get_by_index(1).unwrap();
            (
                row.try_get_by_index(0).unwrap(),
                (subject, row.try_get_by_index(2).unwrap()),
            )
        })
        .collect();
    let mut last: HashMap<uuid::Uuid, i64> = HashMap::new();
    for id in ids(&seen) {
        let (subject, seq) = numbered[&uuid_of(id)];
        let before = last.insert(subject, seq).unwrap_or(0);
        assert_eq!(seq, before + 1, "the events of a subject come in order, without gaps");
    }
}
