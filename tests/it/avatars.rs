//! Avatars: uploading them over GraphQL and REST, what becomes of them, and how they are served.

use std::path::PathBuf;

use image::{
    DynamicImage, ExtendedColorType, ImageEncoder, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage,
    codecs::jpeg::JpegEncoder,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::{
    harness::{Answer, Caller, PASSWORD, Server, clustered, eventually, send},
    openapi::Samples,
};

const UPLOAD: &str = "mutation ($file: Upload!) { uploadAvatar(file: $file) { profile { id username avatarUrl } } }";
const LARGEST: usize = 5 * 1024 * 1024;

/// A part of a body: its name, whether it is a file, and what is in it.
pub type Part<'a> = (&'a str, bool, &'a [u8]);

/// A request with a body of parts.
pub fn with_parts(request: RequestBuilder, parts: &[Part<'_>]) -> RequestBuilder {
    let mut body = Vec::new();
    for (name, is_file, bytes) in parts {
        // What the client says of a file is not believed.
        let file = if *is_file {
            "; filename=\"../a.html\"\r\nContent-Type: text/html"
        } else {
            ""
        };
        body.extend(format!("--bound\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes());
        body.extend(*bytes);
        body.extend(b"\r\n");
    }
    body.extend(b"--bound--\r\n");
    request
        .header("content-type", "multipart/form-data; boundary=bound")
        .body(body)
}

fn operations() -> Vec<u8> {
    json!({ "query": UPLOAD, "variables": { "file": null } })
        .to_string()
        .into_bytes()
}

const MAP: &[u8] = br#"{"0": ["variables.file"]}"#;

pub fn over_graphql(caller: &Caller<'_>, file: &[u8]) -> RequestBuilder {
    let parts: [Part<'_>; 3] = [
        ("operations", false, &operations()),
        ("map", false, MAP),
        ("0", true, file),
    ];
    with_parts(caller.request(Method::POST, "/graphql"), &parts)
}

fn over_rest(caller: &Caller<'_>, file: &[u8]) -> RequestBuilder {
    with_parts(caller.request(Method::PUT, "/v1/me/avatar"), &[("file", true, file)])
}

/// Uploads a picture; where it is served.
async fn upload(caller: &Caller<'_>, file: &[u8]) -> String {
    let answer = send(over_rest(caller, file)).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.body["avatarUrl"].as_str().unwrap().to_owned()
}

/// Red on the left, blue on the right.
pub fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let pixels = RgbImage::from_fn(width, height, |x, _| match x < width / 2 {
        true => Rgb([220, 20, 20]),
        false => Rgb([20, 20, 220]),
    });
    encoded(&DynamicImage::ImageRgb8(pixels), format)
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A JPEG as a phone makes it: held sideways, and with where it was taken.
fn held_sideways(width: u32, height: u32) -> Vec<u8> {
    let mut jpeg = Vec::new();
    let pixels = image::load_from_memory(&picture(width, height, ImageFormat::Png))
        .unwrap()
        .to_rgb8();
    let encoder = JpegEncoder::new_with_quality(&mut jpeg, 95);
    encoder
        .write_image(&pixels, width, height, ExtendedColorType::Rgb8)
        .unwrap();
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
    exif.extend(b"GPS 52.5163N 13.3777E");
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xFF, 0xE1], &length, &exif, &jpeg[2..]].concat()
}

async fn fetch(server: &Server, url: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = server.http.get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

async fn status(server: &Server, url: &str) -> StatusCode {
    fetch(server, url, &[]).await.status()
}

/// The avatars' files on disk.
fn files(server: &Server) -> Vec<PathBuf> {
    let folder = server.place.folder().join("data/files/avatars");
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn why(answer: &Answer) -> &str {
    let details = match answer.body.get("errors") {
        Some(errors) => &errors[0]["extensions"]["details"],
        None => &answer.body["details"],
    };
    details["fields"]["file"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_picture_of_each_format_is_kept_small_over_graphql_and_rest() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let samples = Samples::default();
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
        let file = picture(1300, 650, format);
        let graphql = send(over_graphql(&alice, &file)).await;
        let profile = &graphql.body["data"]["uploadAvatar"]["profile"];
        assert_eq!(profile["username"], "alice", "{format:?}: {:?}", graphql.body);
        let rest = samples.send(over_rest(&alice, &file)).await;
        assert_eq!(rest.body["username"], "alice", "{format:?}: {:?}", rest.body);
        assert_ne!(profile["avatarUrl"], rest.body["avatarUrl"]);
        let url = rest.body["avatarUrl"].as_str().unwrap();
        assert!(url.starts_with(&server.url("/avatars/")), "{url}");
        assert_eq!(alice.get("/v1/profile/alice").await.body["avatarUrl"], url);
        let served = fetch(&server, url, &[]).await;
        assert_eq!(served.headers()["content-type"], "image/jpeg");
        let shown = image::load_from_memory(&served.bytes().await.unwrap())
            .unwrap()
            .to_rgb8();
        assert_eq!(shown.dimensions(), (512, 256), "{format:?}");
        assert!(shown.get_pixel(20, 100).0[0] > 150 && shown.get_pixel(490, 100).0[2] > 150);
        // The one before is gone.
        assert_eq!(status(&server, profile["avatarUrl"].as_str().unwrap()).await, 404);
    }
    assert_eq!(files(&server).len(), 1);
    samples.check(&server).await;

    // What shows through stays so, and what is small stays small.
    let pixels = RgbaImage::from_fn(30, 20, |x, _| Rgba([1, 2, 3, if x < 15 { 0 } else { 255 }]));
    let url = upload(&alice, &encoded(&DynamicImage::ImageRgba8(pixels), ImageFormat::Png)).await;
    let served = fetch(&server, &url, &[]).await;
    assert_eq!(served.headers()["content-type"], "image/png");
    let shown = image::load_from_memory(&served.bytes().await.unwrap())
        .unwrap()
        .to_rgba8();
    assert_eq!(shown.dimensions(), (30, 20));
    assert_eq!((shown.get_pixel(0, 0).0[3], shown.get_pixel(29, 0).0[3]), (0, 255));

    // What others are told of it has the same URL.
    eventually("the event has the URL", async || {
        let document = "{ events(kinds: [PROFILE_UPDATE], first: 100) { nodes { data } } }";
        let events = alice.data(document, json!({})).await;
        let nodes = events["events"]["nodes"].as_array().unwrap().clone();
        nodes.len() == 7 && nodes.iter().all(|event| event["data"]["avatarUrl"] == url)
    })
    .await;
}

#[tokio::test]
async fn a_picture_stands_upright_and_does_not_tell_where_it_was_taken() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let held = held_sideways(60, 40);
    let url = upload(&alice, &held).await;
    let served = fetch(&server, &url, &[]).await.bytes().await.unwrap();
    let has = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
    assert!(has(&held, b"GPS 52.5163N") && has(&held, b"Exif"));
    assert!(!has(&served, b"GPS") && !has(&served, b"Exif"));
    let shown = image::load_from_memory(&served).unwrap().to_rgb8();
    assert_eq!(shown.dimensions(), (40, 60));
    assert!(shown.get_pixel(20, 5).0[0] > 150 && shown.get_pixel(20, 55).0[2] > 150);
}

#[tokio::test]
async fn what_is_no_picture_or_too_large_a_one_is_refused_with_a_reason() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let mut bomb = picture(8, 8, ImageFormat::Png);
    bomb[16..24].copy_from_slice(&[0, 0, 0x4E, 0x20, 0, 0, 0x4E, 0x20]);
    // The checksum of a header of 20,000 by 20,000.
    let crc = !bomb[12..29].iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            }
        })
    });
    bomb[29..33].copy_from_slice(&crc.to_be_bytes());
    let jpeg = picture(600, 600, ImageFormat::Jpeg);
    let no_picture = "must be a PNG, JPEG or WebP picture";
    for (file, expected) in [
        (&b""[..], no_picture),
        (b"just text", no_picture),
        (
            b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
            no_picture,
        ),
        (
            b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;",
            no_picture,
        ),
        (&bomb, "must have 16 megapixels at most"),
        (
            &jpeg[..jpeg.len() / 2],
            "is broken: the picture cannot be read to its end",
        ),
        (&vec![0; LARGEST], no_picture),
    ] {
        for request in [over_graphql(&alice, file), over_rest(&alice, file)] {
            let answer = send(request).await;
            assert_eq!((answer.code(), why(&answer)), ("VALIDATION_FAILED", expected));
        }
    }
    for request in [
        over_graphql(&alice, &vec![0; LARGEST + 1]),
        over_rest(&alice, &vec![0; LARGEST + 1]),
    ] {
        let answer = send(request).await;
        assert_eq!((answer.code(), answer.status.as_u16()), ("PAYLOAD_TOO_LARGE", 413));
    }
    for length in [LARGEST * 2, LARGEST * 3] {
        for request in [
            over_graphql(&alice, &vec![0; length]),
            over_rest(&alice, &vec![0; length]),
        ] {
            assert_eq!(send(request).await.code(), "PAYLOAD_TOO_LARGE");
        }
    }
    // Trailing bytes are no matter: as much as goes in is taken.
    let mut largest = picture(900, 900, ImageFormat::Png);
    largest.resize(LARGEST, 0);
    upload(&alice, &largest).await;
    assert_eq!(files(&server).len(), 1);
}

#[tokio::test]
async fn files_are_served_to_everyone_for_good_and_in_parts() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let url = upload(&alice, &picture(300, 300, ImageFormat::Png)).await;
    let served = fetch(&server, &url, &[]).await;
    let headers = served.headers().clone();
    for (name, value) in [
        ("content-type", "image/jpeg"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; sandbox"),
        ("content-disposition", "inline"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("cache-control", "public, max-age=31536000, immutable"),
        ("accept-ranges", "bytes"),
    ] {
        assert_eq!(headers[name], value);
    }
    assert!(!headers.contains_key("ratelimit-limit") && !headers.contains_key("set-cookie"));
    let (etag, modified) = (
        headers["etag"].to_str().unwrap(),
        headers["last-modified"].to_str().unwrap(),
    );
    assert!(modified.ends_with(" GMT"), "{modified}");
    let whole = served.bytes().await.unwrap();
    assert_eq!(headers["content-length"], whole.len().to_string());

    let head = server.http.head(&url).send().await.unwrap();
    assert_eq!(
        (head.status(), &head.headers()["content-length"]),
        (StatusCode::OK, &headers["content-length"])
    );
    for tags in [etag, "*", &format!("W/{etag}"), &format!("\"x\", {etag}")] {
        let known = fetch(&server, &url, &[("if-none-match", tags)]).await;
        assert_eq!(
            (known.status().as_u16(), &known.headers()["etag"]),
            (304, &headers["etag"])
        );
        assert!(known.headers().contains_key("cache-control"));
        assert!(known.bytes().await.unwrap().is_empty());
    }
    assert_eq!(fetch(&server, &url, &[("if-none-match", "\"x\"")]).await.status(), 200);

    let size = whole.len();
    for (range, part) in [
        ("bytes=0-9", 0..10),
        ("bytes=10-", 10..size),
        ("bytes=-7", size - 7..size),
        ("bytes=5-99999999", 5..size),
        ("bytes=-99999999", 0..size),
    ] {
        for known in [None, Some(etag), Some(modified)] {
            let mut sent = vec![("range", range)];
            sent.extend(known.map(|known| ("if-range", known)));
            let answer = fetch(&server, &url, &sent).await;
            assert_eq!(answer.status(), 206, "{range}");
            let place = format!("bytes {}-{}/{size}", part.start, part.end - 1);
            assert_eq!(answer.headers()["content-range"], place);
            assert_eq!(answer.headers()["content-length"], part.len().to_string());
            assert_eq!(answer.bytes().await.unwrap(), whole[part.clone()]);
        }
    }
    for sent in [
        [("range", "bytes=0-1,4-5"), ("x", "")],
        [("range", "bytes=9-1"), ("x", "")],
        [("range", "pages=1-2"), ("x", "")],
        [("range", "bytes=0-9"), ("if-range", "\"another\"")],
        [("range", "bytes=0-9"), ("if-range", "Wed, 21 Oct 2015 07:28:00 GMT")],
    ] {
        let answer = fetch(&server, &url, &sent).await;
        assert_eq!(answer.status(), 200, "{sent:?}");
        assert_eq!(answer.bytes().await.unwrap(), whole);
    }
    for range in [format!("bytes={size}-"), "bytes=-0".to_owned()] {
        let answer = fetch(&server, &url, &[("range", &range)]).await;
        assert_eq!(answer.status(), 416);
        assert_eq!(answer.headers()["content-range"], format!("bytes */{size}"));
    }
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let answer = send(server.http.request(method, &url)).await;
        assert_eq!(
            (answer.code(), answer.header("allow")),
            ("METHOD_NOT_ALLOWED", Some("GET, HEAD"))
        );
    }
}

#[tokio::test]
async fn nothing_else_is_served() {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    let server = Server::start().await;
    let alice = server.member("alice").await;
    let url = upload(&alice, &picture(8, 8, ImageFormat::Png)).await;
    let name = url.rsplit('/').next().unwrap().to_owned();
    let stem = name.split('.').next().unwrap();
    let folder = server.place.folder().join("data/files/avatars");
    std::fs::write(folder.join("list.jpg"), "s").unwrap();
    std::fs::write(folder.join(format!("{stem}.html")), "s").unwrap();
    for path in [
        format!("/audio/{name}"),
        format!("/avatars/{stem}.png"),
        format!("/avatars/{stem}.html"),
        format!("/avatars/{stem}"),
        format!("/avatars/{name}/"),
        format!("/avatars/x/{name}"),
        format!("/avatars/..%2Favatars%2F{name}"),
        format!("/avatars/%2e%2e/avatars/{name}"),
        format!("/avatars/../avatars/{name}"),
        format!("/avatars//{name}"),
        format!("/avatars/{name}%00"),
        "/avatars/list.jpg".to_owned(),
        "/avatars/..%2F..%2Fbambisleep.sqlite".to_owned(),
        "/avatars/../../bambisleep.sqlite".to_owned(),
        "/avatars/..".to_owned(),
        "/avatars/%".to_owned(),
        "/avatars/%ff".to_owned(),
        "/avatars/".to_owned(),
        "/avatars".to_owned(),
    ] {
        // As it stands: a client would take the dots away.
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(body.contains("\"NOT_FOUND\""), "{path}: {body}");
    }
    assert_eq!(status(&server, &url).await, 200);
}

#[tokio::test]
async fn a_file_store_that_does_not_answer_is_told() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let url = upload(&alice, &picture(8, 8, ImageFormat::Png)).await;
    let folder = server.place.folder().join("data/files/avatars");
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(status(&server, &url).await, 404);
    // No folder any more: a file of its name.
    std::fs::write(&folder, "").unwrap();
    let answer = send(over_rest(&alice, &picture(9, 9, ImageFormat::Png))).await;
    assert_eq!((answer.code(), answer.status.as_u16()), ("UNAVAILABLE", 503));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(!answer.body.to_string().contains("avatars"));
    assert_eq!(alice.get("/v1/profile/alice").await.body["avatarUrl"], url);
    let answer = send(server.http.get(&url)).await;
    assert_eq!(answer.code(), "UNAVAILABLE");
}

#[tokio::test]
async fn an_avatar_can_be_put_back_and_goes_when_another_takes_its_place() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let bob = server.member("bob").await;
    let events = async || {
        let document = "{ events(kinds: [PROFILE_UPDATE], first: 100) { nodes { id } } }";
        let data = alice.data(document, json!({})).await;
        data["events"]["nodes"].as_array().unwrap().len()
    };
    let url = upload(&alice, &picture(8, 8, ImageFormat::Png)).await;
    eventually("the upload is in the log", async || events().await == 1).await;
    let got = alice.get("/v1/profile/alice").await;
    let put = alice.put("/v1/profile/alice", got.body.clone()).await;
    assert_eq!((put.status.as_u16(), put.body), (200, got.body.clone()));
    assert_eq!(status(&server, &url).await, 200);
    // With another change it stays too.
    let mut renamed = got.body;
    renamed["displayName"] = json!("Al");
    assert_eq!(alice.put("/v1/profile/alice", renamed).await.body["avatarUrl"], url);
    eventually("the change is in the log", async || events().await == 2).await;
    assert_eq!(status(&server, &url).await, 200);
    // A path is no URL, and another member's avatar is a URL like any other.
    let path = url.strip_prefix(&server.url("")).unwrap();
    assert_eq!(
        alice
            .put("/v1/profile/alice", json!({ "avatarUrl": path }))
            .await
            .code(),
        "VALIDATION_FAILED"
    );
    assert_eq!(
        bob.put("/v1/profile/bob", json!({ "avatarUrl": url })).await.body["avatarUrl"],
        url
    );
    assert_eq!(
        bob.put("/v1/profile/bob", json!({ "avatarUrl": null })).await.body["avatarUrl"],
        Value::Null
    );
    assert_eq!(status(&server, &url).await, 200);

    let elsewhere = "https://example.org/a.png";
    let put = alice.put("/v1/profile/alice", json!({ "avatarUrl": elsewhere })).await;
    assert_eq!(put.body["avatarUrl"], elsewhere);
    assert_eq!(status(&server, &url).await, 404);
    let url = upload(&alice, &picture(8, 8, ImageFormat::Png)).await;
    let put = alice.put("/v1/profile/alice", json!({ "avatarUrl": null })).await;
    assert_eq!(put.body["avatarUrl"], Value::Null);
    assert_eq!(status(&server, &url).await, 404);
    assert!(files(&server).is_empty());
    let rows = server.place.database().await;
    let count = rows.query_one_raw(sea_orm::Statement::from_string(
        rows.get_database_backend(),
        "SELECT COUNT(*) FROM avatars",
    ));
    let count: i64 = count.await.unwrap().unwrap().try_get_by_index(0).unwrap();
    assert_eq!(count, 0);
}

#[tokio::test]
async fn a_deleted_account_takes_its_avatar_along() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let bob = server.member("bob").await;
    let url = upload(&alice, &picture(8, 8, ImageFormat::Png)).await;
    let of_bob = upload(&bob, &picture(8, 8, ImageFormat::Png)).await;
    let answer = alice
        .post("/v1/me/delete", json!({ "password": "wrong password" }))
        .await;
    assert_eq!(answer.code(), "INVALID_CREDENTIALS");
    assert_eq!(status(&server, &url).await, 200);
    assert_eq!(
        alice
            .post("/v1/me/delete", json!({ "password": PASSWORD }))
            .await
            .status,
        200
    );
    assert_eq!(status(&server, &url).await, 404);
    assert_eq!(status(&server, &of_bob).await, 200);
    assert_eq!(files(&server).len(), 1);
}

#[tokio::test]
async fn the_same_upload_twice_happens_once() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let file = picture(8, 8, ImageFormat::Png);
    let key = |request: RequestBuilder| request.header("idempotency-key", "k");
    let first = send(key(over_rest(&alice, &file))).await;
    assert_eq!(first.status, 200, "{:?}", first.body);
    for request in [over_rest(&alice, &file), over_graphql(&alice, &file)] {
        let again = send(key(request)).await;
        assert_eq!(again.status, 200);
        assert!(
            again
                .body
                .to_string()
                .contains(first.body["avatarUrl"].as_str().unwrap())
        );
        assert_eq!(files(&server).len(), 1);
    }
    let other = send(key(over_rest(&alice, &picture(9, 9, ImageFormat::Png)))).await;
    assert_eq!(other.code(), "IDEMPOTENCY_CONFLICT");
    assert_eq!(files(&server).len(), 1);
    assert_eq!(status(&server, first.body["avatarUrl"].as_str().unwrap()).await, 200);
    // Without a key it is another one.
    assert_ne!(upload(&alice, &file).await, first.body["avatarUrl"]);
    assert_eq!(files(&server).len(), 1);
}

#[tokio::test]
async fn who_may_not_is_told_before_the_file_is_read() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let readers = server.bearer(&alice.key(&["profile:read", "triggers:write"]).await);
    let writers = server.bearer(&alice.key(&["profile:write"]).await);
    let stranger = server.nobody();
    let file = picture(8, 8, ImageFormat::Png);
    let large = vec![0; LARGEST];
    for file in [&file, &large] {
        for request in [over_graphql(&stranger, file), over_rest(&stranger, file)] {
            assert_eq!(send(request).await.code(), "UNAUTHENTICATED");
        }
        for request in [over_graphql(&readers, file), over_rest(&readers, file)] {
            assert_eq!(send(request).await.code(), "FORBIDDEN");
        }
    }
    for request in [over_graphql(&writers, &file), over_rest(&writers, &file)] {
        assert_eq!(send(request).await.code(), "");
    }

    // A page elsewhere can send a form with the cookie.
    let login = json!({ "username": "alice", "password": PASSWORD });
    let login = send(server.request(Method::POST, "/v1/auth/login").json(&login)).await;
    let cookie = login
        .header("set-cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    for (origin, status) in [("https://evil.example", 403), (server.url("").as_str(), 200)] {
        for request in [over_graphql(&stranger, &file), over_rest(&stranger, &file)] {
            let answer = send(request.header("cookie", &cookie).header("origin", origin)).await;
            assert_eq!(answer.status, status, "{:?}", answer.body);
            assert_eq!(answer.code() == "CROSS_SITE", status == 403);
        }
    }
}

#[tokio::test]
async fn a_multipart_request_is_as_its_specification_says() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let file = picture(8, 8, ImageFormat::Png);
    let (ok, file) = (operations(), file.as_slice());
    let (operations, map): (Part<'_>, Part<'_>) = (("operations", false, &ok), ("map", false, MAP));
    let no_variables = json!({ "query": UPLOAD }).to_string().into_bytes();
    let text = json!({ "query": UPLOAD, "variables": { "file": "text" } })
        .to_string()
        .into_bytes();
    let other = "query ($n: String!) { profile(username: $n) { id } }";
    let unnamed = json!({ "query": "mutation { logout { success } }", "variables": { "file": null } }).to_string();
    let no_file = json!({ "query": other, "variables": { "n": null } }).to_string();
    for parts in [
        &[][..],
        &[operations],
        &[operations, ("0", true, file)],
        &[map, operations, ("0", true, file)],
        &[("0", true, file), operations, map],
        &[operations, map],
        &[operations, map, ("1", true, file)],
        &[operations, map, ("0", true, file), ("1", true, file)],
        &[operations, map, ("0", true, file), ("0", true, file)],
        &[operations, ("map", false, b"{}"), ("0", true, file)],
        &[operations, ("map", false, b"{}")],
        &[operations, ("map", false, b"nonsense"), ("0", true, file)],
        &[
            operations,
            ("map", false, br#"{"0": ["variables.other"]}"#),
            ("0", true, file),
        ],
        &[
            operations,
            ("map", false, br#"{"0": "variables.file"}"#),
            ("0", true, file),
        ],
        &[("operations", false, b"nonsense"), map, ("0", true, file)],
        &[("operations", false, &no_variables), map, ("0", true, file)],
        &[("operations", false, &text), map, ("0", true, file)],
        &[("operations", false, unnamed.as_bytes()), map, ("0", true, file)],
        &[
            ("operations", false, no_file.as_bytes()),
            ("map", false, br#"{"0": ["variables.n"]}"#),
            ("0", true, file),
        ],
    ] {
        let answer = send(with_parts(alice.request(Method::POST, "/graphql"), parts)).await;
        let names: Vec<_> = parts
            .iter()
            .map(|part| (part.0, String::from_utf8_lossy(&part.2[..part.2.len().min(60)])))
            .collect();
        assert_eq!(answer.code(), "BAD_REQUEST", "{names:?}: {:?}", answer.body);
    }
    let content_types = ["multipart/form-data", "multipart/form-data; boundary=other"];
    for content_type in content_types {
        let request = alice
            .request(Method::POST, "/graphql")
            .header("content-type", content_type);
        assert_eq!(send(request.body("--bound--\r\n")).await.code(), "BAD_REQUEST");
    }
    // Nothing but a file is a file.
    for value in [
        json!(null),
        json!("text"),
        json!("#__graphql_file__:0"),
        json!(0),
        json!({}),
        json!([1, 2]),
    ] {
        let answer = alice.graphql(UPLOAD, json!({ "file": value })).await;
        assert_eq!(answer.code(), "BAD_REQUEST", "{value}");
    }
    let answer = alice.graphql(UPLOAD, json!({})).await;
    assert_eq!(
        (answer.code(), answer.body["errors"][0]["message"].as_str()),
        ("BAD_REQUEST", Some("/file is required"))
    );
    for literal in ["\"#__graphql_file__:0\"", "\"x\"", "[1, 2]", "null", "{a: 1}"] {
        let document = format!("mutation {{ uploadAvatar(file: {literal}) {{ profile {{ id }} }} }}");
        assert_eq!(
            alice.graphql(&document, json!({})).await.code(),
            "GRAPHQL_VALIDATION_FAILED",
            "{literal}"
        );
    }
    let default = "mutation ($f: Upload! = \"#__graphql_file__:0\") { uploadAvatar(file: $f) { profile { id } } }";
    let answer = alice.graphql(default, json!({})).await;
    assert!(
        ["BAD_REQUEST", "GRAPHQL_VALIDATION_FAILED"].contains(&answer.code()),
        "{:?}",
        answer.body
    );
    assert!(files(&server).is_empty());

    // Without files it is a request like any other, and in a batch it is one of several.
    let hello = br#"{"query": "{ viewer { user { username } } }"}"#;
    let parts: [Part<'_>; 2] = [("operations", false, hello), ("map", false, b"{}")];
    let answer = send(with_parts(alice.request(Method::POST, "/graphql"), &parts)).await;
    assert_eq!(answer.body["data"]["viewer"]["user"]["username"], "alice");
    let batch = format!("[{}, {}]", String::from_utf8_lossy(hello), String::from_utf8_lossy(&ok));
    let map = br#"{"x": ["1.variables.file"]}"#;
    let parts: [Part<'_>; 3] = [
        ("operations", false, batch.as_bytes()),
        ("map", false, map),
        ("x", true, file),
    ];
    let answer = send(with_parts(alice.request(Method::POST, "/graphql"), &parts)).await;
    assert_eq!(answer.body[0]["data"]["viewer"]["user"]["username"], "alice");
    assert_eq!(
        answer.body[1]["data"]["uploadAvatar"]["profile"]["username"], "alice",
        "{:?}",
        answer.body
    );
}

#[tokio::test]
async fn the_rest_route_takes_a_file_in_a_part_and_nothing_else() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let file = picture(8, 8, ImageFormat::Png);
    let request = |content_type: &str, body: Vec<u8>| {
        let request = alice
            .request(Method::PUT, "/v1/me/avatar")
            .header("content-type", content_type);
        send(request.body(body))
    };
    for content_type in ["application/json", "image/png", "multipart/mixed; boundary=bound"] {
        let answer = request(content_type, file.clone()).await;
        assert_eq!((answer.code(), answer.status.as_u16()), ("UNSUPPORTED_MEDIA_TYPE", 415));
    }
    assert_eq!(request("multipart/form-data", file.clone()).await.code(), "BAD_REQUEST");
    assert_eq!(
        request("multipart/form-data; boundary=bound", file.clone())
            .await
            .code(),
        "BAD_REQUEST"
    );
    let other = with_parts(alice.request(Method::PUT, "/v1/me/avatar"), &[("picture", true, &file)]);
    let answer = send(other).await;
    assert_eq!(
        (answer.code(), &answer.body["details"]["path"]),
        ("BAD_REQUEST", &json!("/file"))
    );
    // Other parts are not looked at.
    let parts: [Part<'_>; 3] = [("a", false, b"x"), ("file", true, &file), ("b", true, b"y")];
    let answer = send(with_parts(alice.request(Method::PUT, "/v1/me/avatar"), &parts)).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn files_outlast_the_server_and_a_new_origin() {
    let server = Server::start().await;
    let alice = server.member("alice").await;
    let token = alice.token().to_owned();
    let url = upload(&alice, &picture(8, 8, ImageFormat::Png)).await;
    let path = url.strip_prefix(&server.url("")).unwrap().to_owned();
    let place = server.place.clone();
    // What a crash left behind: old and without a row.
    let folder = place.folder().join("data/files/avatars");
    let stray = folder.join(format!("{}.png", "0".repeat(32)));
    std::fs::write(&stray, "p").unwrap();
    let two_hours_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(7_200);
    for file in std::fs::read_dir(&folder).unwrap() {
        let file = std::fs::File::options().write(true).open(file.unwrap().path()).unwrap();
        file.set_modified(two_hours_ago).unwrap();
    }
    let (ended, _) = server.terminate().await;
    assert!(ended.success());
    let server = Server::options()
        .place(&place)
        .set("BAMBISLEEP_PUBLIC_URL", "https://chat.example")
        .start()
        .await;
    let alice = server.bearer(&token);
    let got = alice.get("/v1/me/profile").await;
    assert_eq!(got.body["avatarUrl"], format!("https://chat.example{path}"));
    let put = alice.put("/v1/profile/alice", got.body.clone()).await;
    assert_eq!(put.body, got.body);
    eventually("the stray file is gone", async || !stray.exists()).await;
    assert_eq!(status(&server, &server.url(&path)).await, 200);
}

#[tokio::test]
async fn files_may_be_in_a_folder_of_their_own() {
    let elsewhere = crate::harness::Place::new().await;
    let folder = elsewhere.folder().join("of files");
    let url = format!("file://{}", folder.display()).replace(' ', "%20");
    let server = Server::options().set("BAMBISLEEP_FILES_URL", &url).start().await;
    let alice = server.member("alice").await;
    let avatar = upload(&alice, &picture(8, 8, ImageFormat::Png)).await;
    assert_eq!(status(&server, &avatar).await, 200);
    assert_eq!(std::fs::read_dir(folder.join("avatars")).unwrap().count(), 1);
    assert!(files(&server).is_empty());
}

/// As much of S3 as the server uses: what there is in the one bucket, by key.
mod bucket {
    use std::{
        collections::BTreeMap,
        sync::{Arc, Mutex},
    };

    use axum::{
        Router,
        body::{Body, Bytes},
        extract::{Request, State},
        http::{Method, Response, header},
    };

    pub type Objects = Arc<Mutex<BTreeMap<String, Bytes>>>;

    /// Its address, and what is in it.
    pub async fn start() -> (String, Objects) {
        let objects = Objects::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(objects.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (format!("http://{address}"), objects)
    }

    async fn answer(State(objects): State<Objects>, request: Request) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let mut objects = objects.lock().unwrap();
        let signature = parts.headers[header::AUTHORIZATION].to_str().unwrap();
        assert!(signature.contains("Credential=key-of-the-test/"), "{signature}");
        let key = parts.uri.path().strip_prefix("/bucket/").unwrap_or_default().to_owned();
        let response = Response::builder()
            .header(header::ETAG, "\"e\"")
            .header(header::LAST_MODIFIED, "Wed, 21 Oct 2015 07:28:00 GMT");
        match parts.method {
            Method::PUT => {
                objects.insert(key, body);
                response.body(Body::empty()).unwrap()
            }
            Method::DELETE => {
                objects.remove(&key);
                response.status(204).body(Body::empty()).unwrap()
            }
            _ if key.is_empty() => {
                assert!(parts.uri.query().unwrap().contains("list-type=2"));
                let entries: String = objects
                    .iter()
                    .map(|(key, bytes)| {
                        let size = bytes.len();
                        format!(
                            "<Contents><Key>{key}</Key><LastModified>2015-10-21T07:28:00.000Z</LastModified><ETag>e</ETag><Size>{size}</Size></Contents>"
                        )
                    })
                    .collect();
                let list = format!("<ListBucketResult>{entries}</ListBucketResult>");
                response.body(Body::from(list)).unwrap()
            }
            _ => match (objects.get(&key), parts.headers.get(header::RANGE)) {
                (None, _) => response.status(404).body(Body::empty()).unwrap(),
                (Some(bytes), Some(range)) => {
                    let range = range.to_str().unwrap().strip_prefix("bytes=").unwrap();
                    let (start, end) = range.split_once('-').unwrap();
                    let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
                    let place = format!("bytes {start}-{end}/{}", bytes.len());
                    let response = response.status(206).header(header::CONTENT_RANGE, place);
                    response.body(Body::from(bytes.slice(start..=end))).unwrap()
                }
                (Some(bytes), None) => {
                    let response = response.header(header::CONTENT_LENGTH, bytes.len());
                    let body = if parts.method == Method::HEAD {
                        Body::empty()
                    } else {
                        Body::from(bytes.clone())
                    };
                    response.body(body).unwrap()
                }
            },
        }
    }
}

#[tokio::test]
async fn files_may_be_in_a_bucket_that_nodes_share() {
    let (endpoint, objects) = bucket::start().await;
    let stray = format!("chat/avatars/{}.png", "0".repeat(32));
    objects.lock().unwrap().insert(stray.clone(), "p".into());
    let options = || {
        Server::options()
            .set("BAMBISLEEP_FILES_URL", "s3://bucket/chat")
            .set("AWS_ENDPOINT", &endpoint)
            .set("AWS_ALLOW_HTTP", "true")
            .set("AWS_REGION", "nowhere-1")
            .set("AWS_ACCESS_KEY_ID", "key-of-the-test")
            .set("AWS_SECRET_ACCESS_KEY", "secret")
    };
    let server = options().start().await;
    eventually("the stray file is gone", async || {
        !objects.lock().unwrap().contains_key(&stray)
    })
    .await;
    let alice = server.member("alice").await;
    let url = upload(&alice, &picture(64, 64, ImageFormat::Png)).await;
    let path = url.strip_prefix(&server.url("")).unwrap();
    let key = format!("chat{path}");
    let kept = objects.lock().unwrap()[&key].clone();
    let served = fetch(&server, &url, &[]).await;
    assert_eq!(served.headers()["last-modified"], "Wed, 21 Oct 2015 07:28:00 GMT");
    assert_eq!(served.bytes().await.unwrap(), kept);
    let part = fetch(&server, &url, &[("range", "bytes=3-9")]).await;
    assert_eq!(
        (part.status().as_u16(), part.bytes().await.unwrap()),
        (206, kept.slice(3..10))
    );
    let again = upload(&alice, &picture(32, 32, ImageFormat::Png)).await;
    assert_eq!(status(&server, &url).await, 404);
    assert_eq!(objects.lock().unwrap().len(), 1);
    assert!(files(&server).is_empty());
    assert_eq!(status(&server, &again).await, 200);
    // Another node serves the same.
    let other = options().place(&server.place).start();
    if clustered() {
        let path = again.strip_prefix(&server.url("")).unwrap();
        let other = other.await;
        assert_eq!(status(&other, &other.url(path)).await, 200);
    }
}
