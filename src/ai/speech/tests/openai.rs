//! A real server of `/audio/speech`, as well behaved as each test says.

use std::{
    future::pending,
    io,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};

use super::{super::openai::MAX_ANSWER, *};

const KEY: &str = "sk-hunter2";

/// Starts a server that answers each text with what `answer` makes of the request's headers and body.
async fn serve<F, R>(answer: F) -> String
where
    F: Fn(String, Value) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response> + Send + 'static,
{
    let handler = move |request: Request| {
        let answer = answer.clone();
        async move {
            let (parts, body) = request.into_parts();
            assert_eq!(parts.headers["content-type"], "application/json");
            let authorization = parts.headers.get("authorization");
            let authorization = authorization.map_or("", |value| value.to_str().unwrap()).to_owned();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            answer(authorization, serde_json::from_slice(&body).unwrap()).await
        }
    };
    let router = Router::new().route("/v1/audio/speech", post(handler));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}/v1")
}

fn provider(base_url: &str) -> SpeechProvider {
    SpeechProvider::OpenAi {
        base_url: base_url.parse().unwrap(),
        model: "kokoro".to_owned(),
        voice: "af_bella".to_owned(),
        speed: None,
        api_key: Some(KEY.into()),
        max_characters: 4096,
    }
}

/// What comes of a text where the server always gives the same answer.
async fn answered(status: StatusCode, body: impl Into<Bytes>) -> Result<Bytes> {
    let body = body.into();
    let base_url = serve(move |_, _| {
        let body = body.clone();
        async move { (status, body).into_response() }
    })
    .await;
    voice(provider(&base_url), |_| {}).speak("Hello.").await
}

fn mp3(seconds: f64) -> Vec<u8> {
    mp3::encode(&Wav::parse(&tone(24_000, seconds)).unwrap()).unwrap()
}

#[tokio::test]
async fn mp3_is_given_as_it_is() {
    let mp3 = mp3(0.5);
    assert_eq!(answered(StatusCode::OK, mp3.clone()).await.unwrap(), mp3);
    let tagged = [b"ID3\x04\0\0\0\0\0\x05title", &mp3[..]].concat();
    assert_eq!(answered(StatusCode::OK, tagged.clone()).await.unwrap(), tagged);
}

#[tokio::test]
async fn wav_becomes_mp3() {
    let spoken = answered(StatusCode::OK, tone(24_000, 2.0)).await.unwrap();
    let decoded = decode(&spoken);
    assert_eq!(decoded.rate, 24_000);
    assert!((decoded.seconds() - 2.0).abs() < 0.15, "{} s", decoded.seconds());
}

#[tokio::test]
async fn the_server_is_asked_as_openai_is() {
    let (requests, mut asked) = mpsc::unbounded_channel();
    let base_url = serve(move |authorization, body| {
        requests.send((authorization, body)).unwrap();
        async { mp3(0.1).into_response() }
    })
    .await;
    voice(provider(&base_url), |_| {})
        .speak(" Hello\nthere. ")
        .await
        .unwrap();
    let mut body = json!({
        "model": "kokoro",
        "voice": "af_bella",
        "input": "Hello\nthere.",
        "response_format": "mp3",
    });
    assert_eq!(asked.recv().await.unwrap(), (format!("Bearer {KEY}"), body.clone()));

    let mut provider = provider(&base_url);
    if let SpeechProvider::OpenAi { speed, api_key, .. } = &mut provider {
        *speed = Some(1.25);
        *api_key = None;
    }
    voice(provider, |_| {}).speak("Hello\nthere.").await.unwrap();
    body["speed"] = json!(1.25);
    assert_eq!(asked.recv().await.unwrap(), (String::new(), body));
}

#[tokio::test]
async fn a_long_text_is_read_in_pieces_and_in_order() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let base_url = serve({
        let asked = asked.clone();
        move |_, body| {
            let input = body["input"].as_str().unwrap().to_owned();
            let seconds = if input.starts_with("One") { 2.0 } else { 0.5 };
            asked.lock().unwrap().push(input);
            // Each piece in the other form.
            let odd = asked.lock().unwrap().len() % 2 == 1;
            async move { if odd { tone(24_000, seconds) } else { mp3(seconds) }.into_response() }
        }
    })
    .await;
    let mut provider = provider(&base_url);
    if let SpeechProvider::OpenAi { max_characters, .. } = &mut provider {
        *max_characters = 12;
    }
    let spoken = voice(provider, |_| {})
        .speak("One is here. Two. Three, four.")
        .await
        .unwrap();
    assert_eq!(*asked.lock().unwrap(), ["One is here.", "Two.", "Three, four."]);
    assert_eq!(spoken, [mp3(2.0), mp3(0.5), mp3(0.5)].concat());
    // Each piece is longer by the silence that encoders put around it.
    let seconds = decode(&spoken).seconds();
    assert!((3.0..3.4).contains(&seconds), "{seconds} s");
}

#[tokio::test]
async fn refusals_are_said_in_our_words() {
    for (status, message) in [
        (401, "the speech server did not accept the key"),
        (403, "the speech server did not accept the key"),
        (404, "the speech server knows no such address, model or voice"),
        (500, "the speech server answered 500"),
        (307, "the speech server answered 307"),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_failed(answered(status, mp3(0.1)).await, message);
    }
    for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
        let error = answered(status, mp3(0.1)).await.unwrap_err();
        assert_eq!((error.code(), error.retry_after()), ("UNAVAILABLE", Some(5)));
    }
}

#[tokio::test]
async fn what_is_no_audio_is_refused() {
    let neither = "the speech server answered neither MP3 nor WAV";
    for body in ["", "{\"error\": \"no such voice\"}", "OggS and so on", "ID3"] {
        assert_failed(answered(StatusCode::OK, body).await, neither);
    }
    let silent = tone(24_000, 0.0);
    assert_failed(
        answered(StatusCode::OK, silent).await,
        "the speech server gave WAV without any sound",
    );
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let base_url = serve(|_, _| async {
        let chunk = Bytes::from(vec![0; 1 << 20]);
        let chunks = stream::repeat_with(move || Ok::<_, io::Error>(chunk.clone()));
        Body::from_stream(chunks).into_response()
    })
    .await;
    let speech = voice(provider(&base_url), |_| {});
    let message = format!("the speech server answered more than {} MiB", MAX_ANSWER >> 20);
    assert_failed(speech.speak("Hello.").await, &message);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_none() {
    let base_url = serve(|_, _| async {
        let chunks = stream::once(async { Ok(Bytes::from(mp3(0.5))) }).chain(stream::once(async {
            // Lets what there is out first.
            tokio::task::yield_now().await;
            Err(io::Error::other("broken"))
        }));
        Body::from_stream(chunks).into_response()
    })
    .await;
    let speech = voice(provider(&base_url), |_| {});
    assert_failed(speech.speak("Hello.").await, "the speech server's answer broke off");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_so() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", free.local_addr().unwrap());
    drop(free);
    let speech = voice(provider(&base_url), |_| {});
    assert_failed(speech.speak("Hello.").await, "the speech server cannot be reached");
}

#[tokio::test]
async fn a_server_that_hangs_is_left() {
    let base_url = serve(|_, _| pending()).await;
    let speech = voice(provider(&base_url), |settings| {
        settings.timeout = Duration::from_secs(1)
    });
    assert_failed(speech.speak("Hello.").await, "reading aloud took longer than 1 s");
    // And so is one that hangs in the middle of its answer.
    let base_url = serve(|_, _| async {
        let (sender, chunks) = mpsc::unbounded_channel::<io::Result<Bytes>>();
        sender.send(Ok(mp3(0.5).into())).unwrap();
        let chunks = stream::unfold((sender, chunks), async |(sender, mut chunks)| {
            Some((chunks.recv().await?, (sender, chunks)))
        });
        Body::from_stream(chunks).into_response()
    })
    .await;
    let speech = voice(provider(&base_url), |settings| {
        settings.timeout = Duration::from_secs(1)
    });
    assert_failed(speech.speak("Hello.").await, "reading aloud took longer than 1 s");
}

/// Says so when it is dropped.
struct Dropped(mpsc::UnboundedSender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test]
async fn who_leaves_ends_the_call_and_frees_the_turn() {
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let (left, mut departures) = mpsc::unbounded_channel();
    let base_url = serve(move |_, _| {
        arrived.send(()).unwrap();
        let dropped = Dropped(left.clone());
        async move {
            let _dropped = dropped;
            pending().await
        }
    })
    .await;
    let speech = voice(provider(&base_url), |settings| settings.calls_at_once = 1);
    let call = tokio::spawn({
        let speech = speech.clone();
        async move { speech.speak("Hello.").await }
    });
    arrivals.recv().await.unwrap();
    assert_eq!(speech.0.calls.available_permits(), 0);
    call.abort();
    departures.recv().await.unwrap();
    drop(speech.turn().await.unwrap());
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_key_is_never_told() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer({
            let log = log.clone();
            move || log.clone()
        })
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    // Servers that repeat the key, as some do: soon, and where what is kept of their words is cut off.
    for before in [0, 2_048 - "Bearer sk-h".len()] {
        let base_url = serve(move |authorization, _| async move {
            let body = format!("{}{authorization} is incorrect", "x".repeat(before));
            (StatusCode::UNAUTHORIZED, body).into_response()
        })
        .await;
        let error = voice(provider(&base_url), |_| {}).speak("Hello.").await.unwrap_err();
        tracing::warn!(?error, "nothing was read aloud");
        assert!(!error.rest_body().to_string().contains("Bearer"));
    }
    drop(guard);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let blotted = "*".repeat(KEY.len());
    assert!(
        log.contains(&format!("(401 Unauthorized: Bearer {blotted} is incorrect)")),
        "{log}"
    );
    assert!(log.contains("xBearer ***"), "{log}");
    assert!(!log.contains("sk-"), "{log}");
}
