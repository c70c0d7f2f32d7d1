//! The documents for people say what the program does: the tour of the README and the pages' commands run as they are
//! printed, and the tables are those of the code.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use bambisleep_chat::{config, profiles::xp, time};
use standardwebhooks::Webhook;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

/// What is under a heading of the second level, up to the next one.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, below) = text
        .split_once(&format!("\n## {heading}\n"))
        .expect("the heading is there");
    below.split("\n## ").next().unwrap_or(below)
}

/// What is in the blocks of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    text.split(&format!("\n```{language}\n"))
        .skip(1)
        .map(|block| block.split_once("\n```").expect("the block ends").0)
        .collect()
}

/// The lines of all ```sh blocks.
fn commands(text: &str) -> String {
    blocks(text, "sh").join("\n")
}

#[test]
fn the_settings_are_all_there() {
    let readme = document("README.md");
    let table = readme.split("<!-- settings -->").nth(1).expect("the table is marked");
    assert_eq!(table.trim(), config::settings_table().trim());
}

#[test]
fn all_that_earns_xp_is_there() {
    let page = document("docs/xp.md");
    for reason in xp::REASONS {
        let row = format!(
            "| {} | `{}` | {} | {} |",
            reason.what, reason.name, reason.amount, reason.daily_cap
        );
        assert!(page.contains(&row), "docs/xp.md lacks the row {row}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    assert_eq!(rows.count(), xp::REASONS.len(), "docs/xp.md has rows of nothing");
}

#[test]
fn the_examples_are_printed_as_the_tests_run_them() {
    for (page, name, language) in [
        ("live-chat.md", "chat.mjs", "js"),
        ("live-chat.md", "chat.py", "python"),
        ("companions.md", "companion.mjs", "js"),
        ("webhooks.md", "webhook.mjs", "js"),
        ("webhooks.md", "webhook.py", "python"),
        ("webhooks.md", "webhook.php", "php"),
    ] {
        let text = document(&format!("docs/{page}"));
        let (_, block) = text
            .split_once(&format!("](examples/{name}):\n\n```{language}\n"))
            .expect("the page has the example");
        let (printed, _) = block.split_once("\n```\n").expect("the block ends");
        let file = document(&format!("docs/examples/{name}"));
        assert!(printed == file.trim_end(), "docs/{page} does not print {name} as it is");
    }
}

#[test]
fn every_decision_has_its_parts() {
    let folder = repository().join("docs/decisions");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        for heading in ["\n## Context\n", "\n## Decision\n", "\n## Consequences\n"] {
            assert!(text.contains(heading), "{} lacks {heading:?}", path.display());
        }
    }
}

/// A server on a free port with a data folder of its own, killed when dropped.
struct Server {
    child: Child,
    url: String,
    folder: PathBuf,
}

impl Server {
    fn start(name: &str) -> Self {
        Self::start_with(name, &[])
    }

    fn start_with(name: &str, flags: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("readme_{}_{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_bambisleep-chat"))
            .args(["--bind", "127.0.0.1:0"])
            .args(flags)
            .current_dir(&folder)
            .env_remove("DATABASE_URL")
            .env_remove("REDIS_URL")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line
            .trim()
            .strip_prefix("listening on ")
            .expect("the server starts")
            .to_owned();
        Self { child, url, folder }
    }

    /// What the commands say on stdout. What curl gets with a status of 400 and up is a failure here.
    fn run(&self, commands: &str) -> String {
        fs::write(self.folder.join(".curlrc"), "fail-with-body\n").unwrap();
        let output = Command::new("bash")
            .args(["-e", "-u", "-o", "pipefail", "-x", "-c", commands])
            .current_dir(&self.folder)
            .env("CURL_HOME", &self.folder)
            .env("URL", &self.url)
            .output()
            .unwrap();
        let (said, log) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{said}\n{log}");
        said.into_owned()
    }

    /// Puts an example into the folder.
    fn copy(&self, example: &str) {
        let from = repository().join("docs/examples").join(example);
        fs::copy(from, self.folder.join(example)).unwrap();
    }

    /// Puts the packages of npm into the folder.
    fn link_npm(&self) {
        let from = repository().join("tests/npm/node_modules");
        std::os::unix::fs::symlink(from, self.folder.join("node_modules")).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn the_tour_works_as_it_is_printed() {
    let readme = document("README.md");
    let tour = commands(section(&readme, "Five minutes with curl"));
    let said = Server::start("tour").run(&tour);
    for expected in [
        r#""displayName":"Ada L.""#,
        r#""kind":"paused""#,
        r#""triggers":["Calm"]"#,
        r#""kind":"trigger.shared""#,
        r#""kind":"webhook.ping""#,
        "You said: Good evening!",
        "event: complete",
        r#""role":"user""#,
        "content-type: image/png",
        "ratelimit-remaining: ",
    ] {
        assert!(said.contains(expected), "{expected} is missing in\n{said}");
    }
    let once: Vec<&str> = said
        .split('{')
        .filter(|object| object.contains(r#""name":"Once""#))
        .collect();
    assert!(
        once.len() == 2 && once[0].trim_end_matches('{') == once[1].split('}').next().unwrap().to_owned() + "}",
        "the second answer is not the first again: {once:?}"
    );
}

#[test]
fn companions_are_asked_as_their_page_says() {
    let server = Server::start("companions");
    server.copy("companion.mjs");
    server.link_npm();
    let converse = "printf 'Hello\\n\\nonce more\\n' | CHAT_KEY=$KEY node companion.mjs $URL";
    let said = server.run(&format!("{}\n{converse}", commands(&document("docs/companions.md"))));
    for expected in [
        r#""provider":"scripted""#,
        "event: next\ndata: {\"text\":\"Hello!",
        r#""__typename":"GeneratePayload""#,
        "You said: Hello\n",
        "You said: once more\n",
    ] {
        assert!(said.contains(expected), "{expected} is missing in\n{said}");
    }
    assert_eq!(said.matches("You said: Once.").count(), 2, "{said}");
}

/// An example that receives webhooks, killed when dropped.
struct Receiver {
    child: Child,
    lines: mpsc::Receiver<String>,
    port: u16,
}

impl Receiver {
    /// By its line on the page, with another secret and on a port of its own.
    fn start(server: &Server, line: &str, secret: &str, port: u16) -> Self {
        let program = line
            .strip_prefix("WEBHOOK_SECRET=$SECRET ")
            .expect("the line sets the secret");
        let program = program.replace("8787", &port.to_string());
        let python = repository().join("tests/python/.venv/bin");
        let path = env::var("PATH").unwrap();
        let mut child = Command::new("bash")
            .args(["-c", &format!("exec {program} 2>&1")])
            .current_dir(&server.folder)
            .env("PATH", format!("{}:{path}", python.display()))
            .env("WEBHOOK_SECRET", secret)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (told, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| told.send(line))
        });
        let receiver = Self { child, lines, port };
        // The last is what PHP says.
        receiver.until(|line| line == format!("listening on {port}") || line.ends_with(" started"));
        receiver
    }

    /// What it says up to a line.
    fn until(&self, is_last: impl Fn(&str) -> bool) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            match self.lines.recv_timeout(Duration::from_secs(60)) {
                Ok(line) => said.push(line),
                Err(error) => panic!("{error} after {said:#?}"),
            }
            if is_last(&said[said.len() - 1]) {
                return said;
            }
        }
    }

    /// The status that it answers with.
    fn post(&self, id: &str, timestamp: i64, signature: &str, body: &str) -> String {
        let output = Command::new("curl")
            .args(["-q", "-sS", "-o", "/dev/null", "-w", "%{http_code}"])
            .args(["-H", &format!("webhook-id: {id}")])
            .args(["-H", &format!("webhook-timestamp: {timestamp}")])
            .args(["-H", &format!("webhook-signature: {signature}")])
            .args(["-H", "Content-Type: application/json", "--data-binary", body])
            .arg(format!("http://127.0.0.1:{}/", self.port))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// The lines of the page that start a receiver.
fn receivers(page: &str) -> Vec<&str> {
    let starts = blocks(page, "console");
    let lines: Vec<&str> = starts[1].lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    lines
}

#[test]
fn webhooks_are_received_as_their_page_says() {
    const FLAGS: &[&str] = &["--webhooks-allow-insecure", "--rate-limit-authenticated", "0"];
    const DONE: &str =
        r#"until curl -sS -b cookies $URL/v1/webhooks/$WEBHOOK | grep -q '"pending":0'; do sleep 0.05; done"#;
    let page = document("docs/webhooks.md");
    let [make, happen, again, graphql, rotate, switch] = blocks(&page, "sh")[..] else {
        panic!("the page has other commands than this test runs");
    };
    for line in receivers(&page) {
        let example = line.split(' ').find(|word| word.starts_with("webhook.")).unwrap();
        let server = Server::start_with(example, FLAGS);
        server.copy(example);
        server.link_npm();
        let port = free_port();
        server.run(&format!("PORT={port}\n{make}\ndeclare -p URL WEBHOOK SECRET > made"));
        let run = |commands: &str| server.run(&format!(". ./made\n{commands}\ndeclare -p URL WEBHOOK SECRET > made"));
        let secret = run("echo $SECRET");
        let receiver = Receiver::start(&server, line, secret.lines().next().unwrap(), port);

        run(happen);
        let is_profile = |line: &str| line.starts_with("profile.update {") && line.contains("\"Ada L.\"");
        let is_ping = |line: &str| line == "webhook.ping {}";
        let said = receiver.until(is_profile);
        if !said.iter().any(|line| is_ping(line)) {
            receiver.until(is_ping);
        }
        run(DONE);
        let looked = run(again);
        assert!(looked.contains(r#""successRate":1.0"#), "{looked}");
        assert!(looked.contains(r#""status":"pending","attempts":0"#), "{looked}");
        run(DONE);
        assert!(run(graphql).contains(r#""secret":"whsec_"#));

        // Still with the secret before, and nothing twice.
        run(rotate);
        assert!(run(switch).contains(r#""isActive":true"#));
        run("curl -sS -b cookies -X POST $URL/v1/webhooks/$WEBHOOK/ping");
        let said = receiver.until(is_ping);
        assert!(!said.iter().any(|line| is_profile(line)), "{said:?}");
    }
}

#[test]
fn receivers_take_what_was_signed_with_the_secret_and_nothing_else() {
    let page = document("docs/webhooks.md");
    let server = Server::start("receivers");
    server.link_npm();
    for line in receivers(&page) {
        let example = line.split(' ').find(|word| word.starts_with("webhook.")).unwrap();
        server.copy(example);
        for secret in ["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "ein längeres Geheimnis"] {
            let port = free_port();
            let receiver = Receiver::start(&server, line, secret, port);
            let signer = match secret.starts_with("whsec_") {
                true => Webhook::new(secret),
                false => Webhook::from_bytes(secret.into()),
            };
            let signer = signer.unwrap();
            let now = time::now() / time::SECOND;
            let sign = |id: &str, timestamp: i64, body: &str| signer.sign(id, timestamp, body.as_bytes()).unwrap();
            // A name of its own for each, as one of them keeps the ids in a file.
            let (one, two) = (format!("evt_{port}_1"), format!("evt_{port}_2"));
            let (body, other) = (r#"{"type":"one","data":{"text":"ü"}}"#, r#"{"type":"two","data":{}}"#);
            let good = sign(&one, now, body);
            let what = format!("{example} with {secret}");
            for (id, timestamp, signature, body) in [
                (&one, now, good.as_str(), other),
                (&two, now, &good, body),
                (&one, now + 1, &good, body),
                (&one, now - 400, &sign(&one, now - 400, body), body),
                (&one, now + 400, &sign(&one, now + 400, body), body),
                (&one, now, "v1,", body),
            ] {
                assert_eq!(
                    receiver.post(id, timestamp, signature, body),
                    "400",
                    "{what}: {signature} of {timestamp}"
                );
            }
            // The second of two signatures does as well; what comes again is taken and not dealt with.
            let both = format!("v1,AAAA {good}");
            for signature in [&both, &good] {
                assert_eq!(receiver.post(&one, now, signature, body), "204", "{what}");
            }
            assert_eq!(
                receiver.post(&two, now, &sign(&two, now, other), other),
                "204",
                "{what}"
            );
            let said = receiver.until(|line| line == "two {}");
            let dealt_with = said.iter().filter(|line| line.starts_with("one {")).count();
            assert_eq!(dealt_with, 1, "{what}: {said:?}");
            assert!(said.iter().any(|line| line.contains('ü')), "{what}: {said:?}");
        }
    }
}
