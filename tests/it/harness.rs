//! A real server for each test, as a process, on the database that `TEST_BACKEND` names (`sqlite`, the default, or
//! `postgres`, which also has Redis), and members who talk to it.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use reqwest::{Client, Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Child,
    time::timeout,
};

pub const PASSWORD: &str = "correct horse battery";
/// How long anything may take that does not depend on the test.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Where a server keeps its data. Several servers (nodes) may share one.
#[derive(Clone, Debug)]
pub struct Place {
    folder: Arc<Folder>,
    env: HashMap<String, String>,
}

/// A folder that is gone with the last that knows of it.
#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // A server that was killed this instant may still hold a file: its next run removes the rest.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether tests run on Postgres and Redis.
pub fn clustered() -> bool {
    std::env::var("TEST_BACKEND").is_ok_and(|backend| backend == "postgres")
}

impl Place {
    /// A new, empty one.
    pub async fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("it_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(&name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let mut env = HashMap::new();
        if clustered() {
            let cluster = std::env::var("TEST_DATABASE_URL").expect("scripts/test sets TEST_DATABASE_URL");
            let redis = std::env::var("TEST_REDIS_URL").expect("scripts/test sets TEST_REDIS_URL");
            let mut url = url::Url::parse(&cluster).unwrap();
            let connection = sea_orm::Database::connect(cluster.as_str()).await.unwrap();
            let create = format!("CREATE DATABASE {name} TEMPLATE template0");
            sea_orm::ConnectionTrait::execute_unprepared(&connection, &create)
                .await
                .unwrap();
            connection.close().await.unwrap();
            url.set_path(&name);
            env.insert("DATABASE_URL".into(), url.into());
            env.insert("REDIS_URL".into(), redis);
            env.insert("BAMBISLEEP_REDIS_PREFIX".into(), format!("{name}:"));
        }
        Self {
            folder: Arc::new(Folder(folder)),
            env,
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// A connection of the test's own to the server's database.
    pub async fn database(&self) -> sea_orm::DatabaseConnection {
        let url = match self.env.get("DATABASE_URL") {
            Some(url) => url.clone(),
            None => format!("sqlite:{}", self.folder().join("data/bambisleep.sqlite").display()),
        };
        sea_orm::Database::connect(url).await.unwrap()
    }

    /// A setting of every server and command in this place.
    pub fn set(&mut self, name: &str, value: &str) {
        self.env.insert(name.into(), value.into());
    }

    /// The program with this place's settings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bambisleep-chat"));
        command
            .args(arguments)
            .current_dir(self.folder())
            .env("BAMBISLEEP_DATA_DIR", self.folder().join("data"));
        for name in ["DATABASE_URL", "REDIS_URL", "RUST_LOG"] {
            command.env_remove(name);
        }
        command.envs(&self.env);
        command
    }

    /// Runs a command of the program to its end.
    pub fn run(&self, arguments: &[&str], stdin: &str) -> Output {
        use std::io::Write;

        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that ends before it has read all is no failure of the test's.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    }
}

/// An address that nobody listens on and that the system gives to no other connection: what listens there can end and
/// come back while clients try to reach it.
pub fn address_to_keep() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Below the ports that Linux takes for connections, so that none takes it meanwhile, nor meets itself there.
        let port = 12_000 + (std::process::id() * 61 + NEXT.fetch_add(1, Ordering::Relaxed)) % 8_000;
        let address = (Ipv4Addr::LOCALHOST, port as u16).into();
        if TcpListener::bind::<SocketAddr>(address).is_ok() {
            return address;
        }
    }
}

/// A running server. It is killed when dropped.
pub struct Server {
    pub place: Place,
    pub address: SocketAddr,
    child: Child,
    log: tokio::task::JoinHandle<String>,
    pub http: Client,
}

/// How a server is to be started.
pub struct Options {
    place: Option<Place>,
    address: SocketAddr,
    env: HashMap<String, String>,
}

impl Options {
    /// To listen there, and not on any free port.
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    pub fn place(mut self, place: &Place) -> Self {
        self.place = Some(place.clone());
        self
    }

    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// With the limits that a server has when nobody sets them.
    pub fn with_default_limits(mut self) -> Self {
        self.env.clear();
        self
    }

    pub async fn start(self) -> Server {
        let mut place = match self.place {
            Some(place) => place,
            None => Place::new().await,
        };
        place.env.extend(self.env);
        let mut command = tokio::process::Command::from(place.command(&["serve"]));
        let mut child = command
            .env("BAMBISLEEP_BIND", self.address.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = tokio::spawn(async move {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text).await;
            text
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, stdout.next_line())
            .await
            .expect("the server says that it is ready")
            .unwrap();
        let Some(line) = line else {
            panic!("the server did not start: {}", log.await.unwrap());
        };
        let address = line
            .strip_prefix("listening on http://")
            .unwrap_or_else(|| panic!("{line}"));
        Server {
            address: address.parse().unwrap(),
            place,
            child,
            log,
            http: client(),
        }
    }
}

/// A client without a cookie jar: what a test sends is what it says.
pub fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

impl Server {
    /// With no limits on requests, which most tests are not about.
    pub async fn start() -> Server {
        Server::options().start().await
    }

    /// To be started with settings; without limits unless they are set.
    pub fn options() -> Options {
        let env = [
            ("BAMBISLEEP_RATE_LIMIT_AUTHENTICATED", "0"),
            ("BAMBISLEEP_RATE_LIMIT_ANONYMOUS", "0"),
        ];
        Options {
            place: None,
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            env: env.map(|(name, value)| (name.into(), value.into())).into(),
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    /// Nobody in particular.
    pub fn nobody(&self) -> Caller<'_> {
        Caller {
            server: self,
            bearer: None,
        }
    }

    /// Whoever a session token or API key is for.
    pub fn bearer(&self, token: &str) -> Caller<'_> {
        Caller {
            server: self,
            bearer: Some(token.to_owned()),
        }
    }

    /// A new member, logged in.
    pub async fn member(&self, username: &str) -> Caller<'_> {
        let document = "mutation ($input: RegisterInput!) { register(input: $input) { token } }";
        let input = json!({ "username": username, "password": PASSWORD, "ofAge": true });
        let data = self.nobody().data(document, json!({ "input": input })).await;
        self.bearer(data["register"]["token"].as_str().unwrap())
    }

    /// A new member with a role, logged in.
    pub async fn member_with_role(&self, username: &str, role: &str) -> Caller<'_> {
        let output = self
            .place
            .run(&["user", "create", username, "--role", role], &format!("{PASSWORD}\n"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let input = json!({ "username": username, "password": PASSWORD });
        let document = "mutation ($input: LoginInput!) { login(input: $input) { token } }";
        let data = self.nobody().data(document, json!({ "input": input })).await;
        self.bearer(data["login"]["token"].as_str().unwrap())
    }

    /// Asks the server to end, and waits; what it logged.
    pub async fn terminate(mut self) -> (std::process::ExitStatus, String) {
        self.signal("TERM");
        let status = timeout(PATIENCE, self.child.wait())
            .await
            .expect("the server ends")
            .unwrap();
        (status, self.log.await.unwrap())
    }

    /// Ends the server without a chance to do anything.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().expect("the server is running").to_string();
        assert!(
            Command::new("kill")
                .args([&format!("-{name}"), &pid])
                .status()
                .unwrap()
                .success()
        );
    }
}

/// Someone who talks to a server.
#[derive(Clone)]
pub struct Caller<'a> {
    pub server: &'a Server,
    pub bearer: Option<String>,
}

/// An answer of the server.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The body, if it is JSON; else null.
    pub body: Value,
}

impl Answer {
    /// The `code` of an error: REST's, or the first of GraphQL's; empty where there is none.
    pub fn code(&self) -> &str {
        let graphql = self.body["errors"][0]["extensions"]["code"].as_str();
        graphql.or(self.body["code"].as_str()).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Caller<'_> {
    pub fn token(&self) -> &str {
        self.bearer.as_deref().expect("a caller with a token")
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.server.request(method, path);
        match &self.bearer {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// GraphQL, whatever comes of it.
    pub async fn graphql(&self, document: &str, variables: Value) -> Answer {
        let body = json!({ "query": document, "variables": variables });
        send(self.request(Method::POST, "/graphql").json(&body)).await
    }

    /// The data of a GraphQL answer that has no errors.
    pub async fn data(&self, document: &str, variables: Value) -> Value {
        let mut answer = self.graphql(document, variables).await;
        assert!(answer.body.get("errors").is_none(), "{document}: {:#}", answer.body);
        answer.body["data"].take()
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        send(self.request(Method::POST, path).json(&body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        send(self.request(Method::PUT, path).json(&body)).await
    }

    /// An API key of this member's with scopes as REST spells them.
    pub async fn key(&self, scopes: &[&str]) -> String {
        let scopes: Vec<String> = scopes
            .iter()
            .map(|scope| scope.to_uppercase().replace(':', "_"))
            .collect();
        let document = "mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) { key } }";
        let data = self
            .data(document, json!({ "input": { "name": "test", "scopes": scopes } }))
            .await;
        data["createApiKey"]["key"].as_str().unwrap().to_owned()
    }

    /// A trigger of this member's; its id.
    pub async fn trigger(&self, name: &str, is_public: bool) -> String {
        let document = "mutation ($input: CreateTriggerInput!) { createTrigger(input: $input) { trigger { id } } }";
        let input = json!({ "name": name, "content": format!("{name}, now"), "isPublic": is_public });
        let data = self.data(document, json!({ "input": input })).await;
        data["createTrigger"]["trigger"]["id"].as_str().unwrap().to_owned()
    }
}

pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await.unwrap();
    Answer {
        status,
        headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    }
}

/// Looks until something is so: for what other nodes and background work do in their own time.
pub async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut holds: F) {
    let start = std::time::Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "{what} did not come true");
        tokio::task::yield_now().await;
    }
}

/// A Redis of a test's own that it may kill and start again, empty, at the same address. It ends when dropped.
pub struct RedisServer {
    port: u16,
    child: std::process::Child,
}

impl RedisServer {
    pub async fn start() -> Self {
        let port = address_to_keep().port();
        let child = Self::spawn(port).await;
        Self { port, child }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub async fn restart(&mut self) {
        self.child = Self::spawn(self.port).await;
    }

    async fn spawn(port: u16) -> std::process::Child {
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
            .arg(port.to_string())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        eventually("Redis listens", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        child
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // Fails where the test has killed it already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a script of `tests/npm` says, given `stdin`. It must succeed.
pub async fn node(script: &str, arguments: &[&str], stdin: &str) -> String {
    use tokio::io::AsyncWriteExt;

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/npm");
    assert!(
        folder.join("node_modules").is_dir(),
        "scripts/install installs what {script} needs"
    );
    let mut child = tokio::process::Command::new("node")
        .arg(folder.join(script))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // A script that ends before it has read all fails by its status.
    let written = async move {
        let _ = pipe.write_all(stdin.as_bytes()).await;
    };
    let (_, output) = tokio::join!(written, timeout(PATIENCE, child.wait_with_output()));
    let output = output.expect("the script ends").unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} failed:\n{said}{complaint}");
    said
}
