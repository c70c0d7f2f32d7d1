//! The documents for people say what the program does: the tour of the README runs as it is printed, and the tables are
//! those of the code.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use bambisleep_chat::{config, profiles::xp};

fn document(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// What is under a heading of the second level, up to the next one.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, below) = text
        .split_once(&format!("\n## {heading}\n"))
        .expect("the heading is there");
    below.split("\n## ").next().unwrap_or(below)
}

/// The lines of all ```sh blocks.
fn commands(text: &str) -> String {
    text.split("\n```sh\n")
        .skip(1)
        .map(|block| block.split_once("\n```").expect("the block ends").0)
        .collect::<Vec<_>>()
        .join("\n")
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
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/decisions");
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
        let folder = std::env::temp_dir().join(format!("readme_{}_{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_bambisleep-chat"))
            .args(["--bind", "127.0.0.1:0"])
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
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::copy(
        repository.join("docs/examples/companion.mjs"),
        server.folder.join("companion.mjs"),
    )
    .unwrap();
    std::os::unix::fs::symlink(
        repository.join("tests/npm/node_modules"),
        server.folder.join("node_modules"),
    )
    .unwrap();
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
