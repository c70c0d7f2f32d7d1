//! How many SQL statements operations run: a list as many for twenty entries as for two.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::{
    harness::{Caller, PASSWORD, Server, clustered},
    metrics::Metrics,
};

/// A server that counts its statements.
struct Counted {
    server: Server,
    metrics: Metrics,
}

impl Counted {
    async fn start() -> Self {
        let metrics = Metrics::new();
        let server = Server::options()
            .set("BAMBISLEEP_METRICS_BIND", &metrics.bind)
            .start()
            .await;
        Self { server, metrics }
    }

    /// Statements run for requests so far; what the node does by itself is counted apart.
    async fn total(&self) -> u64 {
        let total = self
            .metrics
            .value("bambisleep_sql_statements_total{work=\"requests\"}")
            .await;
        total.expect("statements are counted") as u64
    }

    /// Statements that an operation runs: the least of five times. A node that was kept from reading the log for a second
    /// (a busy machine) asks the database who is calling, once more than it would.
    async fn of(&self, caller: &Caller<'_>, document: &str, mut variables: impl AsyncFnMut(usize) -> Value) -> u64 {
        let mut least = u64::MAX;
        for time in 0..5 {
            let variables = variables(time).await;
            let before = self.total().await;
            caller.data(document, variables).await;
            least = least.min(self.total().await - before);
        }
        least
    }
}

const PROFILES: &str =
    "query ($first: Int!) { profiles(first: $first) { nodes { username triggers { name creator { username } } } } }";
const TRIGGERS: &str = "query ($first: Int!) { triggers(first: $first) {
    nodes { name creator { username profile { displayName triggers { name } } } } edges { cursor node { id } }
} }";
const EVENTS: &str = "query ($first: Int!) { events(first: $first) { nodes { id kind data } } }";
const MESSAGES: &str = "query ($first: Int!) { room(name: \"lobby\") { messages(last: $first) {
    nodes { content author { username role profile { xp } } room { name } }
} } }";
const SENT: &str = "query ($first: Int!) { events(kinds: [MESSAGE_NEW], first: $first) { nodes { data } } }";
const CONSENTS: &str = "query ($first: Int!) { viewer { consents(first: $first) { nodes { kind trigger { name creator { username } } } } } }";

const SESSIONS: &str = "query ($first: Int!) { viewer { sessions(first: $first) {
    nodes { id createdAt messageCount messages { role content timestamp } } edges { cursor node { id } }
} } }";

#[tokio::test]
async fn lists_run_as_many_statements_for_twenty_entries_as_for_two() {
    let counted = Counted::start().await;
    let server = &counted.server;
    let reader = server.member("reader").await;
    for n in 0..20 {
        let member = server.member(&format!("member{n}")).await;
        let trigger = member.trigger(&format!("trigger {n}"), true).await;
        let path = format!("/v1/triggers/{trigger}/activation");
        for caller in [&member, &reader] {
            assert_eq!((caller.post(&path, json!({})).await).status, 200);
        }
        let profile = format!("/v1/profile/member{n}");
        member.put(&profile, json!({ "displayName": "Changed" })).await;
    }
    for n in 0..20 {
        let content = json!({ "content": n.to_string() });
        assert_eq!((reader.post("/v1/chat/messages", content).await).status, 200);
        let prompt = json!({ "prompt": n.to_string(), "newSession": true });
        assert_eq!((reader.post("/v1/ai/generate", prompt).await).status, 200);
    }
    for (list, rows) in [
        (MESSAGES, "/room/messages/nodes"),
        (PROFILES, "/profiles/nodes"),
        (TRIGGERS, "/triggers/nodes"),
        (EVENTS, "/events/nodes"),
        (SENT, "/events/nodes"),
        (CONSENTS, "/viewer/consents/nodes"),
        (SESSIONS, "/viewer/sessions/nodes"),
    ] {
        crate::harness::eventually("twenty entries", async || {
            let data = reader.data(list, json!({ "first": 20 })).await;
            data.pointer(rows).unwrap().as_array().unwrap().len() == 20
        })
        .await;
        let few = counted.of(&reader, list, async |_| json!({ "first": 2 })).await;
        let many = counted.of(&reader, list, async |_| json!({ "first": 20 })).await;
        assert!((1..=6).contains(&few), "{list}: {few}");
        // A loader asks once for what comes together; what comes a moment later is one more.
        assert!(many <= few + 2, "{list}: {few} for two, {many} for twenty");
    }

    let own = "{ viewer { apiKeys { name scopes } logins { userAgent isCurrent } } }";
    let mut statements = Vec::new();
    for (name, count) in [("few", 2), ("many", 20)] {
        let member = server.member(name).await;
        for _ in 1..count {
            member.key(&["profile:read"]).await;
            let login = json!({ "username": name, "password": PASSWORD });
            assert_eq!((server.nobody().post("/v1/auth/login", login).await).status, 200);
        }
        let data = member.data(own, json!({})).await;
        assert_eq!(data["viewer"]["logins"].as_array().unwrap().len(), count);
        statements.push(counted.of(&member, own, async |_| json!({})).await);
    }
    assert_eq!(statements, [2, 2]);
}

const WEBHOOKS: &str = "query ($first: Int!) { viewer { webhooks(first: $first) {
    nodes { url health { successRate lastError } deliveries(first: 2) { nodes { status event { id data } } edges { cursor } } }
} } }";

#[tokio::test]
async fn a_list_of_webhooks_takes_as_many_statements_for_ten_as_for_two() {
    let counted = Counted::start().await;
    let alice = counted.server.member("alice").await;
    let hooks = webhooks_of(&alice, 10).await;
    for hook in &hooks {
        for _ in 0..3 {
            let ping = alice.post(&format!("{hook}/ping"), json!({})).await;
            assert_eq!(ping.status, 200, "{:#}", ping.body);
        }
    }
    let data = alice.data(WEBHOOKS, json!({ "first": 10 })).await;
    let nodes = data["viewer"]["webhooks"]["nodes"].as_array().unwrap();
    assert!(
        nodes
            .iter()
            .all(|hook| hook["deliveries"]["nodes"].as_array().unwrap().len() == 2)
    );
    assert_eq!(nodes.len(), 10);
    for first in [2, 10] {
        let statements = counted.of(&alice, WEBHOOKS, async |_| json!({ "first": first })).await;
        // A loader asks once for what comes together; what comes a moment later is one more.
        assert!((3..=5).contains(&statements), "{first}: {statements}");
    }
}

/// The paths of a member's new webhooks, which nobody receives.
async fn webhooks_of(member: &Caller<'_>, count: usize) -> Vec<String> {
    let mut paths = Vec::new();
    for _ in 0..count {
        let body = json!({ "url": "https://webhook.invalid/", "events": ["message.new"] });
        let made = member.post("/v1/webhooks", body).await;
        paths.push(format!("/v1/webhooks/{}", made.body["id"].as_str().unwrap()));
    }
    paths
}

const REPORTS: &str = "query ($first: Int!) { reports(first: $first) {
    nodes { content reporter { username role } message { content room { name } author { username } } }
} }";
const AUDIT_LOG: &str = "query ($first: Int!) { auditLog(first: $first) {
    nodes { action actor { username role } subject { username createdAt } }
} }";

#[tokio::test]
async fn what_keepers_of_order_list_takes_as_many_statements_for_twenty_entries_as_for_two() {
    let counted = Counted::start().await;
    let server = &counted.server;
    let admin = server.member_with_role("admin", "admin").await;
    let author = server.member("author").await;
    for n in 0..20 {
        let reporter = server.member(&format!("reporter{n}")).await;
        let message = author.post("/v1/chat/messages", json!({ "content": "hi" })).await;
        let path = format!("/v1/chat/messages/{}/report", message.body["id"].as_str().unwrap());
        assert_eq!(reporter.post(&path, json!({ "reason": "rude" })).await.status, 200);
        let mute = format!(
            "mutation {{ muteMember(username: \"reporter{n}\", input: {{ reason: \"r\" }}) {{ user {{ id }} }} }}"
        );
        admin.data(&mute, Value::Null).await;
    }
    for (list, rows, most) in [(REPORTS, "/reports/nodes", 2), (AUDIT_LOG, "/auditLog/nodes", 1)] {
        let data = admin.data(list, json!({ "first": 20 })).await;
        assert_eq!(data.pointer(rows).unwrap().as_array().unwrap().len(), 20);
        for first in [2, 20] {
            let statements = counted.of(&admin, list, async |_| json!({ "first": first })).await;
            assert_eq!(statements, most, "{list}: {first}");
        }
    }
}

/// Only on SQLite, for which the numbers are written down: Postgres takes as many, or one more where it locks a row.
#[tokio::test]
async fn each_operation_runs_as_many_statements_as_it_is_known_to() {
    if clustered() {
        return;
    }
    let counted = Counted::start().await;
    let server = &counted.server;
    let (alice, bob) = (server.member("alice").await, server.member("bob").await);
    let shared = bob.trigger("shared", true).await;
    let mut own = Vec::new();
    for n in 0..3 {
        let id = alice.trigger(&format!("own {n}"), false).await;
        alice.post(&format!("/v1/triggers/{id}/activation"), json!({})).await;
        own.push(id);
    }
    let mut report = String::new();
    for (name, document) in [
        ("who is calling", "{ viewer { rateLimit { limit } } }"),
        ("viewer.user", "{ viewer { user { username } } }"),
        ("viewer.email", "{ viewer { email } }"),
        (
            "viewer.profile with triggers",
            "{ viewer { profile { xp triggers { name } } } }",
        ),
        ("viewer.triggersPaused", "{ viewer { triggersPaused } }"),
        ("viewer.apiKeys", "{ viewer { apiKeys { name } } }"),
        ("viewer.logins", "{ viewer { logins { id } } }"),
        (
            "viewer.consents with triggers",
            "{ viewer { consents { nodes { kind trigger { name } } } } }",
        ),
        ("profile", "{ profile(username: \"bob\") { displayName } }"),
        (
            "three profiles at once",
            "{ a: profile(username: \"bob\") { xp } b: profile(username: \"alice\") { xp } c: profile(username: \"BOB\") { xp } }",
        ),
        (
            "profiles with triggers",
            "{ profiles { nodes { username triggers { name } } } }",
        ),
        (
            "triggers with creators",
            "{ triggers { nodes { name creator { username } } } }",
        ),
        (
            "triggers of a creator",
            "{ triggers(creator: \"bob\") { nodes { name } } }",
        ),
        ("events with data", "{ events { nodes { kind data } } }"),
        (
            "the last page of a room",
            "{ room(name: \"lobby\") { messages { nodes { content author { username } } } } }",
        ),
        ("rooms", "{ rooms { nodes { name } } }"),
        // The least of five: none but the first counts.
        (
            "serverStatus",
            "{ serverStatus { rooms members messagesLastMinute online } }",
        ),
        (
            "members of a room",
            "{ room(name: \"lobby\") { members { username } } }",
        ),
    ] {
        let statements = counted.of(&alice, document, async |_| json!({})).await;
        writeln!(report, "{name}: {statements}").unwrap();
    }
    let by_id = json!({ "id": shared });
    for (name, document) in [
        (
            "trigger with creator",
            "query ($id: ID!) { trigger(id: $id) { name creator { username } } }",
        ),
        ("node", "query ($id: ID!) { node(id: $id) { id } }"),
        (
            "activateTrigger",
            "mutation ($id: ID!) { activateTrigger(id: $id) { profile { xp } } }",
        ),
    ] {
        let statements = counted.of(&alice, document, async |_| by_id.clone()).await;
        writeln!(
            report,
            "{name}{}: {statements}",
            if name == "activateTrigger" { ", again" } else { "" }
        )
        .unwrap();
    }
    for (name, mutation) in [
        (
            "updateProfile",
            "updateProfile(username: \"alice\", input: { displayName: \"Al $n\" }) { profile { xp } }",
        ),
        (
            "updateProfile to what it is",
            "updateProfile(username: \"alice\", input: {}) { profile { xp } }",
        ),
        (
            "createTrigger, private",
            "createTrigger(input: { name: \"p$n\", content: \"c\" }) { trigger { id } }",
        ),
        (
            "createTrigger, public",
            "createTrigger(input: { name: \"s$n\", content: \"c\", isPublic: true }) { trigger { id } }",
        ),
        (
            "updateTrigger, description",
            "updateTrigger(id: \"$id\", input: { description: \"d$n\" }) { trigger { id } }",
        ),
        (
            "updateTrigger, content",
            "updateTrigger(id: \"$id\", input: { content: \"c$n\" }) { trigger { id } }",
        ),
        ("deactivateTrigger", "deactivateTrigger(id: \"$id\") { profile { xp } }"),
        ("activateTrigger", "activateTrigger(id: \"$id\") { profile { xp } }"),
        ("deleteTrigger", "deleteTrigger(id: \"$id\") { trigger { id } }"),
        ("pauseTriggers, then again twice", "pauseTriggers { profile { xp } }"),
        (
            "createApiKey",
            "createApiKey(input: { name: \"k\", scopes: [PROFILE_READ] }) { key }",
        ),
        ("createSocketTicket", "createSocketTicket { ticket }"),
        (
            "sendMessage",
            "sendMessage(input: { content: \"c\" }) { message { number author { username } } }",
        ),
        (
            "sendMessage with a nonce",
            "sendMessage(input: { content: \"c\", nonce: \"n$n\" }) { message { number } }",
        ),
        (
            "createRoom",
            "createRoom(input: { name: \"room-$n\" }) { room { name } }",
        ),
        (
            "createWebhook",
            "createWebhook(input: { url: \"https://webhook.invalid/\", events: [MESSAGE_NEW] }) { secret }",
        ),
    ] {
        let mut least = u64::MAX;
        for (n, own) in own.iter().enumerate() {
            let mutation = mutation.replace("$n", &n.to_string()).replace("$id", own);
            let before = counted.total().await;
            alice.data(&format!("mutation {{ {mutation} }}"), json!({})).await;
            least = least.min(counted.total().await - before);
        }
        writeln!(report, "{name}: {least}").unwrap();
    }
    insta::assert_snapshot!(report);
}
