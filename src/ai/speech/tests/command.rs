//! Programs: espeak-ng as Debian has it, and small ones that behave badly.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use super::{super::command::MAX_OUTPUT, *};

/// A folder that is gone when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("speech_{}", uuid::Uuid::now_v7()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn espeak() -> Speech {
    voice(program("espeak-ng", &["--stdin", "--stdout"]), |_| {})
}

/// A program that is a shell script; `$1` is its folder.
fn script(text: &str, folder: &Folder) -> SpeechProvider {
    program("/bin/sh", &["-c", text, "script", folder.0.to_str().unwrap()])
}

/// How many seconds espeak-ng itself makes of a text.
fn espeak_seconds(text: &str) -> f64 {
    let mut espeak = Command::new("espeak-ng")
        .args(["--stdin", "--stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    espeak.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let wav = espeak.wait_with_output().unwrap().stdout;
    let wav = Wav::parse(&wav).unwrap();
    wav.samples().count() as f64 / f64::from(wav.rate)
}

#[tokio::test]
async fn espeak_reads_aloud() {
    for text in [
        "Hello there, and welcome back.",
        "-h is no option, and neither is --version.",
        "Grüße aus Köln, 你好.",
    ] {
        let decoded = decode(&espeak().speak(text).await.unwrap());
        let expected = espeak_seconds(text);
        assert!(expected > 1.0);
        assert_eq!(decoded.rate, 22_050);
        let difference = decoded.seconds() - expected;
        assert!(difference.abs() < 0.15, "{text}: {difference} s");
        assert!(decoded.loudness() > 0.01, "{text}: {}", decoded.loudness());
    }
}

#[tokio::test]
async fn an_answer_is_one_line_of_plain_text() {
    let folder = Folder::new();
    fs::write(folder.path("tone.wav"), tone(16_000, 0.2)).unwrap();
    let speech = voice(script("cat > $1/text; cat $1/tone.wav", &folder), |_| {});
    let text = "-h A list\n\n  one\r\ntwo,\n[[[h@l'oU]] \u{7} end.\n";
    speech.speak(text).await.unwrap();
    let read = fs::read_to_string(folder.path("text")).unwrap();
    assert_eq!(read, "-h A list. one. two, [ [ [h@l'oU]]   end.\n");
}

#[tokio::test]
async fn it_sees_neither_our_folder_nor_our_environment() {
    let folder = Folder::new();
    fs::write(folder.path("tone.wav"), tone(16_000, 0.2)).unwrap();
    let speech = voice(script("env > $1/env; pwd > $1/pwd; cat $1/tone.wav", &folder), |_| {});
    speech.speak("Hello.").await.unwrap();
    assert_eq!(fs::read_to_string(folder.path("pwd")).unwrap(), "/\n");
    let environment = fs::read_to_string(folder.path("env")).unwrap();
    let is_told = |name: &str| ["PATH", "HOME", "LANG"].contains(&name) || name.starts_with("LC_");
    let more = std::env::vars().filter(|(name, _)| !is_told(name)).count();
    assert!(more > 0, "nothing to keep from it");
    for line in environment.lines() {
        let (name, _) = line.split_once('=').unwrap();
        // The last three are the shell's own.
        assert!(is_told(name) || ["PWD", "SHLVL", "_"].contains(&name), "{line}");
    }
}

#[tokio::test]
async fn it_may_write_much_before_it_reads_much() {
    let folder = Folder::new();
    // Both are more than a pipe holds.
    fs::write(folder.path("tone.wav"), tone(48_000, 10.0)).unwrap();
    let speech = voice(script("cat $1/tone.wav; cat > $1/text", &folder), |_| {});
    let text = "a ".repeat(500_000);
    let decoded = decode(&speech.speak(&text).await.unwrap());
    assert!((decoded.seconds() - 10.0).abs() < 0.15);
    assert_eq!(fs::metadata(folder.path("text")).unwrap().len(), 1_000_000);
}

#[tokio::test]
async fn it_need_not_read_and_may_complain() {
    let folder = Folder::new();
    fs::write(folder.path("tone.wav"), tone(48_000, 1.0)).unwrap();
    let speech = voice(script("cat $1/tone.wav", &folder), |_| {});
    assert!(speech.speak(&"a ".repeat(500_000)).await.is_ok());
    let complaining = "head -c 1000000 /dev/zero >&2; cat $1/tone.wav";
    assert!(voice(script(complaining, &folder), |_| {}).speak("a").await.is_ok());
}

#[tokio::test]
async fn what_fails_is_said_so() {
    let folder = Folder::new();
    fs::write(folder.path("tone.wav"), tone(48_000, 1.0)).unwrap();
    for (text, message) in [
        ("cat $1/tone.wav; exit 3", "the speech program failed (exit status: 3)"),
        ("kill -9 $$", "the speech program failed (signal: 9 (SIGKILL))"),
        ("true", "the speech program gave no audio"),
        ("echo hello", "the speech program gave something that is not WAV"),
        (
            "head -c 44 $1/tone.wav",
            "the speech program gave WAV without any sound",
        ),
    ] {
        assert_failed(voice(script(text, &folder), |_| {}).speak("Hello.").await, message);
    }
    for name in ["no-such-program", "/no/such/program", "/etc/passwd"] {
        let speech = voice(program(name, &[]), |_| {});
        assert_failed(speech.speak("Hello.").await, "the speech program cannot be started");
    }
}

#[tokio::test]
async fn a_program_that_hangs_is_stopped() {
    let speech = voice(program("sleep", &["1000"]), |settings| {
        settings.timeout = Duration::from_secs(1)
    });
    assert_failed(speech.speak("Hello.").await, "reading aloud took longer than 1 s");
}

#[tokio::test]
async fn output_without_end_is_stopped() {
    let folder = Folder::new();
    let speech = voice(script("echo $$ > $1/pid; exec cat /dev/zero", &folder), |_| {});
    let message = format!("the speech program gave more than {} MiB", MAX_OUTPUT >> 20);
    assert_failed(speech.speak("Hello.").await, &message);
    gone(&pid(&folder.path("pid")).await).await;
}

#[tokio::test]
async fn who_leaves_kills_the_program_and_what_it_started() {
    let folder = Folder::new();
    let text = "sleep 1000 & echo $! > $1/child; echo $$ > $1/pid; wait";
    let speech = voice(script(text, &folder), |settings| settings.calls_at_once = 1);
    let call = tokio::spawn({
        let speech = speech.clone();
        async move { speech.speak("Hello.").await }
    });
    let (child, parent) = (pid(&folder.path("child")).await, pid(&folder.path("pid")).await);
    assert!(Path::new("/proc").join(&parent).exists());
    call.abort();
    gone(&parent).await;
    gone(&child).await;
    drop(speech.turn().await.unwrap());
}

/// Waits for `condition`, which `what` names.
async fn until<T>(what: &str, condition: impl Fn() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The process id that a script writes to a file.
async fn pid(file: &Path) -> String {
    until("a script wrote its process id", || {
        let text = fs::read_to_string(file).ok()?;
        Some(text.strip_suffix('\n')?.to_owned())
    })
    .await
}

/// Waits until a process has ended. Ours must have been waited for; what it started is init's, who may be slow.
async fn gone(pid: &str) {
    until("a process ended", || {
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            return Some(());
        };
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let (state, parent) = (fields.next()?, fields.next()?);
        (state == "Z" && parent != std::process::id().to_string()).then_some(())
    })
    .await;
}
