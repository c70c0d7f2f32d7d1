//! Servers whose companions are on a test's own upstream, and the ways to ask them.

use reqwest::{Method, RequestBuilder, Response};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::{
    graphql_sse::{Events, Piece},
    graphql_ws::Socket,
    harness::{Answer, Caller, Place, Server},
    upstream::{Request, Upstream},
};

pub const GENERATE: &str = "mutation ($input: GenerateInput!) { generate(input: $input) {
    response audioUrl triggers { id name } sessionId
} }";
pub const GENERATION: &str = "subscription ($input: GenerateInput!) { generation(input: $input) {
    ... on GenerationDelta { text } ... on GeneratePayload { response audioUrl triggers { name } sessionId }
} }";

/// What a model was sent.
pub trait Sent {
    /// Role and text of each message.
    fn messages(&self) -> Vec<(&str, &str)>;
    /// All messages, as JSON.
    fn text(&self) -> String;
}

impl Sent for Request {
    fn messages(&self) -> Vec<(&str, &str)> {
        let messages = self.body["messages"].as_array().expect("a chat has messages").iter();
        messages
            .map(|message| (message["role"].as_str().unwrap(), message["content"].as_str().unwrap()))
            .collect()
    }

    fn text(&self) -> String {
        self.body["messages"].to_string()
    }
}

/// How often a server was asked to speak until now.
pub fn spoken(upstream: &Upstream) -> usize {
    let requests = upstream.requests();
    requests
        .iter()
        .filter(|request| request.path == "/v1/audio/speech")
        .count()
}

/// Settings with `MODEL_1` on the upstream; its table goes on with `more`.
pub fn model(upstream: &Upstream, more: &str) -> String {
    let url = upstream.url();
    format!("[ai.models.MODEL_1]\nprovider = \"openai\"\nbase_url = \"{url}\"\nmodel = \"llama\"\n{more}\n")
}

/// A new place with these settings.
pub async fn place(settings: &str) -> Place {
    let place = Place::new().await;
    std::fs::write(place.folder().join("bambisleep.toml"), settings).unwrap();
    place
}

/// A server with these settings.
pub async fn start(settings: &str) -> Server {
    Server::options().place(&place(settings).await).start().await
}

/// Changes rows behind the server's back; how many.
pub async fn execute(place: &Place, sql: &str) -> u64 {
    let database = place.database().await;
    let done = database.execute_unprepared(sql).await.unwrap().rows_affected();
    database.close().await.unwrap();
    done
}

/// What `SELECT COUNT(*)` gives.
pub async fn count(place: &Place, what: &str) -> i64 {
    let database = place.database().await;
    let sql = format!("SELECT COUNT(*) FROM {what}");
    let row = database.query_one_raw(Statement::from_string(database.get_database_backend(), sql));
    let count = row.await.unwrap().unwrap().try_get_by_index(0).unwrap();
    database.close().await.unwrap();
    count
}

/// That nothing was kept of any answer.
pub async fn assert_nothing_kept(server: &Server) {
    for what in ["sessions", "session_turns"] {
        assert_eq!(count(&server.place, what).await, 0, "{what}");
    }
}

pub fn is(answer: &Answer, status: u16, code: &str) {
    let told = (answer.status.as_u16(), answer.code());
    assert_eq!(told, (status, code), "{:#}", answer.body);
}

/// The answer to a prompt over REST.
pub async fn ask(caller: &Caller<'_>, prompt: &str) -> Value {
    generate(caller, json!({ "prompt": prompt })).await
}

/// The answer to what is asked over REST.
pub async fn generate(caller: &Caller<'_>, input: Value) -> Value {
    let answer = caller.post("/v1/ai/generate", input).await;
    assert_eq!(answer.status, 200, "{:#}", answer.body);
    answer.body
}

/// A new session with this first prompt; its id.
pub async fn begin(caller: &Caller<'_>, prompt: &str) -> String {
    let answer = generate(caller, json!({ "prompt": prompt, "newSession": true })).await;
    answer["sessionId"].as_str().unwrap().to_owned()
}

pub async fn sessions(caller: &Caller<'_>) -> Vec<Value> {
    let mut listed = caller.get("/v1/sessions?first=100").await;
    assert_eq!(listed.status, 200, "{:#}", listed.body);
    serde_json::from_value(listed.body["sessions"].take()).unwrap()
}

pub async fn xp(caller: &Caller<'_>) -> i64 {
    caller.get("/v1/me/profile").await.body["xp"].as_i64().unwrap()
}

/// How an answer is listened to while it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Rest,
    GraphqlSse,
    GraphqlWs,
}

pub const WAYS: [Way; 3] = [Way::Rest, Way::GraphqlSse, Way::GraphqlWs];

/// Something that is heard of an answer.
#[derive(Debug)]
pub enum Heard {
    Text(String),
    Payload(Value),
    /// As the protocol has errors: code, status and message.
    Error(Value),
    Complete,
    /// The stream has ended without a word.
    Gone,
}

impl Heard {
    pub fn text(self) -> String {
        match self {
            Heard::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }

    pub fn payload(self) -> Value {
        match self {
            Heard::Payload(payload) => payload,
            other => panic!("{other:?}"),
        }
    }

    pub fn code(self) -> String {
        match self {
            Heard::Error(error) => error["code"].as_str().unwrap().to_owned(),
            other => panic!("{other:?}"),
        }
    }
}

/// An answer that is listened to. It goes away when dropped.
pub enum Listener {
    Rest(Events),
    GraphqlSse(Events),
    GraphqlWs(Socket),
    /// Refused with a status.
    Refused(Option<Answer>),
}

pub fn rest_stream(caller: &Caller<'_>, input: &Value) -> RequestBuilder {
    let request = caller.request(Method::POST, "/v1/ai/generate");
    request.header("accept", "text/event-stream").json(input)
}

pub fn graphql_stream(caller: &Caller<'_>, input: &Value) -> RequestBuilder {
    let body = json!({ "query": GENERATION, "variables": { "input": input } });
    let request = caller.request(Method::POST, "/graphql");
    request.header("accept", "text/event-stream").json(&body)
}

impl Listener {
    /// Asks. Over REST that waits for the first that comes of it.
    pub async fn open(way: Way, caller: &Caller<'_>, input: &Value) -> Self {
        match way {
            Way::Rest => Self::of_rest(rest_stream(caller, input).send().await.unwrap()).await,
            Way::GraphqlSse => {
                let response = graphql_stream(caller, input).send().await.unwrap();
                Listener::GraphqlSse(Events::of(response))
            }
            Way::GraphqlWs => {
                let mut socket = Socket::of(caller).await;
                socket.subscribe("s", GENERATION, json!({ "input": input })).await;
                Listener::GraphqlWs(socket)
            }
        }
    }

    pub async fn of_rest(response: Response) -> Self {
        if response.status() == 200 {
            return Listener::Rest(Events::of(response));
        }
        let (status, headers) = (response.status(), response.headers().clone());
        assert_eq!(headers["content-type"], "application/json; charset=utf-8");
        let body = response.json().await.unwrap();
        Listener::Refused(Some(Answer { status, headers, body }))
    }

    /// What is heard next.
    pub async fn next(&mut self) -> Heard {
        match self {
            Listener::Rest(events) => match events.event().await {
                Some(Piece::Next { id: None, data }) => read(data),
                Some(Piece::Error(error)) => Heard::Error(error),
                Some(Piece::Complete) => Heard::Complete,
                None => Heard::Gone,
                other => panic!("{other:?}"),
            },
            Listener::GraphqlSse(events) => match events.event().await {
                Some(Piece::Next { id: None, data }) => read_graphql(data),
                Some(Piece::Complete) => Heard::Complete,
                None => Heard::Gone,
                other => panic!("{other:?}"),
            },
            Listener::GraphqlWs(socket) => {
                let mut message = socket.next().await;
                assert_eq!(message["id"], "s", "{message}");
                match message["type"].as_str() {
                    Some("next") => read_graphql(message["payload"].take()),
                    Some("error") => failure(&message["payload"][0]),
                    Some("complete") => Heard::Complete,
                    _ => panic!("{message}"),
                }
            }
            Listener::Refused(answer) => match answer.take() {
                Some(answer) => {
                    let mut body = answer.body;
                    body["status"] = answer.status.as_u16().into();
                    Heard::Error(body)
                }
                None => Heard::Gone,
            },
        }
    }

    /// Everything up to the payload, then the end: the pieces of text, and the payload.
    pub async fn rest(&mut self) -> (Vec<String>, Value) {
        let mut texts = Vec::new();
        loop {
            match self.next().await {
                Heard::Text(text) => texts.push(text),
                Heard::Payload(payload) => {
                    assert!(matches!(self.next().await, Heard::Complete));
                    return (texts, payload);
                }
                other => panic!("{other:?} after {texts:?}"),
            }
        }
    }

    /// What it failed with, after some text, as code; nothing but the end comes after.
    pub async fn failure(&mut self) -> String {
        loop {
            match self.next().await {
                Heard::Text(_) => {}
                other => {
                    let code = other.code();
                    if let Listener::Rest(_) | Listener::GraphqlSse(_) = self {
                        assert!(matches!(self.next().await, Heard::Complete));
                        assert!(matches!(self.next().await, Heard::Gone));
                    }
                    return code;
                }
            }
        }
    }
}

fn read_graphql(mut response: Value) -> Heard {
    if response.get("errors").is_some() {
        return failure(&response["errors"][0]);
    }
    read(response["data"]["generation"].take())
}

fn failure(error: &Value) -> Heard {
    let mut told = error["extensions"].clone();
    told["message"] = error["message"].clone();
    Heard::Error(told)
}

fn read(event: Value) -> Heard {
    match event["text"].as_str() {
        Some(text) => Heard::Text(text.to_owned()),
        None => Heard::Payload(event),
    }
}
