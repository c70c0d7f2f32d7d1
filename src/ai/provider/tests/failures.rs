//! What callers are told when a server does not do what it should, and what nobody is told.

use std::{
    future::ready,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::TcpListener;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

/// What a call fails with that gets this reply: what the caller is told, and what the log keeps. The server was asked once.
async fn failure(reply: Reply) -> Error {
    let upstream = Upstream::start().await;
    upstream.next(reply);
    let error = ask(&model(&upstream.url())).await.unwrap_err();
    assert_eq!(upstream.requests().len(), 1, "asked once: {error:?}");
    let told = error.rest_body().to_string();
    assert!(!told.contains("127.0.0.1") && !told.contains("SECRET"), "{told}");
    error
}

fn with_timeouts(url: &str, first_token: Duration, whole: Duration) -> Model {
    let mut ai = settings(url);
    if let config::Provider::OpenAi {
        timeout,
        first_token_timeout,
        ..
    } = &mut ai.models[0].provider
    {
        (*first_token_timeout, *timeout) = (first_token, whole);
    }
    first(&ai)
}

#[tokio::test]
async fn statuses_are_told_apart() {
    let refused = "the model's server refused the request";
    for status in [302, 400, 401, 403, 404, 408, 422] {
        let error = failure(Reply::status(status, "SECRET").header("location", "/v1/chat/completions")).await;
        assert_eq!(
            (error.kind(), error.message()),
            (Kind::UpstreamFailed, refused),
            "{status}"
        );
        // What is said of a key may quote it.
        let log = format!("{error:?}");
        assert!(log.contains(&status.to_string()), "{log}");
        assert_eq!(log.contains("SECRET"), status != 401, "{log}");
    }
    for status in [500, 502, 504] {
        let error = failure(Reply::status(status, "SECRET")).await;
        assert_eq!(
            (error.kind(), error.message()),
            (Kind::UpstreamFailed, "the model's server failed")
        );
        assert!(format!("{error:?}").contains("SECRET"));
    }
    for (status, header, wait) in [(429, "7", 7), (429, "3600", 300), (503, "", 5), (503, "2", 2)] {
        let error = failure(Reply::status(status, "SECRET").header("retry-after", header)).await;
        assert_eq!(
            (error.kind(), error.message()),
            (Kind::Unavailable, "the model's server is busy")
        );
        assert_eq!(error.retry_after(), Some(wait));
    }
}

#[tokio::test]
async fn broken_streams_are_told() {
    let cut_off = "the model's answer was cut off";
    let garbled = "the model's server gave no answer that could be read";
    let event_stream = |parts: &[&str]| {
        let parts = parts.iter().map(|part| part.to_string());
        Reply::raw("text/event-stream", parts.collect::<Vec<_>>())
    };
    let half = "data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\n";
    for (reply, message) in [
        (Reply::stream(&["half"]).cut(), ""), // ends well before it is cut
        (event_stream(&[half]).cut(), cut_off),
        (event_stream(&[half]), cut_off),
        (event_stream(&[half, "data: {\"choices\":[{\"delta\""]), garbled),
        (event_stream(&[": nothing\n\n"]), garbled),
        (event_stream(&[]), cut_off),
        (event_stream(&[half, "data: SECRET\n\n"]), garbled),
        (
            event_stream(&[half, "data: {\"error\":{\"message\":\"SECRET\"}}\n\n"]),
            "the model failed to answer",
        ),
        (Reply::raw("text/html", ["<html><body>SECRET</body></html>"]), garbled),
        (
            Reply::raw(
                "application/octet-stream",
                [vec![0, 0xff, 0xfe, b'\n', 0x80, b'\n', b'\n']],
            ),
            garbled,
        ),
        (
            Reply::raw("text/event-stream", [b"data: \xff\xff\n\n".to_vec()]),
            garbled,
        ),
        (Reply::raw("application/json", ["{\"SECRET\":1}"]), garbled),
        (Reply::raw("application/json", ["{\"choices\":"]), garbled),
        (Reply::raw("application/json", [b"{\"\xff\":1}".to_vec()]), garbled),
        (
            Reply::raw("application/json", ["{\"error\":\"SECRET\"}"]),
            "the model failed to answer",
        ),
        (Reply::plain("x").cut(), cut_off),
        (Reply::stream(&[]), "the model gave an empty answer"),
        (Reply::stream(&[" ", "\n"]), "the model gave an empty answer"),
        (Reply::plain(""), "the model gave an empty answer"),
    ] {
        if message.is_empty() {
            answer(reply).await.unwrap();
            continue;
        }
        let error = failure(reply).await;
        assert_eq!(
            (error.kind(), error.message()),
            (Kind::UpstreamFailed, message),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn answers_without_end_are_ended_here() {
    let chunk = |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let long = "x".repeat(10 * 1024 * 1024);
    let part = "x".repeat(10 * 1024);
    for (what, parts) in [
        ("one event", vec![chunk(&long)]),
        ("many events", vec![chunk(&part); 1024]),
        ("one line", vec![part.clone(); 1024]),
        ("comments", vec![format!(": {part}\n\n"); 1024]),
        (
            "one body",
            vec![format!("{{\"choices\":[{{\"message\":{{\"content\":\"{long}\"}}}}]}}")],
        ),
    ] {
        let upstream = Upstream::start().await;
        // It would go on for ever.
        let (reply, steps) = Reply::steps();
        upstream.next(reply);
        parts.into_iter().for_each(|part| steps.raw(part));
        let error = ask(&model(&upstream.url())).await.unwrap_err();
        assert_eq!(error.kind(), Kind::UpstreamFailed);
        assert_eq!(error.message(), "the model's answer is too long", "{what}");
        upstream.lost(1).await;
    }
}

#[tokio::test]
async fn a_model_that_does_not_begin_in_time_is_given_up() {
    let upstream = Upstream::start().await;
    let model = with_timeouts(&upstream.url(), Duration::from_millis(100), Duration::from_secs(60));
    let (silent, _nothing) = Reply::steps();
    let (alive, keep_alive) = Reply::steps();
    keep_alive.raw(": wait\n\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n");
    let (blank, spaces) = Reply::steps();
    spaces.raw(" \n");
    for reply in [Reply::hang(), silent, alive, blank] {
        upstream.next(reply);
        let error = ask(&model).await.unwrap_err();
        let told = (error.kind(), error.message());
        assert_eq!(told, (Kind::UpstreamFailed, "the model did not answer in time"));
    }
}

#[tokio::test]
async fn a_model_that_does_not_end_in_time_is_given_up() {
    let upstream = Upstream::start().await;
    let model = with_timeouts(&upstream.url(), Duration::from_secs(60), Duration::from_millis(200));
    let (stream, half_a_stream) = Reply::steps();
    half_a_stream.text("half");
    let (plain, half_a_body) = Reply::steps();
    half_a_body.raw("{\"choices\":");
    for reply in [stream, plain] {
        upstream.next(reply);
        assert_eq!(
            ask(&model).await.unwrap_err().message(),
            "the model did not answer in time"
        );
    }
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_is_tried_twice() {
    // TLS is a part of connecting: this server takes connections and hangs up on them.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("https://{}/v1", listener.local_addr().unwrap());
    let (sender, mut tries) = mpsc::unbounded_channel();
    let server = tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            drop(connection);
            sender.send(()).unwrap();
        }
    });
    let error = ask(&model(&url)).await.unwrap_err();
    let told = (error.kind(), error.message());
    assert_eq!(told, (Kind::UpstreamFailed, "the model's server cannot be reached"));
    server.abort();
    let mut count = 0;
    while tries.recv().await.is_some() {
        count += 1;
    }
    assert_eq!(count, 2);

    // Nobody listens on the port any more.
    let error = ask(&model(&url.replace("https", "http"))).await.unwrap_err();
    assert_eq!(error.message(), "the model's server cannot be reached");
    let log = format!("{error:?}");
    assert!(log.contains("refused") && !log.contains("http:"), "{log}");
}

/// Finds the upstream at the second time only.
struct Names {
    asked: AtomicUsize,
    upstream: SocketAddr,
}

impl Resolve for Names {
    fn resolve(&self, _: Name) -> Resolving {
        let found: Addrs = Box::new([self.upstream].into_iter());
        let found = match self.asked.fetch_add(1, Ordering::Relaxed) {
            0 => Err("no such name".into()),
            _ => Ok(found),
        };
        Box::pin(ready(found))
    }
}

#[tokio::test]
async fn a_second_try_that_connects_is_as_good_as_the_first() {
    let upstream = Upstream::start().await;
    let url = url::Url::parse(&upstream.url()).unwrap();
    let names = Arc::new(Names {
        asked: AtomicUsize::new(0),
        upstream: (Ipv4Addr::LOCALHOST, url.port().unwrap()).into(),
    });
    let client = crate::outbound::client().dns_resolver(Arc::clone(&names));
    let model = OpenAi {
        client: client.build().unwrap(),
        base_url: upstream.url().replace("127.0.0.1", "upstream.test").parse().unwrap(),
        model: "llama".to_owned(),
        key: None,
        timeout: Duration::from_secs(60),
        first_token_timeout: Duration::from_secs(60),
        temperature: None,
        max_answer_tokens: None,
    };
    assert_eq!(model.ask(&[user("hi")], &mut |_| {}).await.unwrap(), "You said: hi");
    assert_eq!(names.asked.load(Ordering::Relaxed), 2);
    assert_eq!(upstream.requests().len(), 1);
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_key_is_in_no_log_and_no_error() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    // Where there is but one subscriber, tracing asks the thread that comes first to a place in the code, and no other,
    // whether anything is to be logged there: that may be one of another test.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let _here = tracing::subscriber::set_default(subscriber);

    let upstream = Upstream::start().await;
    let providers = Providers::new(&settings(&upstream.url())).unwrap();
    let model = providers.find(None).unwrap();
    let quoting = format!("your key is {KEY}");
    let in_stream = format!("data: {{\"error\":\"{quoting}\"}}\n\n");
    upstream.next(Reply::stream(&["fine"]));
    ask(model).await.unwrap();
    let mut shown = format!("{providers:?} {:?} {:?}", model, model.begin().await.unwrap());
    for reply in [
        Reply::status(400, &quoting),
        Reply::status(403, &quoting),
        Reply::status(500, &quoting),
        Reply::status(429, &quoting),
        Reply::raw("text/event-stream", [in_stream]),
        Reply::raw("text/html", [quoting.clone()]),
        Reply::raw("application/json", [format!("{{\"{quoting}\"")]),
    ] {
        upstream.next(reply);
        let error = ask(model).await.unwrap_err();
        shown.push_str(&format!("{error} {error:?} {}", error.rest_body()));
        shown.push_str(&std::error::Error::source(&error).unwrap().to_string());
        assert!(shown.contains("your key is ***"), "{shown}");
    }
    upstream.demand_key("another");
    let error = ask(model).await.unwrap_err();
    shown.push_str(&format!("{error:?}"));
    assert!(shown.contains("is the key right?"));
    let requests = upstream.requests();
    assert!(
        requests.len() == 9
            && requests
                .iter()
                .all(|request| request.headers["authorization"].to_str().unwrap().contains(KEY))
    );

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("WARN") && log.contains("MODEL_1") && log.contains("the model's server failed"),
        "{log}"
    );
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "{log}");
    for text in [shown, log] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}
