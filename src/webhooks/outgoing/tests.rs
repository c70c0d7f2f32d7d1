use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener as StdListener},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use chrono::TimeDelta;
use rustls::{
    ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::*;

/// Long enough for a busy machine, and short enough to wait for it.
const SOON: Duration = Duration::from_secs(2);
/// For what must not run out.
const LATE: Duration = Duration::from_secs(60);

const OPEN: Rules = Rules {
    is_strict: false,
    is_forbidden: |_| false,
};
const STRICT: Rules = Rules {
    is_strict: true,
    is_forbidden: address::is_forbidden,
};

/// Reads one request with a `content-length`, as it is on the wire.
async fn request(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        assert_ne!(
            stream.read_buf(&mut read).await.unwrap(),
            0,
            "the request ends in {text:?}"
        );
    }
}

/// A receiver on a port of its own that answers one request with some bytes and closes, or then waits for the sender to
/// close. Tells the request.
async fn receiver(answer: impl Into<Vec<u8>>, hangs: bool) -> (Url, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/hook?a=b", listener.local_addr().unwrap())).unwrap();
    let answer = answer.into();
    let (tell, told) = mpsc::channel(1);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = request(&mut stream).await;
        stream.write_all(&answer).await.unwrap();
        if hangs {
            let _ = stream.read(&mut [0]).await;
        }
        tell.send(request).await.unwrap();
    });
    (url, told)
}

fn outgoing(timeout: Duration) -> Outgoing {
    Outgoing::with(OPEN, client::system(), timeout).unwrap()
}

async fn post(outgoing: &Outgoing, url: &Url) -> Answered {
    outgoing.post(url, &[], Bytes::from_static(b"{}")).await
}

/// What comes of an answer that is not waited for in vain.
async fn answered(answer: &str) -> Answered {
    let (url, _told) = receiver(answer, false).await;
    post(&outgoing(LATE), &url).await
}

/// A look-up that answers `receiver.example` with the next addresses each time, and counts.
fn names(answers: &[&[&str]]) -> (LookUp, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let answers: Vec<Vec<IpAddr>> = answers
        .iter()
        .map(|answer| answer.iter().map(|address| address.parse().unwrap()).collect())
        .collect();
    let look_up: LookUp = Arc::new(move |name| {
        assert_eq!(name, "receiver.example");
        let found = answers[count.fetch_add(1, Ordering::SeqCst)].clone();
        Box::pin(async move { Ok(found) })
    });
    (look_up, asked)
}

#[tokio::test]
async fn a_receiver_gets_what_is_posted() {
    let (url, mut told) = receiver("HTTP/1.1 204 No Content\r\n\r\n", false).await;
    let headers = [
        ("webhook-id", "evt_1".to_owned()),
        ("content-type", "application/json".to_owned()),
    ];
    let body = Bytes::from_static(br#"{"type":"webhook.ping"}"#);
    let answered = Outgoing::new(true).unwrap().post(&url, &headers, body).await;
    assert_eq!(
        answered,
        Answered {
            status: Some(204),
            ..Answered::default()
        }
    );
    let request = told.recv().await.unwrap();
    assert!(request.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nwebhook-id: evt_1\r\n"), "{request}");
    assert!(request.contains("\r\ncontent-type: application/json\r\n"), "{request}");
    assert!(request.contains("\r\nuser-agent: bambisleep-chat/"), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"type\":\"webhook.ping\"}"), "{request}");
}

/// In a process of its own: the variables of this one are those of all its tests.
#[test]
fn proxies_of_the_environment_are_not_used() {
    const NOBODY: &str = "http://127.0.0.1:1";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "webhooks::outgoing::tests::a_receiver_gets_what_is_posted"])
        .envs(["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"].map(|name| (name, NOBODY)))
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = listener.local_addr().unwrap();
    let answered = answered(&format!(
        "HTTP/1.1 301 Moved Permanently\r\nlocation: http://{elsewhere}/\r\ncontent-length: 5\r\n\r\nmoved"
    ))
    .await;
    assert_eq!((answered.status, answered.body.as_str()), (Some(301), "moved"));
    assert_eq!(answered.error, None);
    assert!(is_left_alone(&listener).await);
}

/// Whether nobody has connected.
async fn is_left_alone(listener: &TcpListener) -> bool {
    tokio::select! {
        biased;
        _ = listener.accept() => false,
        () = tokio::task::yield_now() => true,
    }
}

#[tokio::test]
async fn the_status_and_the_time_to_wait_are_told() {
    let gone = answered("HTTP/1.1 410 Gone\r\ncontent-length: 4\r\n\r\ngone").await;
    assert_eq!((gone.status, gone.body.as_str()), (Some(410), "gone"));
    assert_eq!((gone.retry_after, gone.error), (None, None));

    let head = "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\nretry-after:";
    let busy = answered(&format!("{head} 120\r\n\r\n")).await;
    assert_eq!(
        (busy.status, busy.retry_after),
        (Some(429), Some(Duration::from_secs(120)))
    );

    let date = (Utc::now() + TimeDelta::hours(1)).format("%a, %d %b %Y %H:%M:%S GMT");
    let busy = answered(&format!("{head} {date}\r\n\r\n")).await;
    let wait = busy.retry_after.unwrap().as_secs();
    assert!((3_000..=3_600).contains(&wait), "{wait} s");
}

#[tokio::test]
async fn an_answer_is_text_for_the_database() {
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".to_vec();
    answer.extend_from_slice(b"a\0b\xffc");
    let (url, _told) = receiver(answer, false).await;
    let answered = post(&outgoing(LATE), &url).await;
    assert_eq!(answered.body, "a\u{fffd}b\u{fffd}c");
    assert!(text(&[0xff; LONGEST_ANSWER]).len() <= LONGEST_ANSWER);
}

#[tokio::test]
async fn no_more_than_the_beginning_of_an_answer_of_a_gibibyte_is_taken() {
    const GIBIBYTE: usize = 1 << 30;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let written = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {GIBIBYTE}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut written = 0;
        while written < GIBIBYTE && stream.write_all(&[b'x'; 64 * 1_024]).await.is_ok() {
            written += 64 * 1_024;
        }
        written
    });
    let answered = post(&outgoing(LATE), &url).await;
    assert_eq!((answered.status, answered.error), (Some(200), None));
    assert_eq!(answered.body, "x".repeat(LONGEST_ANSWER));
    // What the sockets hold between them counts too.
    let written = written.await.unwrap();
    assert!(written < GIBIBYTE / 8, "{written} bytes were taken");
}

#[tokio::test]
async fn a_receiver_that_hangs_is_not_waited_for() {
    let (url, _told) = receiver("", true).await;
    let answered = post(&outgoing(SOON), &url).await;
    assert_eq!(
        (answered.status, answered.error.as_deref()),
        (None, Some("took longer than 2 s"))
    );

    let (url, mut told) = receiver("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", true).await;
    let answered = post(&outgoing(SOON), &url).await;
    assert_eq!((answered.status, answered.body.as_str()), (Some(200), "half"));
    assert_eq!(answered.error.as_deref(), Some("took longer than 2 s"));
    // It is told once the connection is closed.
    told.recv().await.unwrap();
}

#[tokio::test]
async fn a_receiver_that_closes_early_or_is_not_there_or_speaks_no_http_is_told_of() {
    let closed = answered("").await;
    assert_eq!(closed.status, None);
    assert_eq!(closed.error.unwrap(), "the connection broke off without an answer");

    let half = answered("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 10\r\n\r\nhalf").await;
    assert_eq!((half.status, half.body.as_str()), (Some(500), "half"));
    assert_eq!(half.error.unwrap(), "the connection broke off within the answer");

    let other = answered("SSH-2.0-OpenSSH_9.6\r\n").await;
    assert_eq!((other.status, other.body.as_str()), (None, ""));
    assert!(other.error.is_some());

    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let refused = post(&outgoing(LATE), &url).await;
    assert_eq!(refused.status, None);
    assert_eq!(refused.error.unwrap(), "could not connect");
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let private = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            request(&mut stream).await;
            let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let rules = Rules {
        is_strict: false,
        is_forbidden: |address| address == IpAddr::from([127, 0, 0, 2]),
    };
    // As of a name whose owner changes what it means between two look-ups.
    let (look_up, asked) = names(&[&["127.0.0.1"], &["127.0.0.2"], &["127.0.0.1", "127.0.0.2"], &[]]);
    let outgoing = Outgoing::with(rules, look_up, LATE).unwrap();
    let url = Url::parse(&format!("http://receiver.example:{port}/")).unwrap();

    assert_eq!(post(&outgoing, &url).await.status, Some(200));
    assert_eq!(asked.load(Ordering::SeqCst), 1, "one connection, one look-up");
    for _ in 0..2 {
        let answered = post(&outgoing, &url).await;
        assert_eq!(answered.status, None);
        assert_eq!(answered.error.unwrap(), "the name resolves to a private address");
    }
    assert_eq!(post(&outgoing, &url).await.error.unwrap(), "the name does not resolve");
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    assert!(is_left_alone(&private).await);
}

#[tokio::test]
async fn a_name_of_a_private_address_is_not_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for address in [
        "127.0.0.1",
        "::ffff:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "0.0.0.0",
        "::",
        "::1",
    ] {
        let (look_up, _) = names(&[&[address]]);
        let outgoing = Outgoing::with(STRICT, look_up, LATE).unwrap();
        let url = outgoing.check(&format!("https://receiver.example:{port}/")).unwrap();
        let error = post(&outgoing, &url).await.error.unwrap();
        assert_eq!(error, "the name resolves to a private address", "{address}");
    }
    assert!(is_left_alone(&listener).await);
}

#[tokio::test]
async fn a_url_that_is_older_than_the_rules_is_not_posted_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let outgoing = Outgoing::new(false).unwrap();
    for (url, why) in [
        ("http://127.0.0.1", "the URL must be an https URL"),
        ("https://127.0.0.1", "the URL must not name a private address"),
        ("https://[::ffff:127.0.0.1]", "the URL must not name a private address"),
        ("https://localhost", "the URL must not name a private address"),
    ] {
        let url = Url::parse(&format!("{url}:{port}/")).unwrap();
        assert_eq!(post(&outgoing, &url).await.error.unwrap(), why, "{url}");
    }
    assert!(is_left_alone(&listener).await);
}

#[tokio::test]
async fn the_system_looks_names_up() {
    let found = client::system()("localhost".to_owned()).await.unwrap();
    assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
    assert!(client::system()("nobody.invalid".to_owned()).await.is_err());
}

/// A certificate that no authority gave, of `receiver.example`, and its key, for these tests alone. Made with
/// `openssl req -x509 -newkey ed25519`.
const CERTIFICATE: &str = "MIIBajCCARygAwIBAgIULzUqynYi+mIjoCW2iK3l6WOgL2cwBQYDK2VwMBsxGTAXBgNVBAMMEHJlY2VpdmVyLmV4YW1wbGUwIBcN\
    MjYxMTI2MDA0NTIxWhgPMjEyNjExMDIwMDQ1MjFaMBsxGTAXBgNVBAMMEHJlY2VpdmVyLmV4YW1wbGUwKjAFBgMrZXADIQDNFaBD\
    lrEQIgu6MixfNtH3tN1WlYq73TYbTUfUXfXEbqNwMG4wHQYDVR0OBBYEFInEwVGiH6y2YpT9Eh2jxUauJn8zMB8GA1UdIwQYMBaA\
    FInEwVGiH6y2YpT9Eh2jxUauJn8zMA8GA1UdEwEB/wQFMAMBAf8wGwYDVR0RBBQwEoIQcmVjZWl2ZXIuZXhhbXBsZTAFBgMrZXAD\
    QQBLESmNhrCXg/1uJMjanNJHvgNjiO/8oqvblQk+qQ1FwzwBKvG4In1OTowEc/OXqks50OEwAoFWdyzIOG0Z55QI";
const KEY: &str = "MC4CAQAwBQYDK2VwBCIEINkXhR8Ayj6jgQjWYjmGt89MbiAtI7Sj544epIHKtQfg";

#[tokio::test]
async fn tls_that_fails_is_told_of() {
    let rules = Rules {
        is_strict: true,
        is_forbidden: |_| false,
    };
    let error_at = async |address: SocketAddr| {
        let (look_up, _) = names(&[&["127.0.0.1"]]);
        let url = Url::parse(&format!("https://receiver.example:{}/", address.port())).unwrap();
        let answered = post(&Outgoing::with(rules, look_up, LATE).unwrap(), &url).await;
        assert_eq!(answered.status, None);
        answered.error.unwrap()
    };

    outbound::choose_tls();
    let decoded = |text| BASE64_STANDARD.decode(text).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(decoded(CERTIFICATE))],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(decoded(KEY))),
        )
        .unwrap();
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut tls = ServerConnection::new(Arc::new(config)).unwrap();
        // The client ends it.
        while tls.complete_io(&mut stream).is_ok_and(|(read, _)| read > 0) {}
    });
    assert_eq!(error_at(address).await, "the TLS certificate is not valid");

    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    assert_eq!(error_at(address).await, "the TLS connection could not be made");
}

fn refusals(outgoing: &Outgoing, urls: &[&str], why: &str) {
    for url in urls {
        let checked = outgoing.check(url).map(String::from);
        assert_eq!(checked, Err(why.to_owned()), "{url:?}");
    }
}

#[test]
fn a_private_address_is_refused_in_every_spelling() {
    let outgoing = Outgoing::new(false).unwrap();
    refusals(
        &outgoing,
        &[
            // Short, decimal, octal, hexadecimal, mixed, with a full stop at the end.
            "https://127.0.0.1",
            "https://127.0.0.1:8443/hook",
            "https://127.1",
            "https://127.0.1",
            "https://2130706433",
            "https://0x7f000001",
            "https://0X7F.1",
            "https://0177.0.0.1",
            "https://017700000001",
            "https://0x7f.0.0.01",
            "https://127.0.0.1.",
            "https://0",
            "https://0.0.0.0",
            "https://10.0.0.1",
            "https://012.0.0.1",
            "https://169.254.169.254/latest/meta-data",
            "https://0xa9fea9fe",
            "https://2852039166",
            "https://0251.0376.0251.0376",
            "https://192.168.1.1",
            "https://172.31.255.255",
            "https://100.64.0.1",
            "https://224.0.0.1",
            "https://192.0.2.1",
            // Escapes, other digits and full stops, other slashes, none.
            "https://%31%32%37.0.0.1",
            "https://①②⑦.⓪.⓪.①",
            "https://127。0。0。1",
            "https://１２７.0.0.1",
            "https:\\\\127.0.0.1",
            "https:127.0.0.1",
            "https:///127.0.0.1",
            "HTTPS://127.0.0.1",
            // IPv6, and IPv4 in it.
            "https://[::1]",
            "https://[0:0:0:0:0:0:0:1]",
            "https://[::]",
            "https://[::ffff:127.0.0.1]",
            "https://[::FFFF:7f00:1]",
            "https://[0:0:0:0:0:ffff:a9fe:a9fe]",
            "https://[::127.0.0.1]",
            "https://[64:ff9b::169.254.169.254]",
            "https://[64:ff9b::8.8.8.8]",
            "https://[64:ff9b:1::1]",
            "https://[2002:7f00:1::]",
            "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
            "https://[fd00:ec2::254]",
            "https://[fe80::1]",
            "https://[ff02::1]",
            "https://[2001:db8::1]",
            "https://localhost",
            "https://LOCALHOST:8443",
            "https://ⓛocalhost",
            "https://a.b.localhost",
        ],
        "must not name a private address",
    );
}

#[test]
fn a_url_that_no_webhook_may_go_to_is_refused() {
    let outgoing = Outgoing::new(false).unwrap();
    refusals(
        &outgoing,
        &[
            "",
            "example.com",
            "//example.com",
            "/hook",
            "http://example.com",
            "ftp://example.com",
            "javascript:alert(1)",
            "data:text/plain,x",
            "https://",
            "https://256.0.0.1",
            "https://1.2.3.4.5",
            "https://[::1",
            "https://[fe80::1%25eth0]",
            "https://exa%20mple.com",
            "https://example.com:65536",
            "file:///etc/passwd",
        ],
        "must be an https URL",
    );
    let credentials = [
        "https://ada@example.com",
        "https://ada:secret@example.com",
        "https://:secret@example.com",
        "https://example.com@127.0.0.1",
    ];
    refusals(&outgoing, &credentials, "must not hold credentials");
    refusals(
        &outgoing,
        &["https://example.com/#a", "https://example.com#"],
        "must not have a fragment",
    );
    refusals(&outgoing, &["https://example.com:0"], "must not have port 0");
    let dotted = [
        "https://example.com.",
        "https://localhost.",
        "https://example.com.:8443/",
    ];
    refusals(&outgoing, &dotted, "must not have a host that ends with a full stop");
    let blanks = [
        " https://example.com",
        "https://example.com/a b",
        "https://exam\nple.com",
        "https://example.com/\t",
        "https://a.b/\0",
    ];
    refusals(&outgoing, &blanks, "must not have blanks or control characters");
    let long = format!("https://example.com/{}", "a".repeat(2_029));
    refusals(&outgoing, &[&long], "must have 2048 characters at most");
    assert!(outgoing.check(&long[..2_048]).is_ok());
}

#[test]
fn any_other_https_url_is_taken() {
    let outgoing = Outgoing::new(false).unwrap();
    for (url, taken) in [
        ("https://example.com", "https://example.com/"),
        ("https://EXAMPLE.com:8443/Hook?x=1", "https://example.com:8443/Hook?x=1"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://localhost.example.com/", "https://localhost.example.com/"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2606:4700:4700::1111]/", "https://[2606:4700:4700::1111]/"),
    ] {
        assert_eq!(outgoing.check(url).unwrap().as_str(), taken);
    }
}

#[test]
fn for_development_http_and_private_addresses_are_taken() {
    let outgoing = Outgoing::new(true).unwrap();
    for url in [
        "http://127.0.0.1:3000/",
        "http://localhost:3000/hook",
        "https://[::1]/",
        "http://receiver./",
    ] {
        assert_eq!(outgoing.check(url).unwrap().as_str(), url);
    }
    refusals(
        &outgoing,
        &["ftp://localhost", "localhost:3000", "http://"],
        "must be an http or https URL",
    );
    refusals(&outgoing, &["http://ada@localhost"], "must not hold credentials");
    refusals(&outgoing, &["http://localhost:0"], "must not have port 0");
}

#[test]
fn a_host_has_one_name() {
    for (url, host) in [
        ("https://EXAMPLE.com/a", "example.com:443"),
        ("https://example.com.:443/b", "example.com:443"),
        ("http://example.com", "example.com:80"),
        ("https://example.com:8443", "example.com:8443"),
        ("https://[2606:4700:4700:0::1111]", "[2606:4700:4700::1111]:443"),
        ("https://134744072", "8.8.8.8:443"),
    ] {
        assert_eq!(host_of(&Url::parse(url).unwrap()), host);
    }
}
